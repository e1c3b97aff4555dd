"""Build the image that a build plan orders: fetch the code, choose the Dockerfile, build, push, note what was done.

Run by the buildspec of the stack's CodeBuild project, with that project's role. Exits with 1 and one line that begins
with `launch-agent: error:` when there is no image in the end.
"""

import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

from launch_agent.builder import code, docker
from launch_agent.builder.code_folder import CodeFolder
from launch_agent.builder.git import Credentials, parse_credentials
from launch_agent.clients.artifacts import Artifacts
from launch_agent.clients.build_bucket import BuildBucket
from launch_agent.clients.graphql import GraphqlClient
from launch_agent.clients.image_repository import ImageRepository, registry_password
from launch_agent.clients.secrets import WandbApiKey, json_secret
from launch_agent.clients.wandb import Wandb
from launch_agent.errors import ImageBuildFailed, LaunchError, Transient
from launch_agent.image.build_failure import BUILDER_ERROR
from launch_agent.image.dockerfile import (
    DockerfileChoice,
    choose_dockerfile,
    entry_point_in,
    find_requirements,
    generate_dockerfile,
    wandb_warning,
)
from launch_agent.image.recipe import BuildPlan, ImageNote
from launch_agent.settings import Settings

_ECR_HOST = re.compile(r"\b\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com(?:\.cn)?")
_WAITS = (10, 60, 300, 600)


class Env(Settings):
    """The environment of a build: the project's own variables, and those of this build."""

    build_bucket: str
    build_plan_key: str
    git_credentials_secret: str = ""
    image_repository: str
    wandb_api_key_secret: str
    wandb_base_url: str


def main() -> int:
    """Build; return the exit code."""
    env = Env.from_environment()
    try:
        build_image(env, BuildBucket(env.build_bucket))
    except LaunchError as error:
        say(f"{BUILDER_ERROR} {type(error).__name__}: {error}")
        return 1
    return 0


def build_image(env: Env, bucket: BuildBucket) -> None:
    """Build the image that is ordered. Raises LaunchError."""
    plan = bucket.plan(env.build_plan_key)
    graphql = GraphqlClient(env.wandb_base_url, WandbApiKey(env.wandb_api_key_secret))
    with tempfile.TemporaryDirectory() as name:
        source, warnings = fetched(plan, Path(name, "source"), Artifacts(graphql), git_credentials(env))
        choice, dockerfile, more = dockerfile_for(plan, source, Path(name))
        say(f"Dockerfile {choice.why}")
        entry_point = entry_point_in(choice, plan.recipe.entry_point)
        note = ImageNote(dockerfile=choice.why, entry_point=entry_point, warnings=(*warnings, *more))
        # Before the image is there: whoever finds the image finds the note.
        bucket.store_note(plan.recipe.tag, note)
        for registry in registries(plan, dockerfile_text(choice, source, dockerfile)):
            docker.sign_in(registry, registry_password(registry))
        docker.create_builder(say)
        missing = built(env, plan, dockerfile, source.folder(choice.context))
    if missing:
        words = f"These of the packages that the job was made with could not be installed: {', '.join(missing)}."
        note = note.model_copy(update={"warnings": (*warnings, words)})
        bucket.store_note(plan.recipe.tag, note)
    warn(Wandb(graphql), plan, note)


def git_credentials(env: Env) -> Credentials:
    """Read the credentials for private git repositories, where the stack has any."""
    return parse_credentials(json_secret(env.git_credentials_secret)) if env.git_credentials_secret else {}


def fetched(
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


def dockerfile_for(plan: BuildPlan, source: CodeFolder, folder: Path) -> tuple[DockerfileChoice, Path, tuple[str, ...]]:
    """Choose the Dockerfile, write it where it is generated, and say what to warn of."""
    files = source.files()
    choice = choose_dockerfile(plan.recipe, files)
    source.folder(choice.context)
    if choice.path:
        return choice, source.file(choice.path), ()
    texts = code.texts_in(source, files)
    requirements = None if plan.recipe.base_image else find_requirements(texts)
    path = folder / "Dockerfile"
    path.write_text(generate_dockerfile(plan.recipe, requirements))
    say(path.read_text())
    return choice, path, () if plan.recipe.base_image else tuple(wandb_warning(requirements, texts))


def dockerfile_text(choice: DockerfileChoice, source: CodeFolder, dockerfile: Path) -> str:
    """Return what the chosen Dockerfile says, whether it is the code's or was generated."""
    return source.read_text(choice.path) if choice.path else dockerfile.read_text()


def registries(plan: BuildPlan, dockerfile: str) -> set[str]:
    """Name the ECR registries to sign in to: the image's own, and those of its base images."""
    return {plan.repository.partition("/")[0], *(found[0] for found in _ECR_HOST.finditer(dockerfile))}


def built(env: Env, plan: BuildPlan, dockerfile: Path, context: Path) -> tuple[str, ...]:
    """Build and push; return the packages that could not be installed."""
    try:
        image = docker.build(plan, dockerfile, context, say)
    except ImageBuildFailed:
        # Tags do not move: where another build was faster, its image is the one.
        address = ImageRepository(env.image_repository).find(plan.recipe.tag)
        if address is None:
            raise
        say(f"{address} was there already")
        return ()
    say(f"pushed {plan.repository}@{image.digest}")
    return image.not_installed


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
    print(line, flush=True)  # noqa: T201 - what a build prints is its log


if __name__ == "__main__":
    sys.exit(main())
