"""`python -m operate`: see `make help`."""

import argparse
import sys

from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from operate import sam, stack_file
from operate.deploy import DEFAULT_LAUNCH_CONFIG, deploy
from operate.destroy import destroy
from operate.doctor import doctor
from operate.errors import CannotOperate
from operate.logs import logs
from operate.queue import queue
from operate.template import ROOT, parameters
from operate.verify.verify import verify
from operate.watch import watch


def main() -> int:
    """Run the command on the command line; return the exit code."""
    arguments = _parser().parse_args()
    try:
        _run(arguments)
    except CannotOperate as error:
        print(error, file=sys.stderr)
    except NoCredentialsError:
        print("No AWS credentials were found. Sign in with `aws sso login` or `aws configure`.", file=sys.stderr)
    except (BotoCoreError, ClientError) as error:
        print(f"AWS: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
    else:
        return 0
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="operate", description="Deploy and operate the launch agent.")
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="build the application")
    build.add_argument("--config", default="", help="the launch-config.yaml to deploy")
    of_stack = argparse.ArgumentParser(add_help=False)
    of_stack.add_argument("--stack", default="wandb-launch")
    deploying = commands.add_parser("deploy", parents=[of_stack], help="deploy a stack")
    deploying.add_argument("--config", default="", help="the launch-config.yaml to deploy")
    commands.add_parser("doctor", parents=[of_stack], help="check what a deployed stack needs")
    commands.add_parser("watch", parents=[of_stack], help="show the runs while they work")
    queueing = commands.add_parser("queue", parents=[of_stack], help="print the configuration for run queues")
    queueing.add_argument("--push", action="store_true", help="create the run queues that do not exist in W&B")
    logging = commands.add_parser("logs", parents=[of_stack], help="show what was logged about a run")
    logging.add_argument("--run", required=True, help="the id of the run or of its queue item")
    logging.add_argument("--since", default="1 hour", help="how far back to search, for example 2 days")
    logging.add_argument("--raw", action="store_true", help="print the log lines unchanged, as JSON")
    verifying = commands.add_parser("verify", parents=[of_stack], help="prove a deployed stack with one small job")
    verifying.add_argument("--queue", default="", help="the run queue to use (default: the stack's first)")
    verifying.add_argument("--yes", action="store_true", help="do not ask")
    verifying.add_argument("--keep", default="", metavar="FILE", help="write the events that AWS sends to a file")
    destroying = commands.add_parser("destroy", parents=[of_stack], help="delete a stack")
    destroying.add_argument("--yes", action="store_true", help="do not ask")
    return parser


def _run(arguments: argparse.Namespace) -> None:
    if arguments.command == "build":
        path = ROOT / (arguments.config or DEFAULT_LAUNCH_CONFIG)
        sam.read_launch_config(path)
        sam.build(path, parameters()["PythonRuntime"].default or "")
        return
    if arguments.command == "deploy":
        deploy(arguments.stack, arguments.config)
        return
    known = stack_file.read(stack_file.path_of(arguments.stack), parameters())
    region = known.region if known else None
    if arguments.command == "logs":
        logs(arguments.stack, region, arguments.run, since=arguments.since, raw=arguments.raw)
    elif arguments.command == "doctor":
        doctor(arguments.stack, region)
    elif arguments.command == "watch":
        watch(arguments.stack, region)
    elif arguments.command == "queue":
        queue(arguments.stack, region, push=arguments.push)
    elif arguments.command == "verify":
        verify(arguments.stack, region, queue=arguments.queue, sure=arguments.yes, keep=arguments.keep)
    else:
        destroy(arguments.stack, region, sure=arguments.yes)


if __name__ == "__main__":
    sys.exit(main())
