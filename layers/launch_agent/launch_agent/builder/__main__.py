"""Build the image that a build plan orders: fetch the code, choose the Dockerfile, build, push, note what was done.

Run by the buildspec of the stack's CodeBuild project, with that project's role. Exits with 1 and one line that begins
with `launch-agent: error:` when there is no image in the end.
"""

import shutil
import sys
import tempfile
import time
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from launch_agent.builder import code, docker, git
from launch_agent.builder.code_folder import CodeFolder
from launch_agent.builder.context import BuildContext, lay_out
from launch_agent.builder.git import Credentials, parse_credentials, secrets_in
from launch_agent.clients.artifacts import Artifacts
from launch_agent.clients.build_bucket import BuildBucket
from launch_agent.clients.graphql import GraphqlClient
from launch_agent.clients.image_repository import (
    PUBLIC_REGISTRY,
    ImageRepository,
    public_registry_password,
    registry_password,
)
from launch_agent.clients.secrets import WandbApiKey, json_secret
from launch_agent.clients.wandb import Wandb
from launch_agent.deployment import ECR_HOST
from launch_agent.errors import ImageBuildFailed, LaunchError, Transient
from launch_agent.image.build_failure import BUILDER_ERROR
from launch_agent.image.dockerfile import entry_point_in
from launch_agent.image.pins import pinned
from launch_agent.image.recipe import BuildPlan, GitCode, ImageNote
from launch_agent.safe_text import keep_secret, safe
from launch_agent.settings import Settings

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_MAX_WARNINGS = 10
_WAITS = (10, 60, 300, 600)


class Env(Settings):
    """The environment of a build: the project's own variables, and those of this build."""

    build_bucket: str
    build_plan_key: str
    buildkit_image: str
    codebuild_build_id: str
    git_credentials_secret: str = ""
    image_repository: str
    wandb_api_key_secret: str
    wandb_base_url: str


def main() -> int:
    """Build; return the exit code."""
    try:
        env = Env.from_environment()
        build_image(env, BuildBucket(env.build_bucket))
    except Exception as error:  # noqa: BLE001 - whatever went wrong, the person who queued the run reads one line
        words = " ".join(str(error).split())
        say(f"{BUILDER_ERROR} {type(error).__name__}: {words}")
        return 1
    return 0


def build_image(env: Env, bucket: BuildBucket) -> None:
    """Build the image that is ordered. Raises LaunchError."""
    plan = bucket.plan(env.build_plan_key)
    api_key = WandbApiKey(env.wandb_api_key_secret)
    credentials = git_credentials(env)
    keep_secret(api_key(), *secrets_in(credentials))
    graphql = GraphqlClient(env.wandb_base_url, api_key)
    with tempfile.TemporaryDirectory() as name:
        source, warnings = fetch(plan, Path(name, "source"), Artifacts(graphql), credentials)
        context = context_of(plan, source, Path(name), credentials)
        choice, more = context.choice, context.warnings
        order = order_for(env, plan, context)
        missing = build_and_push(env, plan, order)
    if missing:
        more = (
            *more,
            f"These of the packages that the job was made with could not be installed: {', '.join(missing)}.",
        )
    note = ImageNote(
        digest=pushed_digest(plan, order.image),
        dockerfile=safe(choice.why, limit=2_000),
        entry_point=entry_point_in(choice, plan.recipe.entry_point),
        warnings=tuple(safe(each) for each in (*warnings, *more)[:_MAX_WARNINGS]),
    )
    bucket.store_note(plan, note)
    warn(Wandb(graphql), plan, note)


def git_credentials(env: Env) -> Credentials:
    """Read the credentials for private git repositories, where the stack has any."""
    return parse_credentials(json_secret(env.git_credentials_secret)) if env.git_credentials_secret else {}


