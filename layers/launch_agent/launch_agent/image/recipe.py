"""The image of a job that comes as code: everything that goes into it, the tag that stands for exactly that, and the
order to build it.
"""

import hashlib
import posixpath
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from launch_agent.errors import InvalidRunSpec, UnsupportedJobSource
from launch_agent.image.earlier import current_build_plan
from launch_agent.model import Model, Wire, faults_of
from launch_agent.run_queue.items import ItemRef, RunSpec
from launch_agent.run_queue.job_artifact import JobArtifact, parse_job_name

BUILDER_VERSION = "2"
"""Raised with every change that makes another image of the same recipe, such as one of the generated Dockerfile."""

DEFAULT_PYTHON = "3.12"
"""For jobs that do not say with which Python they were made."""

Platform = Literal["linux/amd64", "linux/arm64"]

BUILD_HOSTS: dict[Platform, dict[str, str]] = {
    "linux/amd64": {"host_type": "LINUX_CONTAINER", "host_image": "aws/codebuild/amazonlinux-x86_64-standard:5.0"},
    "linux/arm64": {"host_type": "ARM_CONTAINER", "host_image": "aws/codebuild/amazonlinux-aarch64-standard:3.0"},
}
"""Where AWS CodeBuild builds for a platform: on a processor of its kind, since emulating another is slow."""

