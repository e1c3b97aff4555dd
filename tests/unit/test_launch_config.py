"""launch-config.yaml: the reference's file works unchanged, and faults have clear messages."""

import sys
from pathlib import Path

import pytest

from launch_agent.errors import InvalidLaunchConfig
from launch_agent.run_queue.items import Slot
from launch_agent.run_queue.launch_config import main, parse_launch_config

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


def test_a_registry_of_another_partition_is_accepted_and_explained_too() -> None:
    address = "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/launch"
    config = parse_launch_config(f"queues: [sm]\nbuilder: {{destination: {address}}}")
    assert config.image_destination == address
    assert f"Write {address}" in faults(GUIDE.format(uri="arn:aws-cn:ecr:cn-north-1:123456789012:repository/launch"))


@pytest.mark.parametrize("slashes", ["/", "//"])
def test_a_slash_at_the_end_of_a_destination_is_left_out(slashes: str) -> None:
    address = "123456789012.dkr.ecr.us-east-1.amazonaws.com/team/launch"
    config = parse_launch_config(f"queues: [sm]\nbuilder: {{type: docker, destination: {address}{slashes}}}")
    assert config.image_destination == address


@pytest.mark.parametrize("name", ["Launch", "a//b", "-a", "a-/b", "a b", "x" * 257, "a"])
def test_a_name_that_no_ecr_repository_can_have_is_refused(name: str) -> None:
    uri = f"123456789012.dkr.ecr.us-east-1.amazonaws.com/{name}"
    assert "the name of an ECR repository" in faults(f"queues: [sm]\nregistry: {{uri: '{uri}'}}")


def test_every_fault_is_reported_at_once_with_key_value_and_example() -> None:
    text = faults("queues: sm\nmax_jobs: -2\nbuilder: {type: podman}\nenvironment: {type: gcp}\nmax_job: 3")
    for words in ('queues is "sm"', "max_jobs is -2", 'builder.type is "podman"', 'environment.type is "gcp"'):
        assert words in text
    assert "environment.region is missing. For example environment: {type: aws, region: us-east-1}." in text
    assert "max_job is not a known key." in text


@pytest.mark.parametrize("text", ["", "[]", "queues: []", "entity: team", "a: b: c"])
def test_a_file_without_queues_or_that_is_no_yaml_is_refused(text: str) -> None:
    assert "launch-config.yaml" in faults(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("queues: 5\nqueue: other", "queues is 5: expected a list. For example queues: [sagemaker]."),
        ("queues: sagemaker\nqueue: other", 'queues is "sagemaker": expected a list.'),
        ("queue: 5", "queues.0 is 5: expected a string."),
        ("queues: {a: b}", "queues is an object: expected a list."),
        ("queues: [[a]]", "queues.0 is a list: expected a string."),
        ("queues: [a]\nregistry: ecr", 'registry is "ecr": expected an object.'),
        ("queues: [a]\nbuilder: [docker]", "builder is a list: expected an object."),
        ("queues: [a]\nmax_jobs: .inf", "max_jobs is inf: "),
        ("queues: [a]\nmax_jobs_per_queue: {b: 1}", "the queue b is not in queues"),
        ("queues: [a]\nmax_jobs_per_queue: {a: -1}", "max_jobs_per_queue.a is -1"),
        ("queues: [a]\nmax_jobs_per_queue: 3", "For example max_jobs_per_queue: {gpu: 2}"),
        ("queues: [a]\nmax_jobs_per_instance_type: {ml.p4d.24xlarge: 0}", "max_jobs_per_instance_type"),
        (f"queues: [a]\nmax_jobs: {'9' * 5000}", "has a value that is not valid"),
        ("2024-01-01: a", "datetime.date(2024, 1, 1) is a key that is not text."),
        ("1: a", "1 is a key that is not text."),
        ("queues: 2024-13-45", "has a value that is not valid: month must be in 1..12."),
        ("queues: !!set {a}", "queues is of the type set"),
        ("queues: !!bool x", "has a value that is not valid"),
        ("queues: !!timestamp x", "has a value that is not valid"),
        ("queues: !!python/object/apply:os.getcwd []", "is not YAML"),
        ("queues: [a]\n---\nqueues: [b]", "is not YAML: but found another document, line 2, column 1."),
        ("? [a]\n: b", "is not YAML: found unhashable key"),
        ("\tqueues: [a]", "is not YAML"),
        ("queues: [a\0]", "is not text in UTF-8"),
        ("queues: &a [*a]", "levels deep"),
        ("[" * 90_000, "has more than 20 levels"),
        ("- " * 40_000, "has more than 20 levels"),
        ("a: &a [x]\n" + "b: [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a, *a]\n" * 2, "20 aliases"),
        ("#" * 100_001, "has more than 100,000 characters"),
        ("".join(f"k{n}: 1\n" for n in range(5_000)), "1,000 values"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_whatever_is_in_the_file_is_answered_in_words(text: str, said: str) -> None:
    assert said in faults(text)


def test_a_file_may_have_twenty_aliases() -> None:
    text = "queues: &a [sm]\nx: [" + "*a, " * 20 + "]"
    assert "aliases" not in faults(text)
    assert "20 aliases" in faults(text.replace("]", "*a]"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_file_with_a_byte_order_mark_is_read(encoding: str) -> None:
    assert parse_launch_config("queues: [größe]".encode(encoding)).queues == ["größe"]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32", "latin-1"])
def test_a_file_in_another_encoding_is_said_to_be_no_utf_8_in_one_line(encoding: str) -> None:
    with pytest.raises(InvalidLaunchConfig, match=r"launch-config.yaml is not text in UTF-8: .*\.") as raised:
        parse_launch_config("queues: [größe]".encode(encoding))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("values", ["agent: {image: x}\nlaunchConfig: |\n  queues: [a]", "launchConfig: {queues: [a]}"])
def test_the_values_of_a_helm_chart_are_recognized(values: str) -> None:
    assert "Save the part under launchConfig as launch-config.yaml." in faults(values)


@pytest.mark.parametrize("block", ["{type: ecr, repository: r}", "{region: us-east-1}"])
def test_keys_of_the_registry_that_are_not_read_are_warned_of(block: str) -> None:
    (warning,) = parse_launch_config(f"queues: [a]\nregistry: {block}").warnings()
    assert warning.endswith("has no effect: registry.uri or builder.destination names the repository.")


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


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        (b"queues: [a]", 0, ""),
        (b"queues: [a]\nregistry: {repository: r}", 0, "registry.repository has no effect"),
        ("queues: [a]".encode("utf-16-le"), 1, "launch-config.yaml is not text in UTF-8"),
        (b"queues: 5", 1, "launch-config.yaml has faults"),
    ],
)
def test_the_check_before_a_deployment_shows_faults_and_warnings(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    content: bytes,
    code: int,
    said: str,
) -> None:
    (tmp_path / "mine.yaml").write_bytes(content)
    monkeypatch.setattr(sys, "argv", ["launch_config", str(tmp_path / "mine.yaml")])
    assert main() == code
    assert capsys.readouterr().err.startswith(said)
