"""Plan a run without launching it: `python -m launch_agent.dry_run FILE`, or a queue item or a job in W&B.

Prints the launch plan as JSON and exits with 0, or prints every fault to stderr and exits with 1. It runs the code of
`plan_run` without its side effects: nothing is leased, acknowledged, stored or submitted. Only what is in W&B needs
W&B, and WANDB_API_KEY for it.
"""

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from launch_agent.builder.code import fetch_code
from launch_agent.builder.code_folder import CodeFolder
from launch_agent.builder.context import lay_out
from launch_agent.clients.artifacts import Artifacts
from launch_agent.clients.graphql import GraphqlClient
from launch_agent.clients.queues import Queues
from launch_agent.clients.service_model import create_training_job_shape
from launch_agent.clients.wandb import Wandb
from launch_agent.deployment import ECR_HOST, Deployment, ecr_host, partition_of
from launch_agent.errors import AwsRefused, InvalidRunSpec, JobArtifactNotFound, LaunchError
from launch_agent.image.recipe import BuildPlan
from launch_agent.plan.agent import Agent
from launch_agent.plan.algorithm import is_algorithm_image
from launch_agent.plan.launch_plan import LaunchPlan, plan_launch
from launch_agent.plan.source import Job
from launch_agent.run_queue.items import RESOURCE, ItemRef, QueueItem, RunSpec, parse_run_spec
from launch_agent.run_queue.job_artifact import parse_job_name
from launch_agent.run_queue.launch_config import LaunchConfig, parse_launch_config
from launch_agent.settings import Settings

_AN_ACCOUNT = "123456789012"
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::(\d{12}):role/")
_IMAGE = re.compile(rf"{ECR_HOST.pattern}[^\s\"]*")


class Asked(NamedTuple):
    """The run spec to plan, its run queue item, and the queue's own block if it is known."""

    run_spec: object
    item_id: str = "dry-run"
    queue: str = ""
    block: Mapping[str, Any] | None = None


class Env(Settings):
    """The environment of a dry run."""

    aws_region: str = ""
    wandb_api_key: str = ""
    wandb_base_url: str = "https://api.wandb.ai"

    def graphql(self, what: str) -> GraphqlClient:
        """Return the W&B server, to read `what`. Raises JobArtifactNotFound without an API key."""
        if not self.wandb_api_key:
            raise JobArtifactNotFound(f"{what} is in W&B. Set WANDB_API_KEY to a key that can read it.")
        return GraphqlClient(self.wandb_base_url, lambda: self.wandb_api_key)


def main() -> int:
    """Run the command line; return the exit code."""
    parser = _parser()
    arguments = parser.parse_args()
    if not (arguments.spec or arguments.from_queue or arguments.job):
        parser.print_help(sys.stderr)
        return 2
    env = Env.from_environment()
    try:
        config = parse_launch_config(arguments.config.read_bytes() if arguments.config else "queues: [sagemaker]")
        for warning in config.warnings():
            _say(warning)
        asked = _asked(arguments, env, config)
        plan = dry_run(asked, env, config, region=arguments.region, account_id=arguments.account_id)
        if arguments.explain:
            _say("\n".join(_explained(plan, env)))
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="launch_agent.dry_run",
        description="Plan a run without launching it: make plan SPEC=run_spec.json, or "
        'make plan ARGS="--job entity/project/name:latest".',
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument("spec", type=Path, nargs="?", help="the run spec, a JSON file")
    source.add_argument("--from-queue", metavar="ITEM", help="the run spec of this run queue item, which stays queued")
    source.add_argument("--job", metavar="NAME", help="a run of this job, with the configuration of the first queue")
    parser.add_argument("--explain", action="store_true", help="also print the image's tag and Dockerfile, to stderr")
    parser.add_argument("--config", type=Path, help="launch-config.yaml")
    parser.add_argument("--region", default="", help="region of the stack (default: AWS_REGION, else the image's)")
    parser.add_argument("--account-id", default="", help="account of the stack (default: the role's, else the image's)")
    return parser


def _asked(arguments: argparse.Namespace, env: Env, config: LaunchConfig) -> Asked:
    """Return what to plan, from a file or from W&B. Raises LaunchError, OSError and ValueError."""
    if arguments.from_queue:
        return _queued(arguments.from_queue, env, config)
    if arguments.job:
        return _run_of(arguments.job, env, config)
    return Asked(_json(arguments.spec))


