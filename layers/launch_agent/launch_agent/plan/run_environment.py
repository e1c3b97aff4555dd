"""The environment of a training container: it connects the wandb SDK to its run.

The variables are those that `wandb launch-agent` sets, within the limits of SageMaker's `Environment`
(https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateTrainingJob.html). A plan has all of them except
the API key, which `start_training` adds.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from launch_agent.deployment import Deployment
from launch_agent.run_queue.items import ItemRef, RunSpec

API_KEY = "WANDB_API_KEY"
BASE_URL = "WANDB_BASE_URL"
RESUME = "WANDB_RESUME"
IDENTITY = ("WANDB_ENTITY", "WANDB_PROJECT", "WANDB_RUN_ID")
"""The run that the container logs to. A queue cannot name another run, as the launch agent watches this one."""

CONFIG, FILES, ARTIFACTS = "WANDB_CONFIG", "WANDB_LAUNCH_FILE_OVERRIDES", "WANDB_ARTIFACTS"
"""They have overrides.run_config, overrides.files and overrides.artifacts; the first two in pieces if they are long."""

MAX_VALUE = 512
"""The longest value of a variable that SageMaker accepts, in characters."""

MOST_VARIABLES = 100
"""How many variables SageMaker accepts."""

_JOB_SLOT = "_wandb_job"


def run_environment(spec: RunSpec, item: ItemRef, image: str | None, deployment: Deployment) -> dict[str, str]:
    """Return the variables that connect a container to its run. `image` is the one in the run spec or its job."""
    variables: dict[str, str | None] = {
        BASE_URL: deployment.wandb_base_url,
        "WANDB_ENTITY": spec.entity,
        "WANDB_PROJECT": spec.project,
        "WANDB_RUN_ID": item.run_id,
        "WANDB_LAUNCH": "True",
        "WANDB_DOCKER": image,
        "WANDB_NAME": spec.name or None,
        "WANDB_USERNAME": None if spec.api_key else spec.author,
        "WANDB_SWEEP_ID": spec.sweep_id or None,
        "WANDB_LAUNCH_QUEUE_NAME": item.queue,
        "WANDB_LAUNCH_QUEUE_ENTITY": item.entity,
        "WANDB_LAUNCH_TRACE_ID": item.id,
        RESUME: "allow" if (spec.resume_count or 0) > 0 else None,
        ARTIFACTS: _artifacts(spec),
        **_pieces(CONFIG, spec.overrides.run_config),
        **_pieces(FILES, spec.overrides.files),
    }
    return {name: value for name, value in variables.items() if value is not None}


def final_environment(planned: Mapping[str, Any], *, api_key: Any, again: bool) -> dict[str, Any]:
    """Return the variables to submit: the planned ones, and those that are known only when the job starts.

    `again` is whether an earlier training job may have begun the run.
    """
    resumed = {RESUME: "allow"} if again else {}
    return {**resumed, **planned, **({API_KEY: api_key} if api_key else {})}


def with_run_config(
    variables: Mapping[str, Any], added: Mapping[str, Any], *, most: int | None = MOST_VARIABLES
) -> dict[str, Any]:
    """Return the variables with more keys in the run's config, which the SDK writes with wandb.init.

    Keys that the config has are not changed. If the config is not an object, or if there would be more than `most`
    variables, returns the variables as they are.
    """
    own = {name: value for name, value in variables.items() if re.fullmatch(rf"{CONFIG}(_\d+)?", name)}
    pieces = sorted((int(name.rpartition("_")[2]), value) for name, value in own.items() if name != CONFIG)
    try:
        known = json.loads(own.get(CONFIG) or "".join(value for _, value in pieces) or "{}")
    except ValueError:
        known = None
    if not isinstance(known, dict):
        return dict(variables)
    rest = {name: value for name, value in variables.items() if name not in own}
    changed = {**rest, **_pieces(CONFIG, {**added, **known})}
    return changed if most is None or len(changed) <= most else dict(variables)


def _pieces(name: str, value: Mapping[str, Any] | None) -> dict[str, str]:
    """Return `value` as JSON in one variable, or in name_0, name_1, ..., which the SDK joins."""
    text = json.dumps(value or {})
    if len(text) <= MAX_VALUE:
        return {name: text}
    pieces = [text[start : start + MAX_VALUE] for start in range(0, len(text), MAX_VALUE)]
    return {f"{name}_{index}": piece for index, piece in enumerate(pieces)}


def _artifacts(spec: RunSpec) -> str:
    """Return the artifacts that the run uses, with the job, as JSON; without spaces if they do not fit otherwise."""
    slots = {**({_JOB_SLOT: spec.job} if spec.job else {}), **(spec.overrides.artifacts or {})}
    text = json.dumps(slots)
    return text if len(text) <= MAX_VALUE else json.dumps(slots, separators=(",", ":"), ensure_ascii=False)
