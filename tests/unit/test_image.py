"""The recipe of an image, and the tag that identifies it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch_agent.errors import InvalidRunSpec, UnsupportedJobSource
from launch_agent.image.recipe import (
    DEFAULT_PYTHON,
    ArtifactCode,
    BuildPlan,
    GitCode,
    ImageRecipe,
    QueueBuilder,
    git_code,
    parse_queue_builder,
    plan_build,
    python_version,
)
from launch_agent.run_queue.items import parse_run_spec
from launch_agent.run_queue.job_artifact import parse_job_artifact
from tests.make import REPOSITORY, item_ref

TEXT = st.text(max_size=8)
PLATFORMS = st.sampled_from(["linux/amd64", "linux/arm64"])
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "code": TEXT,
    "job_artifact_id": TEXT,
    "job_digest": TEXT,
    "entry_point": st.lists(TEXT, max_size=3).map(tuple),
    "notebook": st.booleans(),
    "dockerfile": st.none() | TEXT,
    "build_context": st.none() | TEXT,
    "base_image": st.none() | TEXT,
    "accelerator_image": st.none() | TEXT,
    "working_dir": st.none() | TEXT,
    "python_version": TEXT,
    "platform": PLATFORMS,
    "secrets": st.lists(TEXT, max_size=2).map(tuple),
    "builder_version": TEXT,
}
RECIPES = st.builds(ImageRecipe, **FIELDS)
ITEM = item_ref()


def job(**source: Any) -> dict[str, Any]:
    return {"source_type": "artifact", "runtime": "3.11", "source": {"entrypoint": ["python", "train.py"], **source}}


def planned(description: dict[str, Any], builder: QueueBuilder | None = None, **spec: Any) -> BuildPlan:
    artifact = parse_job_artifact("job", description, artifact_id="job", digest="d1")
    return plan_build(
        parse_run_spec({"entity": "team", "project": "p", "job": "team/jobs/job:v1", **spec}),
        artifact,
        ArtifactCode(artifact_id="code", digest="c1")
        if artifact.source_type == "artifact"
        else git_code(artifact, "job", builder or QueueBuilder()),
        ITEM,
        builder=builder or QueueBuilder(),
        platform="linux/amd64",
        to=REPOSITORY,
    )


def git_job(remote: str, commit: str | None) -> dict[str, Any]:
    return {
        "source_type": "repo",
        "source": {"entrypoint": ["python", "train.py"], "git": {"remote": remote, "commit": commit}},
    }


def test_the_strategies_cover_every_field_of_a_recipe() -> None:
    assert set(FIELDS) == set(ImageRecipe.model_fields)


@given(RECIPES, RECIPES)
def test_the_tag_is_the_same_if_and_only_if_the_recipe_is(one: ImageRecipe, other: ImageRecipe) -> None:
    assert (one.tag == other.tag) == (one == other)
    assert len(one.tag) == 64


@given(RECIPES, st.data())
def test_the_tag_changes_if_and_only_if_an_input_does(recipe: ImageRecipe, data: st.DataObject) -> None:
    field = data.draw(st.sampled_from(sorted(FIELDS)))
    other = recipe.model_copy(update={field: data.draw(FIELDS[field])})
    assert (recipe.tag == other.tag) == (getattr(recipe, field) == getattr(other, field))


def test_the_same_code_has_the_same_tag_for_all_users_and_overrides() -> None:
    plain = planned(job())
    overridden = planned(job(), overrides={"entry_point": ["python", "other.py"], "args": ["--fast"]}, author="me")
    assert plain.image == overridden.image == f"{REPOSITORY}:{plain.recipe.tag}"


def test_versions_of_a_job_share_the_layers_they_keep() -> None:
    assert planned(job(), job="team/jobs/job:v1").cache == planned(job(), job="team/jobs/job:v2").cache
    assert planned(job(), job="team/jobs/job:v1").cache != planned(job(), job="team/jobs/other:v1").cache


def test_a_branch_is_another_image_for_each_item_and_a_commit_is_the_same() -> None:
    https = "https://git.example.com/repo.git"
    assert planned(git_job(https, "ab" * 20)).recipe.code == f"git {https} {'ab' * 20}"
    assert "as of item" in planned(git_job(https, "main")).recipe.code
    assert "as of item" in planned(git_job(https, None)).recipe.code


@pytest.mark.parametrize(
    "remote",
    [
        "https://github.com/team/repo.git",
        "https://git.example.com:8443/repo",
        "ssh://git@git.example.com/repo.git",
        "ssh://git.example.com:2222/repo.git",
        "git@github.com:team/repo.git",
        "git@git.example.com:/srv/git/repo.git",
        "ssh://git@git.example.com/srv/git/repo.git",
        "deploy+1@git.example.com:~/my repo.git",
    ],
)
def test_a_remote_over_https_or_ssh_is_fetched(remote: str) -> None:
    code = planned(git_job(remote, "ab" * 20)).code
    assert isinstance(code, GitCode)
    assert code.remote == remote


@pytest.mark.parametrize(
    ("remote", "fetched"),
    [
        ("https://x-access-token:@git.example.com/team/repo.git", "https://git.example.com/team/repo.git"),
        ("https://org@dev.azure.com/org/project/_git/repo", "https://dev.azure.com/org/project/_git/repo"),
        ("https://oauth2:@git.example.com:8443/repo.git", "https://git.example.com:8443/repo.git"),
        ("HTTPS://git.example.com/repo.git ", "https://git.example.com/repo.git"),
        ("ssh://git:@git.example.com/repo.git", "ssh://git@git.example.com/repo.git"),
    ],
)
def test_a_remote_as_wandb_and_hosts_write_it_is_fetched_with_the_credentials_of_the_host(
    remote: str, fetched: str
) -> None:
    code = planned(git_job(remote, "ab" * 20)).code
    assert isinstance(code, GitCode)
    assert code.remote == fetched


@pytest.mark.parametrize(
    "remote",
    [
        "file:///etc",
        "/etc/repo",
        "http://github.com/team/repo.git",
        "git://github.com/team/repo.git",
        "ext::sh -c whoami",
        "--upload-pack=whoami",
        "-oProxyCommand=whoami@host:path",
        "ssh://-oProxyCommand=whoami/repo",
        "https://user:secret@github.com/team/repo.git",
        "https://user:se@cret@github.com/team/repo.git",
        "ssh://git:secret@github.com/team/repo.git",
        "https://-oProxyCommand=whoami/repo",
        "git@-oProxyCommand=whoami:path",
        "git@github.com:-oProxyCommand=whoami",
        "https://github.com",
        "https://github.com/team/repo.git\n--evil",
        "",
    ],
)
def test_another_remote_is_refused_and_not_repeated(remote: str) -> None:
    with pytest.raises(UnsupportedJobSource, match="https://host/path") as raised:
        planned(git_job(remote, "ab" * 20))
    assert "secret" not in str(raised.value).replace("the secret named by", "")


@pytest.mark.parametrize("path", ["../../etc", "/etc/passwd", "a/../../b", "x\nRUN y"])
@pytest.mark.parametrize("key", ["dockerfile", "build_context"])
def test_a_path_that_leads_out_of_the_code_is_refused(key: str, path: str) -> None:
    with pytest.raises(UnsupportedJobSource, match="not a path within the job's code"):
        planned(job(**{key: path}))


@pytest.mark.parametrize(
    ("stated", "version"),
    [
        (("3.11",), "3.11"),
        (("CPython 3.11.7",), "3.11"),
        (("", "3.10.2"), "3.10"),
        ((None, None), DEFAULT_PYTHON),
        (("3",), DEFAULT_PYTHON),
    ],
)
def test_python_is_what_the_job_says_then_the_run_spec(stated: tuple[str | None, ...], version: str) -> None:
    assert python_version(*stated) == version


@pytest.mark.parametrize(
    ("entry_point", "meant"),
    [
        (["pythonCPython 3.11", "train.py"], ("python3.11", "train.py")),
        (["pythonCPython 3.11.7", "train.py"], ("python3.11", "train.py")),
        (["python3.11", "train.py"], ("python3.11", "train.py")),
    ],
)
def test_an_entry_point_that_a_client_misspelt_is_read_as_it_was_meant(
    entry_point: list[str], meant: tuple[str, ...]
) -> None:
    assert planned(job(entrypoint=entry_point)).recipe.entry_point == meant


def test_a_notebook_is_started_as_the_script_that_becomes_of_it() -> None:
    plan = planned(job(entrypoint=["python", "nb/train.ipynb"], notebook=True))
    assert plan.recipe.entry_point == ("python", "nb/train.py")


def test_a_job_without_entry_point_is_refused() -> None:
    with pytest.raises(UnsupportedJobSource, match="no entry point"):
        planned(job(entrypoint=None))


@pytest.mark.parametrize(
    ("block", "base", "accelerator"),
    [
        (None, None, None),
        ({"accelerator": {"base_image": "nvidia/cuda:12.8.1-base"}}, None, "nvidia/cuda:12.8.1-base"),
        ({"cuda": {"base_image": "nvidia/cuda:11"}}, None, "nvidia/cuda:11"),
        ({"accelerator": {"base_image": "a:1"}, "cuda": {"base_image": "c:1"}}, None, "a:1"),
        ({"base_image": "b:1", "accelerator": {"base_image": "a:1"}}, "b:1", None),
        ({"accelerator": None}, None, None),
    ],
)
def test_the_builder_block_of_the_queue_names_base_images(
    block: object, base: str | None, accelerator: str | None
) -> None:
    recipe = planned(job(), parse_queue_builder(block)).recipe
    assert (recipe.base_image, recipe.accelerator_image) == (base, accelerator)


def test_the_jobs_base_image_wins_over_the_queues() -> None:
    recipe = planned(job(base_image="mine:1"), parse_queue_builder({"base_image": "queue:1"})).recipe
    assert recipe.base_image == "mine:1"


@pytest.mark.parametrize("image", ["a b", "a#b", "a:1\nRUN whoami", "a@sha256:12", "-rm", ""])
def test_what_is_no_image_reference_is_no_base_image(image: str) -> None:
    with pytest.raises(InvalidRunSpec, match=r"builder\.accelerator\.base_image"):
        parse_queue_builder({"accelerator": {"base_image": image}})
    if image:
        with pytest.raises(UnsupportedJobSource, match="not a valid image reference"):
            planned(job(base_image=image))


def test_the_platform_is_the_queues_then_the_launch_configs() -> None:
    assert planned(job()).recipe.platform == "linux/amd64"
    assert planned(job(), parse_queue_builder({"platform": "linux/arm64"})).recipe.platform == "linux/arm64"
    with pytest.raises(InvalidRunSpec, match=r"builder\.platform"):
        parse_queue_builder({"platform": "windows"})
