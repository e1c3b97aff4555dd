"""`python -m local up`: keeps the application running on this machine, until Ctrl-C or `python -m local down`."""

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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from local import REGION
from local.demo.demo import image_of
from local.folders import remove
from local.launches import Launches
from local.progress import timed
from local.signals import held_back
from local.stack import PROFILE, ROOT, STACK_NAME, Deployed, WandbLogin, deploy, embedded_cloud, layer_variables
from local.wandb import WandbServer
from operate.watch import watch as watch_stack

STATE_FILE = ROOT / ".local/up.json"
VARIABLES_FILE = ROOT / ".local/environment"

console = Console(highlight=False, width=None if sys.stdout.isatty() else 170)


def up(arguments: argparse.Namespace) -> int:
    """Boot, deploy, and wait for Ctrl-C."""
    with ExitStack() as stack:
        if not _is_the_only_one():
            raise SystemExit("The application is already running. Stop it with `python -m local down`.")
        _remove_what_is_left()
        folder = stack.enter_context(own_folder(remembered=True))
        server, queues = None, arguments.queue or ["sagemaker"]
        url = arguments.wandb_url
        if not url:
            server = WandbServer(entity=arguments.entity, api_key=arguments.api_key)
            _create_queues(server, queues, {}, priorities=arguments.priorities)
            url = stack.enter_context(server.running(arguments.wandb_port))
        wandb = WandbLogin(url.rstrip("/"), arguments.entity, queues[0], arguments.api_key)
        with timed("booting the embedded AWS", console):
            cloud = stack.enter_context(
                embedded_cloud(
                    folder,
                    port=arguments.aws_port,
                    speed=arguments.speed,
                    container_tool=arguments.container_tool,
                )
            )
        grace = max(1, round(60 / arguments.speed))
        deployed = deploy(
            cloud, wandb, max_jobs=arguments.max_jobs, grace_seconds=grace, console=console, queues=queues
        )
        if server:
            configuration = json.loads(deployed.outputs["QueueConfiguration"])
            _create_queues(server, queues, configuration, priorities=arguments.priorities)
            server.page.aws = Launches(deployed)
        stack.enter_context(variables(deployed))
        explain(deployed, own_server=server is not None)
        threading.Event().wait()
    return 0


def _create_queues(server: WandbServer, names: Sequence[str], config: Mapping[str, Any], *, priorities: bool) -> None:
    for name in names:
        server.create_queue(name, config=config, prioritization="V0" if priorities else "DISABLED")


@contextmanager
def variables(deployed: Deployed) -> Iterator[None]:
    """Write a file to source: environment variables for clients and `make deploy`, and the path of the wandb client."""
    exports = {**deployed.cloud.environment, **deployed.wandb.environment, **layer_variables()}
    lines = [f"export {name}={shlex.quote(value)}" for name, value in exports.items()]
    lines.append(f"export PATH={shlex.quote(str(ROOT / '.venvs/training/bin'))}:$PATH")
    try:
        VARIABLES_FILE.parent.mkdir(exist_ok=True)
        VARIABLES_FILE.touch(mode=0o600)
        VARIABLES_FILE.write_text("".join(f"{line}\n" for line in lines))
        yield
    finally:
        VARIABLES_FILE.unlink(missing_ok=True)


def explain(deployed: Deployed, *, own_server: bool) -> None:
    """Print what to try next."""
    image = deployed.cloud.put_image("demo:train", image_of("train.py"))
    queue = deployed.wandb.queue
    say(f"\nIn another terminal:\n\n  . {VARIABLES_FILE}")
    say(f"  wandb launch -q {queue} -e {deployed.wandb.entity} -p demo -d {image}")
    say(f"  {watch_command()}")
    say(f"  aws stepfunctions list-executions --state-machine-arn {deployed.outputs['StateMachineArn']}")
    if own_server:
        say(f"\nQueues, runs and a form to queue them: {deployed.wandb.url}/#{deployed.wandb.api_key}")
    else:
        say(f"\nThe configuration for the queue {queue}:\n  {deployed.outputs['QueueConfiguration']}")
    say("Ctrl-C stops everything.")


def watch_command() -> str:
    """Return the command that shows the runs, from any folder."""
    return f"(cd {shlex.quote(str(ROOT))}; {shlex.quote(sys.executable)} -m local watch)"


def watch(_: argparse.Namespace) -> int:
    """Show the runs of an `up` in another terminal, as `make watch` shows those of a deployed stack."""
    if not STATE_FILE.exists():
        raise SystemExit("Nothing is running. Start it with `python -m local up`.")
    folder = json.loads(STATE_FILE.read_text())["folder"]
    os.environ |= {"AWS_CONFIG_FILE": f"{folder}/aws-config", "AWS_PROFILE": PROFILE}
    watch_stack(STACK_NAME, REGION)
    return 0


def down(_: argparse.Namespace) -> int:
    """Stop the process of an `up`, and remove its files."""
    if not STATE_FILE.exists():
        say("nothing is running")
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
        VARIABLES_FILE.unlink(missing_ok=True)
        STATE_FILE.unlink()


@contextmanager
def own_folder(*, remembered: bool) -> Iterator[Path]:
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


def say(text: str) -> None:
    """Print a text as it is. Long words, such as addresses, are not broken."""
    console.print(text, soft_wrap=True)
