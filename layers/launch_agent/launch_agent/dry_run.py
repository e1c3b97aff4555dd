"""Plan a run spec without launching it: `python -m launch_agent.dry_run FILE`.

Prints the launch plan as JSON and exits with 0, or prints every fault to stderr and exits with 1. It runs the code of
`plan_run` without its side effects: nothing is acknowledged, stored or submitted. Only a run spec that names a job
needs W&B, and WANDB_API_KEY for it.
"""

import argparse
import json
import re
import sys
from pathlib import Path

from launch_agent.clients.artifacts import Artifacts
from launch_agent.clients.graphql import GraphqlClient
from launch_agent.clients.service_model import create_training_job_shape
from launch_agent.deployment import ECR_HOST, Deployment, ecr_host, partition_of
from launch_agent.errors import JobArtifactNotFound, LaunchError
from launch_agent.plan.agent import Agent
from launch_agent.plan.algorithm import is_algorithm_image
from launch_agent.plan.launch_plan import LaunchPlan, plan_launch
from launch_agent.plan.source import Job
from launch_agent.run_queue.items import ItemRef, QueueItem, RunSpec, parse_run_spec
from launch_agent.run_queue.launch_config import LaunchConfig, parse_launch_config
from launch_agent.settings import Settings

_AN_ACCOUNT = "123456789012"
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::(\d{12}):role/")
_IMAGE = re.compile(rf"{ECR_HOST.pattern}[^\s\"]*")


class Env(Settings):
    """The environment of a dry run."""

    aws_region: str = ""
    wandb_api_key: str = ""
    wandb_base_url: str = "https://api.wandb.ai"


def main() -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="launch_agent.dry_run",
        description="Plan a run spec without launching it: make plan SPEC=run_spec.json.",
    )
    parser.add_argument("spec", type=Path, nargs="?", help="the run spec, a JSON file")
    parser.add_argument("--config", type=Path, help="launch-config.yaml")
    parser.add_argument("--region", default="", help="region of the stack (default: AWS_REGION, else the image's)")
    parser.add_argument("--account-id", default="", help="account of the stack (default: the role's, else the image's)")
    arguments = parser.parse_args()
    if arguments.spec is None:
        parser.print_help(sys.stderr)
        return 2
    try:
        config = parse_launch_config(arguments.config.read_bytes() if arguments.config else "queues: [sagemaker]")
        for warning in config.warnings():
            _say(warning)
        raw = _json(arguments.spec)
        plan = dry_run(raw, Env.from_environment(), config, region=arguments.region, account_id=arguments.account_id)
    except LaunchError as error:
        _say(f"{type(error).__name__}: {error}")
    except OSError as error:
        _say(f"{error.filename}: {error.strerror}")
    except ValueError as error:
        _say(f"{arguments.spec}: {error}")
    else:
        print(plan.model_dump_json(indent=2))  # noqa: T201 - the output of the command
        return 0
    return 1


def _say(text: str) -> None:
    print(text, file=sys.stderr)  # noqa: T201 - the output of the command


def _json(path: Path) -> object:
    """Read a JSON file in any Unicode encoding, with or without a byte order mark. Raises ValueError."""
    try:
        return json.loads(path.read_bytes())
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def dry_run(raw: object, env: Env, config: LaunchConfig, *, region: str = "", account_id: str = "") -> LaunchPlan:
    """Plan a run spec. Raises LaunchError.

    The role's ARN and the image's address give the account and region that are not given.
    """
    spec = parse_run_spec(raw)
    item = QueueItem(id="dry-run", run_spec=raw)
    deployment = _deployment(json.dumps(raw), env, config, region=region, account_id=account_id)
    ref = ItemRef(id=item.id, queue=config.queues[0], entity=config.entity or spec.entity, run_id=item.run_id)
    return plan_launch(spec, _job(spec, env), ref, Agent(deployment, config, create_training_job_shape()))


def _deployment(text: str, env: Env, config: LaunchConfig, *, region: str, account_id: str) -> Deployment:
    role, images = _ROLE.search(text), list(_IMAGE.finditer(text))
    own = next((image for image in images if not is_algorithm_image(image[0])), None)
    region = region or env.aws_region or (images[0]["region"] if images else "us-east-1")
    account = account_id or (role and role[1]) or (own and own["account"]) or _AN_ACCOUNT
    return Deployment(
        account_id=account,
        partition=partition_of(region),
        region=region,
        stack_name="dry-run",
        wandb_base_url=env.wandb_base_url,
        image_repository=config.image_destination or f"{ecr_host(account, region)}/the-repository-of-the-stack",
    )


def _job(spec: RunSpec, env: Env) -> Job | None:
    if not spec.job or spec.image:
        return None
    if not env.wandb_api_key:
        raise JobArtifactNotFound(f'job "{spec.job}" is in W&B. Set WANDB_API_KEY to a key that can read it.')
    artifacts = Artifacts(GraphqlClient(env.wandb_base_url, lambda: env.wandb_api_key))
    return Job(*artifacts.job_with_code(spec.job, entity=spec.entity, project=spec.project))


if __name__ == "__main__":
    sys.exit(main())
