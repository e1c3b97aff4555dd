"""How a container gets its API key and its variables: by a channel, and through sh where its command is known."""

import json
import netrc
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launch_agent.plan.agent import Agent
from launch_agent.plan.delivery import Start, start_of
from launch_agent.plan.launch_plan import LaunchPlan
from launch_agent.plan.secret_references import filled
from launch_agent.run_queue.launch_config import parse_launch_config
from launch_agent.training.container import START, environment_file, without_start
from launch_agent.training.container import netrc as netrc_file
from tests.unit.test_plan_rules import AGENT, AS_IT_IS, TEAM, environment, faults, plan

FOLDER, KEY = "s3://credentials/0123/", "key-of-a-container"
AMAZONS = "811284229777.dkr.ecr.us-east-1.amazonaws.com/blazingtext:1"
UNKNOWN = AGENT._replace(entry_point_of=lambda _: None)
SHOWS = "import json, os; print(json.dumps(dict(os.environ)))"
NAMES = st.from_regex(r"[A-Z]_[a-zA-Z0-9_]{0,8}", fullmatch=True)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=200)


def start(planned: LaunchPlan, **different: Any) -> Start:
    given: dict[str, Any] = {"folder": FOLDER, "api_key": KEY, "again": False, **different}
    return start_of(planned.training_request, planned.delivery, **given)


def environment_of(text: str, folder: Path, *command: str) -> dict[str, str]:
    """Start a command as a container does, with a file as its environment; return its variables."""
    (folder / "environment").write_text(text, newline="")
    script = START[2].replace("/opt/ml/input/data/launch_agent", str(folder))
    words = [*START[:2], script, *START[3:], *command]
    shown = subprocess.run(words, capture_output=True, check=True, env={"GIVEN": "by SageMaker"})
    return dict(json.loads(shown.stdout))


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(NAMES, TEXTS, max_size=5))
def test_a_command_gets_every_variable_of_the_file_as_it_is(
    tmp_path_factory: pytest.TempPathFactory, variables: dict[str, str]
) -> None:
    folder = tmp_path_factory.mktemp("channel")
    found = environment_of(environment_file(variables), folder, sys.executable, "-X", "utf8", "-c", SHOWS)
    assert {name: found[name] for name in variables} == variables
    assert found["GIVEN"] == "by SageMaker"


def test_a_command_gets_its_arguments_as_they_are(tmp_path: Path) -> None:
    shows = "import json, sys; print(json.dumps(dict(enumerate(sys.argv[1:]))))"
    arguments = ["a b", "", "$HOME", "'", "*", "-x"]
    found = environment_of("", tmp_path, sys.executable, "-c", shows, *arguments)
    assert list(found.values()) == arguments


@pytest.mark.parametrize("key", ["a" * 40, "local-0123", 'with "quotes" and \\', "#1"])
@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("https://api.wandb.ai", ["api.wandb.ai"]),
        ("http://wandb.example.com:8080/", ["wandb.example.com:8080", "wandb.example.com"]),
        ("https://user@wandb.example.com/path", ["wandb.example.com"]),
    ],
)
def test_a_netrc_file_has_the_key_for_the_host_with_and_without_port(
    tmp_path: Path, url: str, hosts: list[str], key: str
) -> None:
    (tmp_path / "netrc").write_text(netrc_file(url, key))
    read = netrc.netrc(str(tmp_path / "netrc"))
    assert (
        {host: read.hosts[host][2] for host in hosts}
        == dict.fromkeys(hosts, key)
        == {host: entry[2] for host, entry in read.hosts.items()}
    )


def test_the_request_has_the_channel_and_not_the_key() -> None:
    started = start(plan())
    (channel,) = started.request["InputDataConfig"]
    assert (channel["ChannelName"], channel["InputMode"]) == ("launch_agent", "File")
    assert channel["DataSource"]["S3DataSource"]["S3Uri"] == FOLDER
    assert started.request["Environment"]["NETRC"] == "/opt/ml/input/data/launch_agent/netrc"
    assert KEY not in json.dumps(started.request)
    assert started.files["environment"] == f"WANDB_API_KEY={KEY}\n"


