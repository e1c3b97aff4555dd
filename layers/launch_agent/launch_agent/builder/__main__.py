"""Builds the image of a build plan: fetches the code, chooses the Dockerfile, builds, pushes, and writes a note.

The buildspec of the stack's CodeBuild project runs it with that project's role. If it fails, it prints one line that
begins with `launch-agent: error:`, and exits with 1.
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
from launch_agent.clients.secrets import RunSecrets, WandbApiKey, json_secret
from launch_agent.clients.wandb import Wandb
from launch_agent.deployment import ECR_HOST
from launch_agent.errors import ImageBuildFailed, InvalidRunSpec, LaunchError, Transient
from launch_agent.image.build_failure import BUILDER_ERROR
from launch_agent.image.dockerfile import entry_point_in
from launch_agent.image.pins import pinned
from launch_agent.image.recipe import BuildPlan, GitCode, ImageNote
from launch_agent.plan.secret_references import filled
from launch_agent.safe_text import keep_secret, safe
from launch_agent.settings import Settings

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_MAX_WARNINGS = 10
_WAITS = (10, 60, 300, 600)


class Env(Settings):
    """The environment variables of a build: those of the project, and those of this build."""

    build_bucket: str
    build_plan_key: str
    buildkit_image: str
    codebuild_build_id: str
    git_credentials_secret: str = ""
    https_proxy: str = ""
    image_repository: str
    no_proxy: str = ""
    run_secret_arns: str = ""
    run_queue_item_id: str = ""  # version 0.1.0 does not set it. Delete the default with tests/upgrade/0.1.0.
    wandb_api_key_secret: str
    wandb_base_url: str

    @property
    def proxies(self) -> dict[str, str]:
        """The variables for the proxy, if the stack has one."""
        variables = {"HTTPS_PROXY": self.https_proxy, "NO_PROXY": self.no_proxy}
        return {name: value for name, value in variables.items() if value} if self.https_proxy else {}


def main() -> int:
    """Build the image; return the exit code."""
    try:
        env = Env.from_environment()
        build_image(env, BuildBucket(env.build_bucket))
    except Exception as error:  # noqa: BLE001 - the person who queued the run gets one line for any error
        words = " ".join(str(error).split())
        say(f"{BUILDER_ERROR} {type(error).__name__}: {words}")
        return 1
    return 0


def build_image(env: Env, bucket: BuildBucket) -> None:
    """Build and push the image of the build plan, and store the note. Raises LaunchError."""
    say(f"launch-agent: run queue item {env.run_queue_item_id}")
    plan = bucket.plan(env.build_plan_key)
    api_key = WandbApiKey(env.wandb_api_key_secret)
    credentials = git_credentials(env)
    keep_secret(api_key(), *secrets_in(credentials))
    graphql = GraphqlClient(env.wandb_base_url, api_key)
    with tempfile.TemporaryDirectory() as name:
        source, warnings = fetch(plan, Path(name, "source"), Artifacts(graphql), credentials)
        context = context_of(plan, source, Path(name), credentials)
        choice, more = context.choice, context.warnings
        order = order_for(env, plan, context)._replace(secrets=store_secrets(env, plan, Path(name, "secrets")))
        missing = build_and_push(env, plan, order)
    if missing:
        more = (
            *more,
            f"These packages of the job could not be installed: {', '.join(missing)}.",
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
    """Read the credentials for private git repositories; empty if the stack has none."""
    return parse_credentials(json_secret(env.git_credentials_secret)) if env.git_credentials_secret else {}


def fetch(
    plan: BuildPlan, folder: Path, artifacts: Artifacts, credentials: Credentials
) -> tuple[CodeFolder, tuple[str, ...]]:
    """Fetch the code into a new folder, and wait if W&B is unavailable; return the folder and the warnings."""
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
    """Choose or generate the Dockerfile, and prepare its build context."""

    def fetch_history() -> None:
        try:
            if isinstance(plan.code, GitCode):
                git.fetch_history(source.path, credentials)
        except ImageBuildFailed as error:
            say(f"the history of the code could not be fetched; a version derived from its tags may be wrong: {error}")

    context = lay_out(plan.recipe, source, folder / "context", fetch_history)
    say(f"Dockerfile {context.choice.why}")
    if context.choice.path is None:
        for line in context.text.splitlines():
            say(line)
    return context


def order_for(env: Env, plan: BuildPlan, context: BuildContext) -> docker.Order:
    """Return what to build and push. The tag contains the id of this build, so no other build has pushed it."""
    image = f"{plan.image}-{env.codebuild_build_id.rpartition(':')[2]}"
    order = docker.Order(image, plan.cache, plan.recipe.platform, context.dockerfile, context.folder, context.text)
    return order._replace(proxies=env.proxies)


def store_secrets(env: Env, plan: BuildPlan, folder: Path) -> dict[str, Path]:
    """Write the secrets that the queue names for its builds into files; return them by name.

    Raises InvalidRunSpec for a secret that RunSecretArns does not list, AwsRefused and AwsThrottled.
    """
    folder.mkdir(mode=0o700)
    secrets, paths = RunSecrets(), {name: folder / name for name in plan.secrets}
    for name, path in paths.items():
        try:
            value = filled(plan.secrets[name], env.run_secret_arns, lambda named: secrets.value(named.arn, named.key))
        except LookupError:
            raise InvalidRunSpec([f"builder.secrets.{name} names a secret that RunSecretArns does not list."]) from None
        path.touch(mode=0o600)
        path.write_text(value)
    return paths


def build_and_push(env: Env, plan: BuildPlan, order: docker.Order) -> tuple[str, ...]:
    """Build and push the image; return the packages that could not be installed.

    Commands of the Dockerfile have no access to the credentials of the build's role.
    """
    docker.keep_from_credentials()
    sign_in(plan, order.text)
    with_buildkit = docker.start_buildkit(pinned(env.buildkit_image), say, proxies=env.proxies)
    return docker.build(order, say, with_buildkit=with_buildkit)


def sign_in(plan: BuildPlan, dockerfile: str) -> None:
    """Sign in to the registries that the build needs. That may fail for Amazon's public one, which needs no sign-in."""
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
    """Return the ECR registries to sign in to: the image's own, and those of its base images in the same region."""
    own = plan.repository.partition("/")[0]
    region = own.split(".")[3]
    return {own, *(found[0] for found in ECR_HOST.finditer(dockerfile) if found["region"] == region)}


