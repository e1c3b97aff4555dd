"""Prints the request that the reference launch agent would submit for each run spec on stdin.

Runs in the training environment. stdin: a JSON list of {"spec", "run_id", "item_id", "queue", "entity", "job",
"built_image"}; `job` is the content of wandb-job.json, or null, and `built_image` is a builder's answer for a job made
from code. stdout: a JSON list of CreateTrainingJob requests from the reference's own code, or {"error"} if it fails.
"""

import json
import os
import sys
import tempfile
from types import ModuleType, SimpleNamespace
from typing import Any

for absent in ("boto3", "botocore"):
    sys.modules[absent] = ModuleType(absent)  # imported by the reference's runner, but not needed to build a request

from wandb.sdk.launch._project_spec import LaunchProject  # noqa: E402 - after the stand-ins
from wandb.sdk.launch.runner.sagemaker_runner import build_sagemaker_args, get_role_arn  # noqa: E402 - after the stand-ins

ENVIRONMENT_LIMIT = 512
ACCOUNT, PARTITION = "123456789012", "aws"


def reference_request(case: dict[str, Any]) -> dict[str, Any]:
    """Repeat the steps of `LaunchAgent._task_run_job` and `SageMakerRunner.run` from the pop to CreateTrainingJob."""
    api = SimpleNamespace(settings={"base_url": "https://api.wandb.ai"}, api_key="reference-key")
    project = LaunchProject.from_spec({**case["spec"], "run_id": case["run_id"]}, api)
    project.queue_name = case["queue"]
    project.queue_entity = case["entity"]
    project.run_queue_item_id = case["item_id"]
    if case["job"] and not project.docker_image:
        source = case["job"]["source"]
        project.docker_image = source.get("image")
        if source.get("entrypoint"):
            project.set_job_entry_point(source["entrypoint"])
    given = project.resource_args["sagemaker"]
    own_image = given.get("AlgorithmSpecification", {}).get("TrainingImage")
    entry_point = project.override_entrypoint
    if own_image is None and entry_point is None:
        entry_point = project.get_job_entry_point()
    role = get_role_arn(given, {}, ACCOUNT, PARTITION)
    image = own_image or project.docker_image or case["built_image"]
    args = (project, api, role, entry_point, project.override_args, ENVIRONMENT_LIMIT, image)
    return dict(build_sagemaker_args(*args))


def attempt(case: dict[str, Any]) -> dict[str, Any]:
    """Return the request, or as `error` the reference's message for the queue item."""
    try:
        return reference_request(case)
    except Exception as error:  # noqa: BLE001 - any error is the reference's answer
        return {"error": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    os.environ.clear()  # the reference makes every variable of its process a macro
    with tempfile.TemporaryDirectory() as tempfile.tempdir:  # the reference leaves a folder behind for each job
        json.dump([attempt(case) for case in json.load(sys.stdin)], sys.stdout)
