"""What a run uses: an image that exists, or a job's code, from which an image is built."""

from collections.abc import Mapping
from typing import NamedTuple

from launch_agent.errors import InvalidLaunchConfig, InvalidRunSpec, UnsupportedJobSource
from launch_agent.image.recipe import ArtifactCode, BuildPlan, git_code, parse_queue_builder, plan_build
from launch_agent.plan.agent import Agent
from launch_agent.plan.queue_block import QueueBlock
from launch_agent.plan.secret_references import build_secret_faults
from launch_agent.run_queue.items import RESOURCE, SCHEDULER_URI, ItemRef, RunSpec
from launch_agent.run_queue.job_artifact import JobArtifact

_IMAGE_MACRO = "${image_uri}"


class Job(NamedTuple):
    """A job as read from W&B, and where its code is if it is in an artifact."""

    artifact: JobArtifact
    code: ArtifactCode | None = None


class Source(NamedTuple):
    """A run spec, its job if the agent has read one, and the build plan if an image has to be built."""

    spec: RunSpec
    artifact: JobArtifact | None = None
    build: BuildPlan | None = None

    @property
    def image(self) -> str | None:
        """The image of the run spec or its job. The address of an image is known before it is built."""
        if self.build:
            return self.build.image
        from_job = self.artifact and self.artifact.source_type == "image" and self.artifact.source.image
        return self.spec.image or from_job or None

    @property
    def entry_point(self) -> list[str] | None:
        """The entry point in that image; None if the image's own is used."""
        if self.spec.overrides.entry_point:
            return self.spec.overrides.entry_point
        if self.build:
            return list(self.build.recipe.entry_point)
        return self.artifact.source.entrypoint if self.artifact and not self.spec.image else None

    @property
    def why_no_image(self) -> str:
        """Why there is no image, and what to do."""
        if self.artifact is None:
            return (
                "the run spec names no Docker image and no job, and the queue has no "
                "AlgorithmSpecification.TrainingImage. Queue the run with one of them."
            )
        kind = self.artifact.source_type
        what = "an image job without an image" if kind == "image" else f'of the unknown kind "{kind}"'
        return (
            f'job "{self.spec.job}" is {what}. Recreate the job, or name an image in the queue\'s '
            "AlgorithmSpecification.TrainingImage."
        )


def source_of(spec: RunSpec, job: Job | None, item: ItemRef, block: QueueBlock, agent: Agent) -> Source:
    """Decide which image a run uses, and plan its build if it has to be built.

    Raises UnsupportedJobSource for a job that this agent does not run, InvalidRunSpec if the queue's `builder` block is
    not valid, and InvalidLaunchConfig if launch-config.yaml names a repository that the stack does not push to.
    """
    if job is None or not job.artifact.has_code or spec.image or _names_own_image(block):
        return Source(spec, job and job.artifact)
    _check_builder(spec, agent)
    builder = parse_queue_builder(block.raw.get("builder"))
    if faults := list(build_secret_faults(builder.secrets, agent.deployment.run_secret_arns)):
        raise InvalidRunSpec(faults, queue=item.queue)
    build = plan_build(
        spec,
        job.artifact,
        job.code or git_code(job.artifact, spec.job or "", builder),
        item,
        builder=builder,
        platform=agent.config.platform,
        to=agent.deployment.image_repository,
    )
    return Source(spec, job.artifact, build)


def check_kind(spec: RunSpec) -> None:
    """Raise UnsupportedJobSource for a sweep scheduler, and for a run spec with another resource than SageMaker."""
    if spec.uri == SCHEDULER_URI:
        raise UnsupportedJobSource("the item is a sweep scheduler, which is not planned as a run.")
    if spec.resource not in (None, RESOURCE):
        raise UnsupportedJobSource(
            f'the item is for the resource "{spec.resource}". This launch agent runs items for "{RESOURCE}" only. '
            "Push it to a SageMaker queue."
        )


def _names_own_image(block: QueueBlock) -> bool:
    """Whether the queue has its own algorithm or image, which is used instead of the job's."""
    own = block.raw.get("AlgorithmSpecification") or block.raw.get("algorithm_specification")
    if not isinstance(own, Mapping):
        return False
    return bool(own.get("AlgorithmName")) or own.get("TrainingImage") not in (None, "", _IMAGE_MACRO)


def _check_builder(spec: RunSpec, agent: Agent) -> None:
    pushes_to, destination = agent.deployment.image_repository, agent.config.image_destination
    if agent.config.is_noop:
        why = "builder.type in launch-config.yaml is noop. Set it to docker"
    elif not pushes_to:
        why = "the stack builds no images. Deploy it with the parameter BuildImages=true"
    elif destination and destination != pushes_to:
        raise InvalidLaunchConfig(
            f"launch-config.yaml names the repository {destination} for images, and the stack pushes to {pushes_to}. "
            "Remove builder.destination and registry.uri, or deploy the stack in that repository's account and region "
            f"with the parameter ImageRepositoryName={destination.partition('/')[2]}."
        )
    else:
        return
    raise UnsupportedJobSource(
        f'job "{spec.job}" is code, so its image has to be built, and {why}. Or create an image job with '
        "`wandb job create image`, or name an image in the queue's AlgorithmSpecification.TrainingImage."
    )