def _queued(item_id: str, env: Env, config: LaunchConfig) -> Asked:
    wandb = Wandb(env.graphql(f"run queue item {item_id}"))
    entity = config.entity or wandb.default_entity()
    for queue in config.queues:
        item = ItemRef(id=item_id, queue=queue, entity=entity, run_id="")
        found = wandb.run_spec(item)
        if found:
            return Asked(found, item_id, queue, wandb.queue_block(item))
    names = " or ".join(config.queues)
    other = (
        "" if config.entity else f" For the queues of another entity than {entity}, set entity in launch-config.yaml."
    )
    raise InvalidRunSpec([f"{entity} has no run queue item {item_id} in {names}.{other}"])


def _run_of(job: str, env: Env, config: LaunchConfig) -> Asked:
    graphql = env.graphql(f'job "{job}"')
    name = parse_job_name(job, entity=config.entity or Wandb(graphql).default_entity(), project="uncategorized")
    entity = config.entity or name.entity
    queue = Queues(graphql, entity).all().get(config.queues[0])
    if queue is None:
        raise InvalidRunSpec([f"{entity} has no run queue {config.queues[0]}, whose configuration the run would get."])
    spec = {"entity": name.entity, "project": name.project, "job": job, "resource": RESOURCE}
    return Asked({**spec, "resource_args": {queue.resource: queue.default_config}}, block=queue.config)


def _explained(plan: LaunchPlan, env: Env) -> Iterator[str]:
    """Yield what is known of the run's image, with the Dockerfile that the builder would use. Raises LaunchError."""
    if plan.build is None:
        yield f"image: {plan.image_uri or 'that of the algorithm'}; nothing is built"
        return
    yield f"tag: {plan.build.tag}"
    with tempfile.TemporaryDirectory() as folder:
        yield from _dockerfile(plan.build, env, Path(folder))


def _dockerfile(build: BuildPlan, env: Env, folder: Path) -> Iterator[str]:
    source = CodeFolder(folder / "source")
    source.path.mkdir()
    fetched, warnings = fetch_code(build, source, Artifacts(env.graphql(f"job {build.job}")), {})
    context = lay_out(build.recipe, source, folder / "context", lambda: None)
    yield f"code: {fetched}"
    yield from (f"warning: {warning}" for warning in (*warnings, *context.warnings))
    yield f"Dockerfile: {context.choice.why}\n\n{context.text.rstrip()}"


def _say(text: str) -> None:
    print(text, file=sys.stderr)  # noqa: T201 - the output of the command


def _json(path: Path) -> object:
    """Read a JSON file in any Unicode encoding, with or without a byte order mark. Raises ValueError."""
    try:
        return json.loads(path.read_bytes())
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def dry_run(asked: Asked, env: Env, config: LaunchConfig, *, region: str = "", account_id: str = "") -> LaunchPlan:
    """Plan a run spec. Raises LaunchError.

    The role's ARN and the image's address give the account and region that are not given.
    """
    spec = parse_run_spec(asked.run_spec)
    item = QueueItem(id=asked.item_id, run_spec=asked.run_spec)
    deployment = _deployment(json.dumps(asked.run_spec), env, config, region=region, account_id=account_id)
    queue, entity = asked.queue or config.queues[0], config.entity or spec.entity
    ref = ItemRef(id=item.id, queue=queue, entity=entity, run_id=item.run_id)
    agent = Agent(deployment, config, create_training_job_shape(), prices_of=_Prices(deployment).of)
    return plan_launch(spec, _job(spec, env), ref, agent, asked.block)


class _Prices(NamedTuple):
    """The prices that a policy limits. They are in AWS, so only they need AWS credentials."""

    deployment: Deployment

    def of(self, types: set[str]) -> dict[str, float]:
        """Return the prices of an hour by instance type. Raises AwsRefused if AWS cannot be asked."""
        from botocore.exceptions import BotoCoreError

        from launch_agent.clients.prices import listed_price

        try:
            prices = {name: listed_price(name, self.deployment.region) for name in types}
        except (BotoCoreError, LaunchError) as error:
            raise AwsRefused(
                f"the policy limits prices, and AWS cannot be asked for them: {error}. Set AWS credentials that allow "
                "pricing:GetProducts."
            ) from None
        return {name: price for name, price in prices.items() if price is not None}


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
    artifacts = Artifacts(env.graphql(f'job "{spec.job}"'))
    return Job(*artifacts.job_with_code(spec.job, entity=spec.entity, project=spec.project))


if __name__ == "__main__":
    sys.exit(main())
