"""A stack's file: it is written once, edited by hand, and refused if it cannot be deployed."""

from pathlib import Path

import pytest

from operate import stack_file
from operate.errors import CannotOperate
from operate.stack_file import StackFile
from operate.template import parameters
from tests.documents import template

KNOWN = parameters()
ANSWERS = {"WandbBaseUrl": "https://wandb.example.com", "AlarmEmail": "ops@example.com"}
WHERE = {"account": "012345678901", "region": "eu-west-1", "launch_config": "layers/config/launch-config.yaml"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "stacks/team-b.yaml"


def test_what_is_written_is_read_back(path: Path) -> None:
    stack_file.write(path, StackFile(**WHERE, parameters=ANSWERS), KNOWN)
    assert stack_file.read(path, KNOWN) == StackFile(**WHERE, parameters=ANSWERS)


def test_the_file_shows_every_parameter_and_what_it_means(path: Path) -> None:
    stack_file.write(path, StackFile(**WHERE, parameters=ANSWERS), KNOWN)
    text = path.read_text()
    words = " ".join(line.lstrip("# ") for line in text.splitlines())
    for name, parameter in template()["Parameters"].items():
        assert f"{name}:" in text
        assert " ".join(parameter["Description"].split()) in words
    assert "\n  AlarmEmail: ops@example.com\n" in text
    assert "\n  # PollIntervalSeconds: '15'\n" in text


def test_every_default_can_be_deployed_as_the_file_shows_it(path: Path) -> None:
    stack_file.write(path, StackFile(**WHERE, parameters={}), KNOWN)
    without = [name for name, each in KNOWN.items() if each.default is None]
    text = path.read_text().replace("\n  # ", "\n  ")
    lines = [line for line in text.splitlines() if not line.startswith("  ") or line.split(":")[0].strip() in KNOWN]
    path.write_text("\n".join(line for line in lines if line.split(":")[0].strip() not in without))
    content = stack_file.read(path, KNOWN)
    assert content
    assert content.parameters == {name: each.default for name, each in KNOWN.items() if each.default is not None}


def test_an_empty_value_is_kept_where_the_default_is_another(path: Path) -> None:
    stack_file.write(path, StackFile(**WHERE, parameters={"BaseImageAccounts": ""}), KNOWN)
    content = stack_file.read(path, KNOWN)
    assert content
    assert content.parameters == {"BaseImageAccounts": ""}


def test_there_may_be_no_file(path: Path) -> None:
    assert stack_file.read(path, KNOWN) is None


def test_numbers_and_truth_values_are_what_people_write(path: Path) -> None:
    path.parent.mkdir()
    values = "CapacityWaitHours: 48, BuildImages: false, BaseImageAccounts: ['763104351884']"
    more = f"{{{values}, AlarmEmail: , WandbApiKeySecretArn: }}"
    path.write_text(f"account: '1'\nregion: r\nlaunch_config: c\nparameters: {more}\n")
    content = stack_file.read(path, KNOWN)
    assert content
    expected = {
        "CapacityWaitHours": "48",
        "BuildImages": "false",
        "BaseImageAccounts": "763104351884",
        "AlarmEmail": "",
        "WandbApiKeySecretArn": "",
    }
    assert content.parameters == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("region: [", "stacks/team-b.yaml is not YAML"),
        ("- a list", "stacks/team-b.yaml: "),
        ("{account: '1', region: r}", "launch_config is missing."),
        ("{account: '1', region: r, launch_config: c, stack: s}", "stack is not a known key."),
        ("{Tracng: Active}", "Tracng is not a parameter of the template. docs/configuration.md lists them."),
        ("{TrainingRoleArn: x}", "TrainingRoleArn is now called TrainingRoleArns. Rename it."),
        ("{AlarmEmail: me}", 'AlarmEmail cannot be "me". Enter an e-mail address, or leave it empty.'),
        ("{Tracing: On}", 'Tracing cannot be "true". Enter one of PassThrough, Active.'),
        ("{PollIntervalSeconds: 7}", 'PollIntervalSeconds cannot be "7". Enter one of 60, 30, 20, 15, 10, 5.'),
        ("{CapacityWaitHours: 200}", 'CapacityWaitHours cannot be "200". Enter a number from 0 to 168.'),
        ("{LogRetentionDays: 2}", 'LogRetentionDays cannot be "2". Enter one of 1, 3, 5, 7, 14, 30, 60, 90, 180, 365.'),
    ],
)
def test_what_cannot_be_deployed_is_said_so(path: Path, text: str, words: str) -> None:
    path.parent.mkdir()
    is_whole = "account" in text or not text.startswith("{")
    path.write_text(text if is_whole else f"account: '1'\nregion: r\nlaunch_config: c\nparameters: {text}\n")
    with pytest.raises(CannotOperate) as refused:
        stack_file.read(path, KNOWN)
    assert words in str(refused.value)
