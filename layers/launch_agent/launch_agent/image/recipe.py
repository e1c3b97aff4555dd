"""The image of a job that comes as code: its recipe (everything that goes into it), its tag, and its build plan."""

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
"""Increase it with every change that makes a different image from the same recipe, for example in the generated
Dockerfile."""

DEFAULT_PYTHON = "3.12"
"""For jobs that do not state their Python version."""

Platform = Literal["linux/amd64", "linux/arm64"]

BUILD_HOSTS: dict[Platform, dict[str, str]] = {
    "linux/amd64": {"host_type": "LINUX_CONTAINER", "host_image": "aws/codebuild/amazonlinux-x86_64-standard:5.0"},
    "linux/arm64": {"host_type": "ARM_CONTAINER", "host_image": "aws/codebuild/amazonlinux-aarch64-standard:3.0"},
}
"""The CodeBuild environment for each platform. It has a processor of that kind, as emulation is slow."""

_REFERENCE = re.compile(r"[A-Za-z0-9][\w.:/-]*(@sha256:[0-9a-f]{64})?", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SCP_REMOTE = re.compile(r"\w[\w.+-]*@[A-Za-z0-9][\w.-]*:[^\s-].*", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9][\w.-]*(:\d+)?", re.ASCII)
_USER = re.compile(r"\w[\w.+-]*", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_]\w{0,127}", re.ASCII)
NETRC = "netrc"
"""The name of the secret that is a file for uv and pip, and no variable."""


def _image_reference(value: str) -> str:
    if not _REFERENCE.fullmatch(value):
        raise ValueError("expected an image reference, for example nvidia/cuda:12.8.1-base-ubuntu24.04")
    return value


ImageReference = Annotated[str, AfterValidator(_image_reference)]


class BaseImage(Wire):
    """A block with a base image in the queue's `builder` block."""

    base_image: ImageReference | None = None


def _secret_name(name: str) -> str:
    if name != NETRC and not _VARIABLE.fullmatch(name):
        raise ValueError(f"expected the name of an environment variable, or {NETRC}")
    return name


SecretName = Annotated[str, AfterValidator(_secret_name)]


class QueueBuilder(Wire):
    """The `builder` block of the queue's configuration."""

    accelerator: Annotated[BaseImage, BeforeValidator(lambda value: value or {})] = Field(default_factory=BaseImage)
    cuda: Annotated[BaseImage, BeforeValidator(lambda value: value or {})] = Field(default_factory=BaseImage)
    """The older spelling of `accelerator`."""
    base_image: ImageReference | None = None
    platform: Platform | None = None
    git_submodules: bool = False
    git_lfs: bool = False
    secrets: dict[SecretName, str] = Field(default_factory=dict)
    """What the installation of packages needs to sign in, with references to secrets, by the variable's name."""


class ArtifactCode(Model):
    """Code in an artifact."""

    kind: Literal["artifact"] = "artifact"
    artifact_id: str
    digest: str


class GitCode(Model):
    """Code in a git repository. If the job is not pinned, `commit` is None or the name of a branch or tag."""

    kind: Literal["git"] = "git"
    remote: str
    commit: str | None
    submodules: bool = False
    large_files: bool = False
    """Whether the files in git-lfs are fetched too. If not, the code has pointers instead of these files."""

    @property
    def is_pinned(self) -> bool:
        """Whether `commit` is a hash, so that the code never changes."""
        return self.commit is not None and bool(_COMMIT.fullmatch(self.commit))


Code = Annotated[ArtifactCode | GitCode, Field(discriminator="kind")]


class ImageRecipe(Model):
    """Everything that goes into an image. The same recipe gives the same image, so it is built once."""

    code: str
    """The id and digest of the code's artifact, or the remote and commit of its git repository."""
    job_artifact_id: str
    """The job artifact, whose frozen requirements and patch go into the image too: its id, which W&B assigns and which
    is unique, and `job_digest`, which its creator states."""
    job_digest: str
    entry_point: tuple[str, ...]
    notebook: bool = False
    dockerfile: str | None = None
    """A path in the build context, from the override or the job."""
    build_context: str | None = None
    base_image: str | None = None
    """An image with everything that the code needs: the code is copied onto it, and nothing is installed."""
    accelerator_image: str | None = None
    """An image with for example GPU libraries, on which Python and the requirements are installed."""
    working_dir: str | None = None
    python_version: str
    platform: Platform = "linux/amd64"
    secrets: tuple[str, ...] = ()
    """The names of the secrets that the commands of the Dockerfile can read."""
    builder_version: str = BUILDER_VERSION

    @property
    def tag(self) -> str:
        """64 hex digits that change if and only if a field changes."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


class BuildPlan(Model):
    """What to build. It contains no secret except `token`: the builder reads secrets with its own role."""

    item: ItemRef
    entity: str
    """The entity of the run. Builds for the same entity share layers."""
    job: str
    """The job's full name, `entity/project/name:alias`."""
    code: Code
    recipe: ImageRecipe
    tag: str
    """The recipe's tag when the run was planned. A later version may compute another tag for the same recipe."""
    secrets: dict[str, str] = Field(default_factory=dict)
    """By name, values with references to secrets. The builder reads the secrets."""
    repository: str
    """The address of the repository to push to, without a tag."""
    token: str | None = None
    """Random, so that no other build can guess it; None until the build is ordered. It is in the keys under which the
    plan and the note are stored."""

    _read_earlier = model_validator(mode="before")(current_build_plan)

    @property
    def image(self) -> str:
        """The image's address by tag, a placeholder until the build reports its digest."""
        return f"{self.repository}:{self.tag}"

    @property
    def cache(self) -> str:
        """The address of the layers of this job's builds. Its tag can be overwritten."""
        whose = f"{self.entity}\n{self.job.partition(':')[0]}"
        return f"{self.repository}:cache-{hashlib.sha256(whose.encode()).hexdigest()[:32]}"


class ImageNote(Model):
    """A build's report about the image that it pushed."""

    digest: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    dockerfile: str = Field(max_length=2_000)
    """Which Dockerfile was used, and why."""
    entry_point: tuple[str, ...]
    """The job's entry point in this image."""
    warnings: tuple[Annotated[str, Field(max_length=4_000)], ...] = Field(default=(), max_length=10)


def parse_queue_builder(block: object) -> QueueBuilder:
    """Parse the `builder` block of a queue's configuration; None is an empty block. Raises InvalidRunSpec."""
    try:
        return QueueBuilder.model_validate(block or {})
    except ValidationError as error:
        raise InvalidRunSpec(list(faults_of(error, "builder"))) from None


def git_code(job: JobArtifact, name: str, builder: QueueBuilder) -> GitCode:
    """Return where a git job's code is. Raises UnsupportedJobSource if the remote uses neither https nor ssh."""
    git = job.source.git
    remote = _remote(git.remote.strip()) if git else None
    if git is None or remote is None:
        raise UnsupportedJobSource(
            f'job "{name}" has a git remote with a password, or one that is not of the form https://host/path, '
            "ssh://host/path or user@host:path. Recreate the job with such a remote and without a password, and put "
            "the credentials in the secret named by the template parameter GitCredentialsSecretArn."
        )
    return GitCode(
        remote=remote,
        commit=git.commit or None,
        submodules=builder.git_submodules,
        large_files=builder.git_lfs,
    )


def _remote(text: str) -> str | None:
    """Return the remote to fetch from, or None if it is not supported.

    The user is removed from an https remote: the credentials of the host have their own. wandb removes the password of
    a remote and leaves `user:@`, and some hosts put a user into their remotes, such as `https://org@dev.azure.com/...`.
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
    """Plan the build of a job's image in the repository `to`. `platform` is used if the queue names none.

    Raises UnsupportedJobSource and JobArtifactNotFound.
    """
    source, overrides = job.source, spec.overrides
    if not source.entrypoint:
        raise UnsupportedJobSource(f'job "{spec.job}" has no entry point. Recreate the job with one.')
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
        secrets=tuple(sorted(builder.secrets)),
    )
    name = parse_job_name(spec.job or "", entity=spec.entity, project=spec.project)
    full_name = f"{name.entity}/{name.project}/{name.collection}:{name.alias}"
    return BuildPlan(
        item=item,
        entity=spec.entity,
        job=full_name,
        code=code,
        recipe=recipe,
        tag=recipe.tag,
        repository=to,
        secrets=builder.secrets,
    )


def _started(entry_point: list[str], *, notebook: bool) -> tuple[str, ...]:
    """Return the entry point. A notebook is started as the script that the builder converts it to."""
    return (*entry_point[:-1], posixpath.splitext(entry_point[-1])[0] + ".py") if notebook else tuple(entry_point)


def python_version(*stated: str | None) -> str:
    """Return the first Python version in these texts, as major.minor.

    wandb 0.31.0 writes `CPython 3.11.7` into the job of a run, and the plain version into other jobs.
    """
    found = (re.search(r"(?<!\d)\d{1,2}\.\d{1,3}", text or "") for text in stated)
    return next((match[0] for match in found if match), DEFAULT_PYTHON)


def _identity(code: Code, item: ItemRef) -> str:
    """Return a text that identifies the code. The code of a branch is different for each run queue item."""
    if isinstance(code, ArtifactCode):
        return f"artifact {code.artifact_id} {code.digest}"
    pinned = "" if code.is_pinned else f" as of {item.id}"
    added = (" with submodules" if code.submodules else "") + (" with large files" if code.large_files else "")
    return f"git {code.remote} {code.commit}{added}{pinned}"


def _base_image(reference: str | None, job: str | None) -> str | None:
    if reference and not _REFERENCE.fullmatch(reference):
        raise UnsupportedJobSource(
            f'job "{job}" has the base image "{reference}", which is not a valid image reference. Recreate the job '
            "with another one."
        )
    return reference or None


def _inside(path: str | None) -> str | None:
    """Return a normalized path within the code. Raises UnsupportedJobSource if it leads out of the code."""
    if not path:
        return None
    inside = posixpath.normpath(path)
    if inside.startswith(("/", "..")) or "\n" in inside:
        raise UnsupportedJobSource(f'"{path}" is not a path within the job\'s code. Write it relative to the code.')
    return inside