def fetch(
    plan: BuildPlan, folder: Path, artifacts: Artifacts, credentials: Credentials
) -> tuple[CodeFolder, tuple[str, ...]]:
    """Fetch the code into a new folder, waiting where W&B is away; return it, and what to warn of."""
    for wait in (*_WAITS, None):
        folder.mkdir()
        source = CodeFolder(folder)
        try:
            what, warnings = code.fetch_code(plan, source, artifacts, credentials)
        except Transient as error:
            if wait is None:
                raise
            say(f"trying again in {wait} s: {error}")
            shutil.rmtree(folder)
            time.sleep(wait)
        else:
            say(f"fetched {what}")
            return source, warnings
    raise AssertionError("the last try returns or raises")


def context_of(plan: BuildPlan, source: CodeFolder, folder: Path, credentials: Credentials) -> BuildContext:
    """Choose the Dockerfile and lay out what it is built of."""

    def fetch_history() -> None:
        try:
            if isinstance(plan.code, GitCode):
                git.fetch_history(source.path, credentials)
        except ImageBuildFailed as error:
            say(f"the history of the code could not be fetched; a version made of its tags may be wrong: {error}")

    context = lay_out(plan.recipe, source, folder / "context", fetch_history)
    say(f"Dockerfile {context.choice.why}")
    if context.choice.path is None:
        for line in context.text.splitlines():
            say(line)
    return context


def order_for(env: Env, plan: BuildPlan, context: BuildContext) -> docker.Order:
    """Order the image under a tag that no other build has, so that none can have been there before."""
    image = f"{plan.image}-{env.codebuild_build_id.rpartition(':')[2]}"
    return docker.Order(image, plan.cache, plan.recipe.platform, context.dockerfile, context.folder, context.text)


def build_and_push(env: Env, plan: BuildPlan, order: docker.Order) -> tuple[str, ...]:
    """Build and push, with what a Dockerfile runs kept from the build role; return what could not be installed."""
    docker.keep_from_credentials()
    sign_in(plan, order.text)
    with_buildkit = docker.start_buildkit(pinned(env.buildkit_image), say)
    return docker.build(order, say, with_buildkit=with_buildkit)


def sign_in(plan: BuildPlan, dockerfile: str) -> None:
    """Sign in to the registries that the build needs, and where Amazon's public one cannot be, pull as anybody does."""
    for registry in registries(plan, dockerfile):
        password = registry_password(registry)
        keep_secret(password)
        docker.sign_in(registry, password)
    try:
        password = public_registry_password()
        keep_secret(password)
        docker.sign_in(PUBLIC_REGISTRY, password)
    except (BotoCoreError, ClientError, LaunchError) as error:
        say(f"not signed in to {PUBLIC_REGISTRY}: {error}")


def registries(plan: BuildPlan, dockerfile: str) -> set[str]:
    """Name the ECR registries to sign in to: the image's own, and those of its base images in the same region."""
    own = plan.repository.partition("/")[0]
    region = own.split(".")[3]
    return {own, *(found[0] for found in ECR_HOST.finditer(dockerfile) if found["region"] == region)}


def pushed_digest(plan: BuildPlan, image: str) -> str:
    """Return the digest of the image that was pushed. Raises ImageBuildFailed for one that SageMaker does not take."""
    pushed = ImageRepository(plan.repository).by_tag(image.rpartition(":")[2])
    if pushed is None:
        raise ImageBuildFailed(f"the image {image} was pushed, and the repository does not have it.")
    if pushed.media_type != _MANIFEST:
        raise ImageBuildFailed(f"the image was pushed as {pushed.media_type}, and SageMaker takes {_MANIFEST} only.")
    say(f"pushed {plan.repository}@{pushed.digest}")
    return pushed.digest


def warn(wandb: Wandb, plan: BuildPlan, note: ImageNote) -> None:
    """Put the warnings on the queue item; an image without them is an image all the same."""
    for warning in note.warnings:
        say(f"warning: {warning}")
    try:
        if note.warnings:
            wandb.warn(plan.item, "\n".join(note.warnings), "build")
    except LaunchError as error:
        say(f"the queue item does not show this: {error}")


def say(line: str) -> None:
    """Write a line into the build's log."""
    print(safe(line), flush=True)  # noqa: T201 - what a build prints is its log


if __name__ == "__main__":
    sys.exit(main())
