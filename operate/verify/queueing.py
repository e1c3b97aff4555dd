"""Queues the job with the real wandb client, in the environment that `make` installs for it."""

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from operate.errors import CannotOperate
from operate.template import ROOT
from operate.verify.checks import Target

PROJECT = "launch-verify"
INSTANCE = "ml.m5.large"

_COMMAND = [str(ROOT / ".venvs/training/bin/python"), str(Path(__file__).parent / "queue_job.py")]
_SECONDS = 300
_OF_ONE_TYPE = {"InstanceType", "InstanceCount", "KeepAlivePeriodInSeconds", "VolumeKmsKeyId", "VolumeSizeInGB"}


def overrides(queue_config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the job overrides in its queue's configuration: the time limit and, if possible, the instance.

    Instance groups and training plans do not allow another instance type. No instance is kept warm.
    """
    stopping, instances = (queue_config.get(name) or {} for name in ("StoppingCondition", "ResourceConfig"))
    found: dict[str, Any] = {"StoppingCondition": {**stopping, "MaxRuntimeInSeconds": 900}}
    if set(instances) <= _OF_ONE_TYPE:
        cold = {name: 0 for name in instances if name == "KeepAlivePeriodInSeconds"}
        found["ResourceConfig"] = {**instances, **cold, "InstanceType": INSTANCE, "InstanceCount": 1}
    return found


def queued(target: Target, run_id: str) -> str:
    """Queue the job; return its run queue item's id. Raises CannotOperate if the wandb client fails."""
    asked = {
        "entity": target.entity,
        "project": PROJECT,
        "queue_name": target.queue.name,
        "run_id": run_id,
        "resource_args": {"sagemaker": overrides(target.queue.config)},
    }
    with tempfile.TemporaryDirectory() as folder:
        how: Any = {"env": _environment(target, folder), "cwd": folder, "timeout": _SECONDS}
        try:
            done = subprocess.run(
                _COMMAND, input=json.dumps(asked), capture_output=True, text=True, check=True, **how
            ).stdout
        except subprocess.TimeoutExpired:
            why = f"the wandb client did not finish within {_SECONDS} s."
        except subprocess.CalledProcessError as error:
            why = f"the wandb client says: {(error.stderr.strip().splitlines() or ['nothing'])[-1]}"
        else:
            return str(done.split()[-1])
    raise CannotOperate(
        f"The job could not be queued in {target.queue.name}: {why} Check that {target.base_url} can be reached from "
        f"here, and that the API key may write to the project {PROJECT} of {target.entity}."
    )


def _environment(target: Target, folder: str) -> dict[str, str]:
    """Return the client's environment: with the API key, and without the operator's own W&B and AWS settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "WANDB_"))}
    folders = ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR")
    server = {"WANDB_BASE_URL": target.base_url, "WANDB_API_KEY": target.api_key}
    return {**kept, **dict.fromkeys(folders, folder), **server}