@pytest.mark.parametrize(
    ("own", "of_image", "command", "arguments"),
    [
        ({}, ("/entry.sh", "-v"), ["/entry.sh", "-v"], ["train"]),
        ({}, (), [], ["train"]),
        ({"ContainerArguments": ["--lr", "1"]}, ("/entry.sh",), ["/entry.sh"], ["--lr", "1"]),
        ({"ContainerEntrypoint": ["python", "t.py"]}, ("/entry.sh",), ["python", "t.py"], None),
        ({"ContainerEntrypoint": ["python"], "ContainerArguments": ["t.py"]}, (), ["python"], ["t.py"]),
    ],
)
def test_the_command_that_starts_through_sh_is_the_one_that_would_start(
    own: dict[str, Any], of_image: tuple[str, ...], command: list[str], arguments: list[str] | None
) -> None:
    block = {"AlgorithmSpecification": {"TrainingImage": f"{TEAM}/train:1", "TrainingInputMode": "File", **own}}
    algorithm = start(plan(block, AGENT._replace(entry_point_of=lambda _: of_image))).request["AlgorithmSpecification"]
    assert algorithm["ContainerEntrypoint"] == [*START, *command]
    assert list(without_start(algorithm["ContainerEntrypoint"])) == command
    assert algorithm.get("ContainerArguments") == arguments
    assert all(len(word) <= 256 for word in START)


@pytest.mark.parametrize(
    "of_image",
    [None, ("x" * 257,), ("sh", "-c", "cd /code\npython train.py"), ("sh", "-c", "a\rb"), ("x",) * 97],
    ids=["unknown", "a long word", "two lines", "a carriage return", "many words"],
)
def test_a_container_whose_command_is_not_known_starts_as_it_is_and_the_item_says_so(
    of_image: tuple[str, ...] | None,
) -> None:
    planned = plan({}, AGENT._replace(entry_point_of=lambda _: of_image))
    started = start(planned)
    assert set(started.files) == {"netrc"}
    assert "ContainerEntrypoint" not in started.request["AlgorithmSpecification"]
    (warning,) = planned.warnings
    assert warning.startswith("The launch agent does not know the command of this image")


def test_a_queue_can_switch_the_start_through_sh_off() -> None:
    planned = plan(AS_IT_IS)
    assert (set(start(planned).files), planned.warnings) == ({"netrc"}, ())


def test_what_does_not_fit_travels_in_the_file() -> None:
    many = {f"V{number}": str(number) for number in range(101)}
    planned = plan(environment(**many, LONG="x" * 513), overrides={"run_config": {"a": "y" * 60_000}})
    started = start(planned, again=True)
    shown = started.request["Environment"]
    assert len(shown) == 100
    assert {"WANDB_RUN_ID", "WANDB_ENTITY", "NETRC"} <= set(shown)
    lines = dict(line.partition("=")[::2] for line in started.files["environment"].splitlines())
    everything = {**planned.training_request["Environment"], "WANDB_RESUME": "allow"}
    assert {*shown, *lines} == {*everything, "NETRC", "WANDB_API_KEY"}
    assert not set(shown) & set(lines)
    assert all(len(value) <= 512 for value in shown.values())


def test_what_does_not_fit_is_refused_where_the_container_starts_as_it_is() -> None:
    assert "docs/configuration.md" in faults({}, UNKNOWN, overrides={"artifacts": {"a": "x" * 600}})


@pytest.mark.parametrize(("size", "fits"), [(130_000, True), (131_072, False)])
def test_a_variable_that_linux_does_not_take_is_refused(size: int, fits: bool) -> None:
    block = environment(LONG="x" * size)
    assert plan(block) if fits else "the variable LONG has 131,077 bytes" in faults(block)


def test_more_than_a_process_can_start_with_is_refused() -> None:
    assert "can start with 1,500,000" in faults(overrides={"run_config": {"a": "x" * 1_500_000}})


def test_a_container_without_a_key_gets_a_channel_only_for_what_does_not_fit() -> None:
    never = {"launch_agent": {"calls_wandb_init": False}}
    assert plan(never).delivery is None
    started = start(plan(never | environment(LONG="x" * 513)), api_key=None)
    assert set(started.files) == {"environment"}
    assert "NETRC" not in started.request["Environment"]


def config(**keys: Any) -> Agent:
    return AGENT._replace(config=parse_launch_config(json.dumps({"queues": ["sm"], **keys})))


def test_an_operator_can_have_keys_delivered_in_the_environment() -> None:
    planned = plan({}, config(api_key_delivery="environment"))
    started = start(planned)
    assert started.files == {}
    assert started.request["Environment"]["WANDB_API_KEY"] == KEY
    assert "InputDataConfig" not in started.request
    (warning,) = config(api_key_delivery="environment").config.warnings()
    assert "DescribeTrainingJob" in warning


