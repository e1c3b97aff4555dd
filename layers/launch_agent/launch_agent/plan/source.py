"""What a run is made from: an image that exists, or a job's code from which one is built."""

from collections.abc import Mapping
from typing import NamedTuple

from launch_agent.errors import InvalidLaunchConfig, UnsupportedJobSource
from launch_agent.image.recipe import ArtifactCode, BuildPlan, git_code, parse_queue_builder, plan_build
from launch_agent.plan.agent import Agent
from launch_agent.plan.queue_block import RESOURCE, QueueBlock
from launch_agent.run_queue.items import SCHEDULER_URI, ItemRef, RunSpec
from launch_agent.run_queue.job_artifact import JobArtifact

_IMAGE_MACRO = "${image_uri}"


class Job(NamedTuple):
    """A job as it was read from W&B, and where its code is if that is in an artifact."""

    artifact: JobArtifact
    code: ArtifactCode | None = None


class Source(NamedTuple):
    """A run spec with the job it names, if that was read, and the build of an image where it needs one."""

    spec: RunSpec
    artifact: JobArtifact | None = None
    build: BuildPlan | None = None

    @property
    def image(self) -> str | None:
        """The image that the run spec or its job gives; the address of one to be built is known before."""
        if self.build:
            return self.build.image
        from_job = self.artifact and self.artifact.source_type == "image" and self.artifact.source.image
        return self.spec.image or from_job or None

    @property
    def entry_point(self) -> list[str] | None:
        """How the run is started in that image, where the image does not say."""
        if self.spec.overrides.entry_point:
            return self.spec.overrides.entry_point
        if self.build:
            return list(self.build.recipe.entry_point)
        return self.artifact.source.entrypoint if self.artifact and not self.spec.image else None

    @property
    def why_no_image(self) -> str:
        """Say why there is no image, and what to do."""
        if self.artifact is None:
            return (
                "the run spec names neither a Docker image nor a job, and the queue no "
                "AlgorithmSpecification.TrainingImage. Queue the run with one of them."
            )
        kind = self.artifact.source_type
        what = "an image without a name" if kind == "image" else f'of the unknown kind "{kind}"'
        return (
            f'job "{self.spec.job}" is {what}. Recreate the job, or name an image in the queue\'s '
            "AlgorithmSpecification.TrainingImage."
        )


def source_of(spec: RunSpec, job: Job | None, item: ItemRef, block: QueueBlock, agent: Agent) -> Source:
    """Decide what a run is made from.

    Raises UnsupportedJobSource for what this agent does not run, InvalidRunSpec for a faulty `builder` block of the
    queue's, and InvalidLaunchConfig where images are to go elsewhere than the stack can push to.
    """
    if job is None or not job.artifact.has_code or spec.image or _names_own_image(block):
        return Source(spec, job and job.artifact)
    _check_builder(spec, agent)
    builder = parse_queue_builder(block.raw.get("builder"))
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
    """Raise UnsupportedJobSource for a sweep scheduler, and for what is for another resource."""
    if spec.uri == SCHEDULER_URI:
        raise UnsupportedJobSource(
            "the item is a sweep scheduler, which needs a launch agent with a server. Serve the "
            "scheduler's queue with `wandb launch-agent`; the runs of the sweep can still go to this queue."
        )
    if spec.resource not in (None, RESOURCE):
        raise UnsupportedJobSource(
            f'the item asks for the resource "{spec.resource}", and this launch agent runs "{RESOURCE}" only. '
            "Push it to a SageMaker queue."
        )


def _names_own_image(block: QueueBlock) -> bool:
    """Whether the queue brings an algorithm or an image of its own, which wins over the job's."""
    own = block.raw.get("AlgorithmSpecification") or block.raw.get("algorithm_specification")
    if not isinstance(own, Mapping):
        return False
    return bool(own.get("AlgorithmName")) or own.get("TrainingImage") not in (None, "", _IMAGE_MACRO)


def _check_builder(spec: RunSpec, agent: Agent) -> None:
    pushes_to, destination = agent.deployment.image_repository, agent.config.image_destination
    if agent.config.is_noop:
        why = "builder.type in launch-config.yaml is noop. Set it to docker"
    elif not pushes_to:
        why = "the stack builds none. Deploy it with the parameter BuildImages=true"
    elif destination and destination != pushes_to:
        raise InvalidLaunchConfig(
            f"images are to go to {destination} by launch-config.yaml, and the stack pushes to {pushes_to}. Leave "
            "builder.destination and registry.uri out, or deploy the stack in its account and region, with the "
            f"parameter ImageRepositoryName={destination.partition('/')[2]}."
        )
    else:
        return
    raise UnsupportedJobSource(
        f'job "{spec.job}" comes as code, from which an image has to be built, and {why}. Or make an image job with '
        "`wandb job create image`, or name an image in the queue's AlgorithmSpecification.TrainingImage."
    )
