"""Plan a run spec without launching it: `python -m launch_agent.dry_run FILE`.

Prints the launch plan as JSON and exits with 0, or says every fault in words and exits with 1. It is the code that
`plan_run` runs, without its side effects: nothing is acknowledged, stored or submitted. A run spec that names a job is
the only one that needs W&B, and there WANDB_API_KEY.
"""

import argparse
import json
import re
import sys
from pathlib import Path

from launch_agent.clients.artifacts import Artifacts
from launch_agent.clients.graphql import GraphqlClient
from launch_agent.clients.service_model import create_training_job_shape
from launch_agent.deployment import Deployment
from launch_agent.errors import JobArtifactNotFound, LaunchError
from launch_agent.plan.agent import Agent
from launch_agent.plan.launch_plan import LaunchPlan, plan_launch
from launch_agent.plan.source import Job
from launch_agent.run_queue.items import ItemRef, QueueItem, RunSpec, parse_run_spec
from launch_agent.run_queue.launch_config import LaunchConfig, parse_launch_config
from launch_agent.settings import Settings

_A_REPOSITORY = "123456789012.dkr.ecr.us-east-1.amazonaws.com/the-repository-of-the-stack"
_ECR_HOST = re.compile(r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.")


class Env(Settings):
    """The environment of a dry run."""

    aws_region: str = ""
    wandb_api_key: str = ""
    wandb_base_url: str = "https://api.wandb.ai"


def main() -> int:
    """Read the command line, print what comes of it, and return the exit code."""
    parser = argparse.ArgumentParser(prog="launch_agent.dry_run", description="Plan a run spec without launching it.")
    parser.add_argument("spec", type=Path, help="the run spec, a JSON file")
    parser.add_argument("--config", type=Path, help="launch-config.yaml")
    parser.add_argument("--region", default="", help="region of the stack (default: AWS_REGION, else the image's)")
    parser.add_argument("--account-id", default="", help="account of the stack (default: the image's)")
    arguments = parser.parse_args()
    try:
        text = arguments.config.read_text() if arguments.config else "queues: [sagemaker]"
        plan = dry_run(
            arguments.spec.read_text(),
            Env.from_environment(),
            config=parse_launch_config(text),
            region=arguments.region,
            account_id=arguments.account_id,
        )
    except LaunchError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201 - a command speaks to its user
    except (OSError, ValueError) as error:
        print(f"{arguments.spec}: {error}", file=sys.stderr)  # noqa: T201 - as above
    else:
        print(plan.model_dump_json(indent=2))  # noqa: T201 - as above
        return 0
    return 1


def dry_run(text: str, env: Env, *, config: LaunchConfig, region: str, account_id: str) -> LaunchPlan:
    """Plan the run spec in `text`. What is not given of the stack is taken from the image's address."""
    raw = json.loads(text)
    spec = parse_run_spec(raw)
    item = QueueItem(id="dry-run", run_spec=raw)
    image = _ECR_HOST.search(text)
    deployment = Deployment(
        account_id=account_id or (image["account"] if image else "123456789012"),
        region=region or env.aws_region or (image["region"] if image else "us-east-1"),
        stack_name="dry-run",
        wandb_base_url=env.wandb_base_url,
        image_repository=config.image_destination or _A_REPOSITORY,
    )
    ref = ItemRef(id=item.id, queue=config.queues[0], entity=config.entity or spec.entity, run_id=item.run_id)
    return plan_launch(spec, _job(spec, env), ref, Agent(deployment, config, create_training_job_shape()))


def _job(spec: RunSpec, env: Env) -> Job | None:
    if not spec.job or spec.image:
        return None
    if not env.wandb_api_key:
        raise JobArtifactNotFound(f'job "{spec.job}" has to be read from W&B. Set WANDB_API_KEY to a key that may.')
    artifacts = Artifacts(GraphqlClient(env.wandb_base_url, lambda: env.wandb_api_key))
    return Job(*artifacts.job_with_code(spec.job, entity=spec.entity, project=spec.project))


if __name__ == "__main__":
    sys.exit(main())