def test_an_algorithm_of_sagemakers_gets_no_channel() -> None:
    block = {"AlgorithmSpecification": {"TrainingImage": AMAZONS, "TrainingInputMode": "File"}}
    assert plan(block).delivery is None
    with_key = plan(block | environment(WANDB_API_KEY=KEY))
    assert with_key.delivery is None
    assert "SageMaker's algorithms take no other input channel" in with_key.warnings[-1]


def test_containers_do_not_get_the_launch_agents_key_if_that_is_not_allowed() -> None:
    agent = config(allow_agent_key=False)
    assert "allow_agent_key in launch-config.yaml is false" in faults({}, agent)
    assert not plan({}, agent, _wandb_api_key=KEY).gets_agents_key
    with_run_key = agent.deployment.model_copy(update={"run_api_key_secret": "arn:aws:secretsmanager:..."})
    assert not plan({}, agent._replace(deployment=with_run_key)).gets_agents_key
    assert plan().gets_agents_key


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([f"c{number}" for number in range(20)], "InputDataConfig has 20 channels"),
        (["launch_agent"], 'InputDataConfig has a channel "launch_agent"'),
    ],
)
def test_the_channel_needs_its_place_and_its_name(names: list[str], words: str) -> None:
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://data/x"}}
    assert words in faults({"InputDataConfig": [{"ChannelName": name, "DataSource": source} for name in names]})


# --- secrets that a queue names
SECRET = "arn:aws:secretsmanager:us-east-1:123456789012:secret:team/db-AbC123"
WITH_SECRETS = AGENT._replace(deployment=AGENT.deployment.model_copy(update={"run_secret_arns": f"{SECRET}2,{SECRET}"}))


def read(text: str) -> str:
    return filled(text, WITH_SECRETS.deployment.run_secret_arns, lambda named: f"<{named.arn} {named.key}>")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${secret:team/db}", f"<{SECRET} >"),
        ("${secret:team/db:password}", f"<{SECRET} password>"),
        (f"${{secret:{SECRET}}}", f"<{SECRET} >"),
        (f"${{secret:{SECRET}:password}}", f"<{SECRET} password>"),
        ("pg://u:${secret:team/db:p}@h/${secret:team/db:d}", f"pg://u:<{SECRET} p>@h/<{SECRET} d>"),
        ("${run_id} $secret", "${run_id} $secret"),
    ],
)
def test_a_reference_names_a_secret_by_name_or_arn_and_a_key_of_its_json(text: str, value: str) -> None:
    assert read(text) == value


@pytest.mark.parametrize("name", ["", "db", "team/db-AbC123", "other", "arn:aws:secretsmanager:us-east-1:1:secret:x"])
def test_a_secret_that_the_stack_does_not_list_is_refused(name: str) -> None:
    text = faults(environment(DB=f"${{secret:{name}:password}}"), WITH_SECRETS)
    assert f"Environment.DB names the secret {name}:password, and the stack's parameter RunSecretArns" in text


def test_secrets_are_variables_of_a_container_that_starts_through_sh_and_files_of_others() -> None:
    block = environment(DB="${secret:team/db}", PLAIN="x")
    for agent, files, variables in (
        (WITH_SECRETS, {"netrc", "environment"}, {}),
        (
            WITH_SECRETS._replace(entry_point_of=lambda _: None),
            {"netrc", "secrets/DB"},
            {"DB_FILE": "/opt/ml/input/data/launch_agent/secrets/DB"},
        ),
    ):
        planned = plan(block, agent)
        assert planned.training_request["Environment"]["DB"] == "${secret:team/db}"
        started = start(planned, fill=lambda _: "hunter2")
        shown = started.request["Environment"]
        assert set(started.files) == files
        assert {name: shown[name] for name in shown if name.startswith("DB")} == variables
        assert "hunter2" not in json.dumps(started.request)
        assert any("hunter2" in text for text in started.files.values())
        assert shown["PLAIN"] == "x"


def test_secrets_need_a_channel() -> None:
    algorithm = {"AlgorithmSpecification": {"TrainingImage": AMAZONS, "TrainingInputMode": "File"}}
    block = environment(DB="${secret:team/db}")
    assert "gets no input channel for it" in faults(algorithm | block, WITH_SECRETS)
    keys = config(api_key_delivery="environment")._replace(deployment=WITH_SECRETS.deployment)
    assert "gets no input channel for it" in faults(block, keys)


def test_a_container_without_a_key_gets_a_channel_for_its_secrets() -> None:
    never = {"launch_agent": {"calls_wandb_init": False}}
    started = start(plan(never | environment(DB="${secret:team/db}"), WITH_SECRETS), api_key=None)
    assert set(started.files) == {"environment"}
