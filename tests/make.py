"""Factories for tests' values. Each returns a complete value; arguments change the parts that matter to a test."""

from datetime import UTC, datetime
from typing import Any

from launch_agent.clients.service_model import create_training_job_shape
from launch_agent.image.recipe import ImageNote, ImageRecipe
from launch_agent.plan.agent import Agent
from launch_agent.run_queue.items import ItemRef, Slot
from launch_agent.run_queue.launch_config import parse_launch_config
from launch_agent.runs.life import RunState
from launch_agent.runs.record import RunRecord
from launch_agent.training.training_job import TrainingJob
from tests.golden.cases import DEPLOYMENT

REPOSITORY = DEPLOYMENT.image_repository
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def item_ref(item_id: str = "item", **more: Any) -> ItemRef:
    """A run queue item."""
    return ItemRef.model_validate({"id": item_id, "queue": "sm", "entity": "team", "run_id": "run", **more})


def run_record(item_id: str = "item", **more: Any) -> RunRecord:
    """The record of an open run, opened at NOW."""
    return RunRecord.model_validate(
        {
            "item": item_ref(item_id),
            "slot": Slot.JOB,
            "state": RunState.OPEN,
            "attempt": 1,
            "execution_name": item_id,
            "launch_agent_id": "a1",
            "launch_agent_name": "agent-run",
            "opened_at": NOW,
            **more,
        }
    )


def agent(config: str = "queues: [sm]") -> Agent:
    """A launch agent with a launch-config.yaml."""
    return Agent(DEPLOYMENT, parse_launch_config(config), create_training_job_shape())


def image_recipe(**more: Any) -> ImageRecipe:
    """The recipe of a job with the command `python train.py`."""
    return ImageRecipe.model_validate(
        {
            "code": "c",
            "job_artifact_id": "j",
            "job_digest": "d",
            "entry_point": ("python", "train.py"),
            "python_version": "3.11",
            **more,
        }
    )


def image_note(**more: Any) -> ImageNote:
    """The report of the build of such an image."""
    given = {"digest": f"sha256:{'a' * 64}", "dockerfile": "generated", "entry_point": ("python", "train.py")}
    return ImageNote.model_validate({**given, **more})


def training_job(status: str = "InProgress", secondary_status: str = "", **more: Any) -> TrainingJob:
    """SageMaker's description of a training job, last changed at NOW; `more` has other keys of the description."""
    return TrainingJob.model_validate(
        {
            "TrainingJobName": "job",
            "TrainingJobArn": "arn:aws:sagemaker:us-east-1:123456789012:training-job/job",
            "TrainingJobStatus": status,
            "SecondaryStatus": secondary_status or status,
            "LastModifiedTime": NOW,
            **more,
        }
    )