_REFERENCE = re.compile(r"[A-Za-z0-9][\w.:/-]*(@sha256:[0-9a-f]{64})?", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SCP_REMOTE = re.compile(r"\w[\w.+-]*@[A-Za-z0-9][\w.-]*:[^\s-].*", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9][\w.-]*(:\d+)?", re.ASCII)
_USER = re.compile(r"\w[\w.+-]*", re.ASCII)


def _image_reference(value: str) -> str:
    if not _REFERENCE.fullmatch(value):
        raise ValueError("an image reference is wanted, for example nvidia/cuda:12.8.1-base-ubuntu24.04")
    return value


ImageReference = Annotated[str, AfterValidator(_image_reference)]


class BaseImage(Wire):
    """A block of the queue's `builder` that names a base image."""

    base_image: ImageReference | None = None


class QueueBuilder(Wire):
    """The `builder` block of the queue's configuration."""

    accelerator: Annotated[BaseImage, BeforeValidator(lambda value: value or {})] = BaseImage()
    cuda: Annotated[BaseImage, BeforeValidator(lambda value: value or {})] = BaseImage()
    """The older spelling of `accelerator`."""
    base_image: ImageReference | None = None
    platform: Platform | None = None
    git_submodules: bool = False
    git_lfs: bool = False


class ArtifactCode(Model):
    """Code in an artifact."""

    kind: Literal["artifact"] = "artifact"
    artifact_id: str
    digest: str


class GitCode(Model):
    """Code in a git repository. `commit` is None, or the name of a branch or tag, where the job is not pinned."""

    kind: Literal["git"] = "git"
    remote: str
    commit: str | None
    submodules: bool = False
    large_files: bool = False
    """Whether files that git-lfs keeps elsewhere are fetched too; without, the code has pointers in their place."""

    @property
    def is_pinned(self) -> bool:
        """Whether it will always be the same code."""
        return self.commit is not None and bool(_COMMIT.fullmatch(self.commit))


Code = Annotated[ArtifactCode | GitCode, Field(discriminator="kind")]


class ImageRecipe(Model):
    """What an image is made of. The same recipe gives the same image, so that it is built once."""

    code: str
    """The id and digest of the code's artifact, or the remote and commit of its git repository."""
    job_artifact_id: str
    """The job artifact, whose frozen requirements and patch go into the image too: W&B's id of it, which is nobody
    else's, and the digest that its maker gave it."""
    job_digest: str
    entry_point: tuple[str, ...]
    notebook: bool = False
    dockerfile: str | None = None
    """A path in the build context: the override's, else the job's own."""
    build_context: str | None = None
    base_image: str | None = None
    """An image that has all that the code needs: the code is laid on it, and nothing is installed."""
    accelerator_image: str | None = None
    """An image with drivers and the like, on which Python and the requirements are installed."""
    working_dir: str | None = None
    python_version: str
    platform: Platform = "linux/amd64"
    builder_version: str = BUILDER_VERSION

    @property
    def tag(self) -> str:
        """Return 64 hex digits that change if and only if a field does."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


class BuildPlan(Model):
    """The order to build an image. It holds no secret: the builder reads those it needs with a role of its own."""

    item: ItemRef
    entity: str
    """Whose run it is first built for: layers are shared within an entity."""
    job: str
    """The job's full name, `entity/project/name:alias`."""
    code: Code
    recipe: ImageRecipe
    tag: str
    """The recipe's, as it was when the run was planned: a later version may make another tag of the same recipe."""
    repository: str
    """The address of the repository to push to, without a tag."""
    token: str | None = None
    """What no other build can guess, once the build is ordered: its plan and its note are stored below it."""

    _read_earlier = model_validator(mode="before")(current_build_plan)

    @property
    def image(self) -> str:
        """What stands for the image's address until it is built and known by its digest."""
        return f"{self.repository}:{self.tag}"

    @property
    def cache(self) -> str:
        """Where the layers of this job's builds are kept; the tag is one that may move."""
        whose = f"{self.entity}\n{self.job.partition(':')[0]}"
        return f"{self.repository}:cache-{hashlib.sha256(whose.encode()).hexdigest()[:32]}"


class ImageNote(Model):
    """What a build reports of the image that it has pushed."""

    digest: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    dockerfile: str = Field(max_length=2_000)
    """Which Dockerfile was used, and why."""
    entry_point: tuple[str, ...]
    """How the code is started in this image."""
    warnings: tuple[Annotated[str, Field(max_length=4_000)], ...] = Field(default=(), max_length=10)


def parse_queue_builder(block: object) -> QueueBuilder:
    """Parse the `builder` block of a queue's configuration; None is an empty one. Raises InvalidRunSpec."""
    try:
        return QueueBuilder.model_validate(block or {})
    except ValidationError as error:
        raise InvalidRunSpec(list(faults_of(error, "builder"))) from None


def git_code(job: JobArtifact, name: str, builder: QueueBuilder) -> GitCode:
    """Return where a git job's code is. Raises UnsupportedJobSource for what is not fetched over https or ssh."""
    git = job.source.git
    remote = _remote(git.remote.strip()) if git else None
    if git is None or remote is None:
        raise UnsupportedJobSource(
            f'job "{name}" has a git remote that is not of the form https://host/path, ssh://host/path or '
            "user@host:path, or that has a password in it. Recreate the job with such a remote, and put the "
            "credentials in the secret that the template parameter GitCredentialsSecretArn names."
        )
    return GitCode(
        remote=remote,
        commit=git.commit or None,
        submodules=builder.git_submodules,
        large_files=builder.git_lfs,
    )


def _remote(text: str) -> str | None:
    """Return a remote as it is fetched: one over https without a user, whom the credentials of the host name.

    wandb takes the password out of a remote and leaves `user:@`; hosts show their remotes with a user, such as
    `https://org@dev.azure.com/...`. None for what is not fetched.
    """
    if not text.isprintable():
        return None
    if _SCP_REMOTE.fullmatch(text):
        return text
    scheme, separator, rest = text.partition("://")
    authority, _, path = rest.partition("/")
    sign_in, _, host = authority.rpartition("@")
    user, _, password = sign_in.partition(":")
    scheme = scheme.lower()
    if password or not (separator and path and _HOST.fullmatch(host)) or scheme not in ("https", "ssh"):
        return None
    if user and not _USER.fullmatch(user) and scheme == "ssh":
        return None
    return f"{scheme}://{f'{user}@' if user and scheme == 'ssh' else ''}{host}/{path}"


def plan_build(
    spec: RunSpec, job: JobArtifact, code: Code, item: ItemRef, *, builder: QueueBuilder, platform: Platform, to: str
) -> BuildPlan:
    """Decide what image a job's code becomes, in the repository `to`; `platform` is for queues that name none.

    Raises UnsupportedJobSource and JobArtifactNotFound.
    """
    source, overrides = job.source, spec.overrides
    if not source.entrypoint:
        raise UnsupportedJobSource(f'job "{spec.job}" has no entry point. Make it anew, with one.')
    base_image = _base_image(source.base_image, spec.job) or builder.base_image
    recipe = ImageRecipe(
        code=_identity(code, item),
        job_artifact_id=job.artifact_id,
        job_digest=job.digest,
        entry_point=_started(source.entrypoint, notebook=source.notebook),
        notebook=source.notebook,
        dockerfile=_inside(overrides.dockerfile or source.dockerfile),
        build_context=_inside(source.build_context),
        base_image=base_image,
        accelerator_image=None if base_image else builder.accelerator.base_image or builder.cuda.base_image,
        working_dir=_inside(overrides.working_dir) if base_image else None,
        python_version=python_version(job.runtime, spec.python_version),
        platform=builder.platform or platform,
    )
    name = parse_job_name(spec.job or "", entity=spec.entity, project=spec.project)
    full_name = f"{name.entity}/{name.project}/{name.collection}:{name.alias}"
    return BuildPlan(
        item=item, entity=spec.entity, job=full_name, code=code, recipe=recipe, tag=recipe.tag, repository=to
    )


def _started(entry_point: list[str], *, notebook: bool) -> tuple[str, ...]:
    """Return how the code is started: a notebook as the script that the builder makes of it."""
    return (*entry_point[:-1], posixpath.splitext(entry_point[-1])[0] + ".py") if notebook else tuple(entry_point)


def python_version(*stated: str | None) -> str:
    """Return the first Python stated, as major.minor.

    wandb 0.31.0 writes `CPython 3.11.7` into the job of a run, and the plain version into other jobs.
    """
    found = (re.search(r"(?<!\d)\d{1,2}\.\d{1,3}", text or "") for text in stated)
    return next((match[0] for match in found if match), DEFAULT_PYTHON)


def _identity(code: Code, item: ItemRef) -> str:
    """Name the very code; that of a branch is another one for each item."""
    if isinstance(code, ArtifactCode):
        return f"artifact {code.artifact_id} {code.digest}"
    pinned = "" if code.is_pinned else f" as of {item.id}"
    added = (" with submodules" if code.submodules else "") + (" with large files" if code.large_files else "")
    return f"git {code.remote} {code.commit}{added}{pinned}"


def _base_image(reference: str | None, job: str | None) -> str | None:
    if reference and not _REFERENCE.fullmatch(reference):
        raise UnsupportedJobSource(f'job "{job}" names "{reference}" as its base image, which is no image reference.')
    return reference or None


def _inside(path: str | None) -> str | None:
    """Return a path within the code. Raises UnsupportedJobSource for one that leads out of it."""
    if not path:
        return None
    inside = posixpath.normpath(path)
    if inside.startswith(("/", "..")) or "\n" in inside:
        raise UnsupportedJobSource(f'"{path}" is not a path within the job\'s code. Write it relative to the code.')
    return inside
