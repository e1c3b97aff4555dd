"""launch-config.yaml: the reference's file as it is, and words for what is wrong in it."""

import pytest

from launch_agent.errors import InvalidLaunchConfig
from launch_agent.run_queue.items import Slot
from launch_agent.run_queue.launch_config import parse_launch_config

GUIDE = """
max_jobs: -1
queues:
  - my-queue
environment:
  type: aws
  region: us-east-1
registry:
  type: ecr
  uri: {uri}
builder:
  type: docker
"""


def faults(text: str) -> str:
    with pytest.raises(InvalidLaunchConfig) as raised:
        parse_launch_config(text)
    return str(raised.value)


def test_the_defaults_are_the_references() -> None:
    config = parse_launch_config("queues: [sm]")
    assert (config.max_jobs, config.max_schedulers, config.stopped_run_timeout) == (1, 1, 60)
    assert (config.secure_mode, config.verbosity, config.entity) == (False, 0, None)


def test_each_kind_of_slot_has_its_limit() -> None:
    config = parse_launch_config("queues: [sm]\nmax_jobs: 3\nmax_schedulers: -1")
    assert [config.limit(slot) for slot in (Slot.JOB, Slot.SCHEDULER)] == [3, -1]


def test_the_guides_file_is_taken_once_its_registry_is_an_address() -> None:
    config = parse_launch_config(GUIDE.format(uri="https://123456789012.dkr.ecr.us-east-1.amazonaws.com/launch"))
    assert config.max_jobs == -1
    assert config.registry
    assert config.registry.uri == "123456789012.dkr.ecr.us-east-1.amazonaws.com/launch"


def test_a_registry_given_by_arn_is_explained_with_the_address_to_write() -> None:
    text = faults(GUIDE.format(uri="arn:aws:ecr:us-east-1:123456789012:repository/launch"))
    assert "registry.uri" in text
    assert "Write 123456789012.dkr.ecr.us-east-1.amazonaws.com/launch" in text


@pytest.mark.parametrize(
    ("uri", "advice"),
    [
        ("123456789012.ecr.us-east-1.amazonaws.com/launch", ".dkr.ecr."),
        ("123456789012.dkr.ecr.us-east-1.amazonaws.com/launch:v1", "Leave :v1 out"),
        ("123456789012.dkr.ecr.us-east-1.amazonaws.com", "name of the repository is missing"),
        ("<ecr-repo-arn>", "Amazon ECR only"),
        ("docker.io/library/launch", "Amazon ECR only"),
    ],
)
def test_other_wrong_registries_are_explained_too(uri: str, advice: str) -> None:
    assert advice in faults(f"queues: [sm]\nbuilder: {{destination: '{uri}'}}")


def test_every_fault_is_reported_at_once_with_key_value_and_example() -> None:
    text = faults("queues: sm\nmax_jobs: -2\nbuilder: {type: podman}\nenvironment: {type: gcp}\nmax_job: 3")
    for words in ('queues is "sm"', "max_jobs is -2", 'builder.type is "podman"', 'environment.type is "gcp"'):
        assert words in text
    assert "environment.region is missing. For example environment: {type: aws, region: us-east-1}." in text
    assert "max_job is not a known key." in text


@pytest.mark.parametrize("text", ["", "[]", "queues: []", "entity: team", "a: b: c"])
def test_a_file_without_queues_or_that_is_no_yaml_is_refused(text: str) -> None:
    assert "launch-config.yaml" in faults(text)


def test_queue_in_the_singular_is_one_more_queue() -> None:
    assert parse_launch_config("queue: a\nqueues: [b]").queues == ["b", "a"]


def test_empty_blocks_and_nulls_are_absent_keys() -> None:
    config = parse_launch_config("queues: [a]\nregistry: {}\nbuilder:\nmax_jobs:")
    assert (config.registry, config.builder, config.max_jobs) == (None, None, 1)


def test_keys_without_a_meaning_here_are_taken_with_a_warning_that_says_why() -> None:
    config = parse_launch_config(
        "queues: [a]\nenvironment: {type: aws, region: us-east-1, profile: x}\n"
        "builder: {type: kaniko, build-context-store: 's3://bucket/contexts', build-job-name: b, secret-name: s,"
        " secret-key: k, kaniko-image: i}"
    )
    warnings = " ".join(config.warnings())
    for key in (
        "build-context-store",
        "build-job-name",
        "secret-name",
        "secret-key",
        "kaniko-image",
        "environment.profile",
    ):
        assert key in warnings


def test_the_fingerprint_changes_with_the_configuration_and_not_with_its_spelling() -> None:
    plain = parse_launch_config("queues: [a]").fingerprint
    assert parse_launch_config("max_jobs: 1\nqueues:\n- a").fingerprint == plain
    assert parse_launch_config("queues: [a]\nmax_jobs: 2").fingerprint != plain
