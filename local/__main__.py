"""`python -m local`: runs the application on this machine.

`up` boots and deploys it, and keeps it running. `watch` shows its runs. `demo` also queues runs of images and of code
with the real wandb client, and shows their outcomes. `down` stops an `up` in another terminal, and removes its files.
"""

import argparse
import json
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

from local.demo.demo import demo_repository, run_demo, sweep_demo
from local.demo.git_server import GitServer
from local.dump import dump
from local.launches import Launches
from local.progress import timed
from local.signals import end_on_signals
from local.stack import (
    DEMO_KEY,
    Deployed,
    LocalCloud,
    WandbLogin,
    deploy,
    embedded_cloud,
)
from local.up import console, down, explain, own_folder, say, up, variables, watch
from local.wandb import WandbServer


def main() -> int:
    """Run the command on the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="local", description="The application on this machine, without an account.")
    commands = parser.add_subparsers(dest="command", required=True)
    upping = commands.add_parser("up", help="boot, deploy and keep running")
    upping.add_argument("--aws-port", type=int, default=0, help="the port of the embedded AWS (default: a free one)")
    upping.add_argument("--wandb-port", type=int, default=0, help="the port of the W&B server (default: a free one)")
    upping.add_argument("--wandb-url", help="use this W&B server instead of the local one")
    upping.add_argument("--entity", default="team")
    upping.add_argument("--queue", action="append", metavar="NAME", help="a run queue; repeat it for several")
    upping.add_argument("--priorities", action="store_true", help="the queues have priorities")
    upping.add_argument("--api-key", default=DEMO_KEY)
    upping.add_argument("--max-jobs", type=int, default=4)
    upping.add_argument("--speed", type=float, default=1.0, help="how many times faster waiting times pass")
    upping.add_argument("--container-tool", default="auto", help="buildah, podman, docker, or none for pseudo images")
    commands.add_parser("watch", help="show the runs of a running `up` while they work")
    demoing = commands.add_parser("demo", help="queue runs of images and of code, and show their outcomes")
    demoing.add_argument("--json", type=Path, help="write the table of outcomes to this file")
    demoing.add_argument(
        "--only", default="", metavar="WORDS", help="queue only the runs whose names contain these words"
    )
    demoing.add_argument("--dump", type=Path, help="write all data of the stack to this folder")
    demoing.add_argument("--speed", type=float, default=10.0)
    demoing.add_argument("--container-tool", default="auto", help="buildah, podman, docker, or none for pseudo images")
    commands.add_parser("down", help="stop a running `up`, and remove its files")
    arguments = parser.parse_args()
    end_on_signals()
    try:
        return {"up": up, "watch": watch, "demo": _demo, "down": down}[arguments.command](arguments)
    except KeyboardInterrupt:
        return 130


def _demo(arguments: argparse.Namespace) -> int:
    started = time.monotonic()
    with ExitStack() as stack:
        folder = stack.enter_context(own_folder(remembered=False))
        server = WandbServer(entity="team", api_key=DEMO_KEY)
        server.create_queue("sagemaker", config={})
        wandb = WandbLogin(stack.enter_context(server.running()), "team", "sagemaker", DEMO_KEY)
        git = stack.enter_context(demo_repository(folder))
        with timed("booting the embedded AWS", console):
            cloud = stack.enter_context(
                embedded_cloud(
                    folder,
                    speed=arguments.speed,
                    container_tool=arguments.container_tool,
                    trust_ca=git.certificate if git else None,
                )
            )
        _say_what_is_missing(cloud, git)
        grace = max(1, round(60 / arguments.speed))
        deployed = deploy(cloud, wandb, max_jobs=4, grace_seconds=grace, console=console)
        server.page.aws = Launches(deployed)
        rows = run_demo(deployed, folder / "user", git, console, only=arguments.only)
        has_swept = arguments.only or sweep_demo(deployed, folder / "user", console)
        if arguments.json:
            arguments.json.write_text(json.dumps([row.as_json() for row in rows], indent=1) + "\n")
        if arguments.dump:
            dump(deployed, arguments.dump)
        denials = cloud.get("denials")
        for denial in denials:
            say(f"[red]denied:[/] {denial}")
        as_expected = all(row.as_expected for row in rows) and has_swept and not denials
        verdict = "[green]every outcome is as expected" if as_expected else "[red]not every outcome is as expected"
        say(f"\n{verdict}[/], after {time.monotonic() - started:.0f} s")
        if sys.stdin.isatty() and console.is_terminal:
            _offer_to_stay(deployed)
        else:
            say("To look around, run `python -m local up`, which keeps it running.")
    return 0 if as_expected else 1


def _offer_to_stay(deployed: Deployed) -> None:
    """Keep the demo running if its user wants that: its links lead nowhere after its end."""
    try:
        answer = input("\nKeep it running, to follow the links and to queue runs? [Y/n] ")
    except EOFError:
        return
    if answer.strip().lower() in ("", "y", "yes"):
        with variables(deployed):
            explain(deployed, own_server=True)
            threading.Event().wait()


def _say_what_is_missing(cloud: LocalCloud, git: GitServer | None) -> None:
    """Print the tool that builds images, and the parts of the demo that this machine cannot run."""
    containers = cloud.get("containers")
    if containers["tool"] == "none":
        say(
            "[yellow]images are pseudo images[/]: COPY copies files, RUN is skipped, and they run as processes of this "
            "machine. Install buildah, podman or a Docker engine to build real images"
        )
        if containers["reason"]:
            say(containers["reason"])
    else:
        say(f"images are built with {containers['tool']}")
    if git is None:
        say("[yellow]the run from git is left out[/]: this machine has no git")


if __name__ == "__main__":
    sys.exit(main())
