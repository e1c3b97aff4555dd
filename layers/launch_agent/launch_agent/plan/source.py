"""What a run is made from: an image that exists, or a job's code from which one is built."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from launch_agent.deployment import Deployment
from launch_agent.errors import InvalidLaunchConfig, UnsupportedJobSource
from launch_agent.image.recipe import ArtifactCode, BuildPlan, git_code, parse_queue_builder, plan_build
from launch_agent.run_queue.items import SCHEDULER_URI, ItemRef, RunSpec
from launch_agent.run_queue.job_artifact import JobArtifact
from launch_agent.run_queue.launch_config import LaunchConfig

RESOURCE = "sagemaker"
_IMAGE_MACRO = "${image_uri}"


class Source(NamedTuple):
    """A run spec with the job it names, as far as that was read, and the build of an image where it needs one."""

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
            f'job "{self.spec.job}" is {what}. Make the job anew, or name an image in the queue\'s '
            "AlgorithmSpecification.TrainingImage."
        )


def source_of(
    spec: RunSpec,
    artifact: JobArtifact | None,
    item: ItemRef,
    *,
    queue_config: Mapping[str, Any],
    deployment: Deployment,
    code: ArtifactCode | None = None,
    config: LaunchConfig | None = None,
) -> Source:
    """Decide what a run is made from; `code` is where an `artifact` job has its code.

    Raises UnsupportedJobSource for what this agent does not run, InvalidRunSpec for a faulty `builder` block of the
    queue's, and InvalidLaunchConfig where images are to go elsewhere than the stack can push to.
    """
    if artifact is None or not artifact.has_code or spec.image or _names_own_image(queue_config):
        return Source(spec, artifact)
    _check_builder(spec, deployment, config)
    builder = parse_queue_builder(queue_config.get("builder"))
    build = plan_build(
        spec,
        artifact,
        code or git_code(artifact, spec.job or "", builder),
        item,
        builder=builder,
        platform=(config and config.builder and config.builder.platform) or "linux/amd64",
        to=deployment.image_repository,
    )
    return Source(spec, artifact, build)


def check_kind(spec: RunSpec) -> None:
    """Raise UnsupportedJobSource for a sweep scheduler, and for what is for another resource."""
    if spec.uri == SCHEDULER_URI:
        raise UnsupportedJobSource(
            "the item is a sweep scheduler, which has to run beside a launch agent with a server. Serve the "
            "scheduler's queue with `wandb launch-agent`; the runs of the sweep can still go to this queue."
        )
    if spec.resource not in (None, RESOURCE):
        raise UnsupportedJobSource(
            f'the item asks for the resource "{spec.resource}", and this launch agent runs "{RESOURCE}" only. '
            "Push it to a SageMaker queue."
        )


def _names_own_image(queue_config: Mapping[str, Any]) -> bool:
    """Whether the queue brings an algorithm or an image of its own, which wins over the job's."""
    own = queue_config.get("AlgorithmSpecification") or queue_config.get("algorithm_specification")
    if not isinstance(own, Mapping):
        return False
    return bool(own.get("AlgorithmName")) or own.get("TrainingImage") not in (None, _IMAGE_MACRO)


def _check_builder(spec: RunSpec, deployment: Deployment, config: LaunchConfig | None) -> None:
    wanted = config and config.image_destination
    if config and config.builder and config.builder.type == "noop":
        why = "builder.type in launch-config.yaml is noop. Set it to docker"
    elif not deployment.image_repository:
        why = "the stack builds none. Deploy it with the parameter BuildImages=true"
    elif wanted and wanted != deployment.image_repository:
        raise InvalidLaunchConfig(
            f"images are to go to {wanted} by launch-config.yaml, and the stack pushes to "
            f"{deployment.image_repository}. Leave builder.destination and registry.uri out, or deploy the stack in "
            f"its account and region, with the parameter ImageRepositoryName={wanted.partition('/')[2]}."
        )
    else:
        return
    raise UnsupportedJobSource(
        f'job "{spec.job}" comes as code, from which an image has to be built, and {why}. Or make an image job with '
        "`wandb job create image`, or name an image in the queue's AlgorithmSpecification.TrainingImage."
    )