def pushed_digest(plan: BuildPlan, image: str) -> str:
    """Return the digest of the pushed image. Raises ImageBuildFailed if SageMaker does not support its format."""
    pushed = ImageRepository(plan.repository).by_tag(image.rpartition(":")[2])
    if pushed is None:
        raise ImageBuildFailed(f"the image {image} was pushed, but the repository does not have it.")
    if pushed.media_type != _MANIFEST:
        raise ImageBuildFailed(
            f"the image was pushed as {pushed.media_type}. SageMaker supports images of {_MANIFEST} only."
        )
    say(f"pushed {plan.repository}@{pushed.digest}")
    return pushed.digest


def warn(wandb: Wandb, plan: BuildPlan, note: ImageNote) -> None:
    """Put the warnings on the queue item. If W&B does not accept them, the image is used all the same."""
    for warning in note.warnings:
        say(f"warning: {warning}")
    try:
        if note.warnings:
            wandb.warn(plan.item, "\n".join(note.warnings), "build")
    except LaunchError as error:
        say(f"the warnings could not be put on the queue item: {error}")


def say(line: str) -> None:
    """Write a line into the build's log."""
    print(safe(line), flush=True)  # noqa: T201 - what a build prints is its log


if __name__ == "__main__":
    sys.exit(main())
