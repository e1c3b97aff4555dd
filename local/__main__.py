"""`python -m local`: runs the application on this machine.

`up` boots and deploys it, and keeps it running. `demo` also queues runs of images and of code with the real wandb
client, and shows their outcomes. `down` stops an `up` in another terminal, and removes its files.
"""

import argparse
import fcntl
import json
import os
import shlex
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console

from local.demo.demo import demo_repository, image_of, run_demo
from local.demo.git_server import GitServer
from local.dump import dump
from local.folders import remove
from local.launches import Launches
from local.signals import end_on_signals, held_back
from local.stack import DEMO_KEY, ROOT, Deployed, LocalCloud, WandbLogin, deploy, embedded_cloud, timed
from local.wandb import WandbServer

STATE_FILE = ROOT / ".local/up.json"

console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 170)


def main() -> int:
    """Run the command on the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="local", description="The application on this machine, without an account.")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="boot, deploy and keep running")
    up.add_argument("--aws-port", type=int, default=0, help="the port of the embedded AWS (default: a free one)")
    up.add_argument("--wandb-port", type=int, default=0, help="the port of the W&B server (default: a free one)")
    up.add_argument("--wandb-url", help="use this W&B server instead of the local one")
    up.add_argument("--entity", default="team")
    up.add_argument("--queue", default="sagemaker")
    up.add_argument("--api-key", default=DEMO_KEY)
    up.add_argument("--max-jobs", type=int, default=4)
    up.add_argument("--speed", type=float, default=1.0, help="how many times faster waiting times pass")
    demo = commands.add_parser("demo", help="queue runs of images and of code, and show their outcomes")
    demo.add_argument("--json", type=Path, help="write the table of outcomes to this file")
    demo.add_argument("--only", default="", metavar="WORDS", help="queue only the runs whose names contain these words")
    demo.add_argument("--dump", type=Path, help="write all data of the stack to this folder")
    demo.add_argument("--speed", type=float, default=10.0)
    demo.add_argument("--container-tool", default="auto", help="buildah, podman, docker, or none for pseudo images")
    commands.add_parser("down", help="stop a running `up`, and remove its files")
    arguments = parser.parse_args()
    end_on_signals()
    try:
        return {"up": _up, "demo": _demo, "down": _down}[arguments.command](arguments)
    except KeyboardInterrupt:
        return 130


def _up(arguments: argparse.Namespace) -> int:
    with ExitStack() as stack:
        if not _is_the_only_one():
            raise SystemExit("The application is already running. Stop it with `python -m local down`.")
        _remove_what_is_left()
        folder = stack.enter_context(_folder(remembered=True))
        server = None
        url = arguments.wandb_url
        if not url:
            server = WandbServer(entity=arguments.entity, api_key=arguments.api_key)
            server.create_queue(arguments.queue, config={})
            url = stack.enter_context(server.running(arguments.wandb_port))
        wandb = WandbLogin(url.rstrip("/"), arguments.entity, arguments.queue, arguments.api_key)
        with timed("booting the embedded AWS", console.print):
            cloud = stack.enter_context(embedded_cloud(folder, port=arguments.aws_port, speed=arguments.speed))
        grace = max(1, round(60 / arguments.speed))
        deployed = deploy(cloud, wandb, max_jobs=arguments.max_jobs, grace_seconds=grace, say=console.print)
        if server:
            server.create_queue(wandb.queue, config=json.loads(deployed.outputs["QueueConfiguration"]))
            server.page.aws = Launches(deployed)
        _explain(deployed, own_server=server is not None)
        threading.Event().wait()
    return 0


def _explain(deployed: Deployed, *, own_server: bool) -> None:
    """Write a file of environment variables to source, and print the next commands."""
    image = deployed.cloud.put_image("demo:train", image_of("train.py"))
    exports = {**deployed.cloud.environment, **deployed.wandb.environment}
    variables = deployed.cloud.folder / "environment"
    variables.touch(mode=0o600)
    variables.write_text("".join(f"export {name}={shlex.quote(value)}\n" for name, value in exports.items()))
    wandb, queue = ROOT / ".venvs/training/bin/wandb", deployed.wandb.queue
    console.print(f"\nIn another terminal:\n\n  . {variables}")
    console.print(f"  {wandb} launch -q {queue} -e {deployed.wandb.entity} -p demo -d {image}")
    console.print(f"  aws stepfunctions list-executions --state-machine-arn {deployed.outputs['StateMachineArn']}")
    if own_server:
        console.print(f"\nQueues, runs and a form to queue them: {deployed.wandb.url}/#{deployed.wandb.api_key}")
    else:
        console.print(f"\nThe configuration for the queue {queue}:\n  {deployed.outputs['QueueConfiguration']}")
    console.print("Ctrl-C stops everything.")


def _demo(arguments: argparse.Namespace) -> int:
    started = time.monotonic()
    with ExitStack() as stack:
        folder = stack.enter_context(_folder(remembered=False))
        server = WandbServer(entity="team", api_key=DEMO_KEY)
        server.create_queue("sagemaker", config={})
        wandb = WandbLogin(stack.enter_context(server.running()), "team", "sagemaker", DEMO_KEY)
        git = stack.enter_context(demo_repository(folder))
        with timed("booting the embedded AWS", console.print):
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
        deployed = deploy(cloud, wandb, max_jobs=4, grace_seconds=grace, say=console.print)
        server.page.aws = Launches(deployed)
        rows = run_demo(deployed, folder / "user", git, console, only=arguments.only)
        if arguments.json:
            arguments.json.write_text(json.dumps([row.as_json() for row in rows], indent=1) + "\n")
        if arguments.dump:
            dump(deployed, arguments.dump)
        denials = cloud.get("denials")
        for denial in denials:
            console.print(f"[red]denied:[/] {denial}")
    as_expected = all(row.as_expected for row in rows) and not denials
    verdict = "[green]every outcome is as expected" if as_expected else "[red]not every outcome is as expected"
    console.print(f"{verdict}[/], after {time.monotonic() - started:.0f} s")
    return 0 if as_expected else 1


def _say_what_is_missing(cloud: LocalCloud, git: GitServer | None) -> None:
    """Print the tool that builds images, and the parts of the demo that this machine cannot run."""
    containers = cloud.get("containers")
    if containers["tool"] == "none":
        console.print(
            "[yellow]images are pseudo images[/]: COPY copies files, RUN is skipped, and they run as processes of this "
            "machine. Install buildah, podman or a Docker engine to build real images"
        )
        if containers["reason"]:
            console.print(containers["reason"])
    else:
        console.print(f"images are built with {containers['tool']}")
    if git is None:
        console.print("[yellow]the run from git is left out[/]: this machine has no git")


def _down(_: argparse.Namespace) -> int:
    """Stop the process of an `up`, and remove its files."""
    if not STATE_FILE.exists():
        console.print("nothing is running")
        return 0
    if not _is_the_only_one():
        os.kill(json.loads(STATE_FILE.read_text())["pid"], signal.SIGTERM)
        while not _is_the_only_one():
            time.sleep(0.1)
    _remove_what_is_left()
    return 0


def _is_the_only_one() -> bool:
    """Lock this checkout until this process ends; return False if another process holds the lock."""
    STATE_FILE.parent.mkdir(exist_ok=True)
    descriptor = os.open(STATE_FILE.parent, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return False
    return True


def _remove_what_is_left() -> None:
    """Remove the folder of an `up` that was killed."""
    if STATE_FILE.exists():
        remove(Path(json.loads(STATE_FILE.read_text())["folder"]))
        STATE_FILE.unlink()


@contextmanager
def _folder(*, remembered: bool) -> Iterator[Path]:
    """Create a folder for all files, and remove it at the end. If `remembered`, let `down` find it."""
    folder: Path | None = None
    try:
        with held_back():
            folder = Path(tempfile.mkdtemp(prefix="wandb-launch-"))
        if remembered:
            STATE_FILE.write_text(json.dumps({"pid": os.getpid(), "folder": str(folder)}))
        (folder / "user").mkdir()
        (folder / "tmp").mkdir()
        # The temporary files of ministack, the SAM CLI and their children are removed with this folder.
        os.environ["TMPDIR"] = str(folder / "tmp")
        yield folder
    finally:
        if folder:
            remove(folder)
        if remembered:
            STATE_FILE.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
