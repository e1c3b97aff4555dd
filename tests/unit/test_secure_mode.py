"""secure_mode: only the job's or the queue's own command and image run, however a run spells another."""

from typing import Any

import pytest

from launch_agent.errors import InvalidRunSpec
from launch_agent.plan.launch_plan import LaunchPlan, plan_launch
from launch_agent.plan.source import Job
from launch_agent.run_queue.items import parse_run_spec
from launch_agent.run_queue.job_artifact import parse_job_artifact
from tests.golden.cases import item_of, load
from tests.make import agent

SECURE = agent("{queues: [sm], secure_mode: true}")
ECR = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
QUEUE: dict[str, Any] = load("stopping-condition-empty", "run_spec.json")["resource_args"]["sagemaker"]
OWN_IMAGE = {"AlgorithmSpecification": {"TrainingInputMode": "File", "TrainingImage": f"{ECR}/approved:1"}}


def plan(pushed: dict[str, Any], queue: dict[str, Any] | None, *, job: bool = True, **spec: Any) -> LaunchPlan:
    """Plan a run of an image job, or of an image, with `pushed` overriding the queue's configuration, as in W&B."""
    block = {**QUEUE, **(queue or {}), **pushed}
    source = {"job": "team/jobs/image:latest"} if job else {"docker": {"docker_image": f"{ECR}/train:1"}}
    raw = {"entity": "team", "project": "train", "resource_args": {"sagemaker": block}, **source, **spec}
    described = {"source_type": "image", "source": {"image": f"{ECR}/job:1", "entrypoint": ["python", "train.py"]}}
    artifact = parse_job_artifact("image", described, artifact_id="job", digest="d")
    own = {**QUEUE, **queue} if queue is not None else None
    return plan_launch(parse_run_spec(raw), Job(artifact) if job else None, item_of(raw), SECURE, own)


@pytest.mark.parametrize(
    "pushed",
    [
        {"AlgorithmSpecification": {"TrainingImage": f"{ECR}/evil:1"}},
        {"algorithm_specification": {"TrainingImage": f"{ECR}/evil:1"}},
        {"AlgorithmSpecification": {"TrainingImage": "${run_name}"}},
        {"AlgorithmSpecification": {"AlgorithmName": "evil"}},
        {"AlgorithmSpecification": {"ContainerEntrypoint": ["sh", "-c", "id"]}},
        {"algorithm_specification": {"ContainerEntrypoint": ["sh"]}},
        {"AlgorithmSpecification": {"ContainerArguments": ["-c", "id"]}},
        {"RemoteDebugConfig": {"EnableRemoteDebug": True}},
        {"remote_debug_config": {"EnableRemoteDebug": True}},
        {"DebugRuleConfigurations": [{"RuleConfigurationName": "a", "RuleEvaluatorImage": f"{ECR}/evil:1"}]},
        {"builder": {"base_image": f"{ECR}/evil:1"}},
        {"Environment": {"LD_PRELOAD": "/opt/ml/input/data/x/evil.so"}},
        {"Environment": {"PYTHONSTARTUP": "/opt/ml/input/data/x/evil.py"}},
        {"Environment": {"SAGEMAKER_PROGRAM": "evil.py"}},
        {"HyperParameters": {"sagemaker_submit_directory": "s3://evil/code.tar.gz"}},
        {"HyperParameters": {"sagemaker_requirements": "evil.txt"}},
        *(
            {"Environment": {name: "x"}}
            for name in (
                *("BASH_ENV", "BROWSER", "GCONV_PATH", "GIT_SSH_COMMAND", "GLIBC_TUNABLES", "JAVA_TOOL_OPTIONS"),
                *("LD_LIBRARY_PATH", "NCCL_NET_PLUGIN", "NODE_OPTIONS", "OPENSSL_CONF", "PATH", "PERL5OPT"),
                *("PIP_INDEX_URL", "PS4", "PYTHONEXECUTABLE", "PYTHONPYCACHEPREFIX", "PYTHONWARNINGS", "SHELLOPTS"),
                *("SAGEMAKER_TRAINING_MODULE", "SM_USER_ENTRY_POINT", "UV_INDEX", "_JAVA_OPTIONS"),
            )
        ),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "queue", [None, {}, OWN_IMAGE], ids=["unknown queue", "queue without an image", "queue's image"]
)
def test_nothing_that_is_pushed_changes_what_runs(pushed: dict[str, Any], queue: dict[str, Any] | None) -> None:
    with pytest.raises(InvalidRunSpec, match="secure mode"):
        plan(pushed, queue, name=f"{ECR}/evil:1")


@pytest.mark.parametrize(
    "name",
    ["PYTHONUNBUFFERED", "PYTHONHASHSEED", "EPOCHS", "MY_PATH", "NCCL_DEBUG", "ENVIRONMENT", "SMOOTHING", "LDA_TOPICS"],
)
def test_a_variable_that_changes_no_program_may_be_pushed(name: str) -> None:
    assert plan({"Environment": {name: "1"}, "HyperParameters": {"epochs": "3"}}, {})


@pytest.mark.parametrize(
    "spec",
    [
        {"overrides": {"entry_point": ["sh", "-c", "id"]}},
        {"overrides": {"entry_point": ["python", "other.py"]}},
        {"docker": {"docker_image": f"{ECR}/evil:1"}},
        {"image_uri": f"{ECR}/evil:1"},
    ],
    ids=str,
)
def test_no_override_changes_what_a_job_runs(spec: dict[str, Any]) -> None:
    with pytest.raises(InvalidRunSpec, match="secure mode"):
        plan({}, {}, **spec)


def test_arguments_are_taken_by_an_entry_point_and_are_a_command_without_one() -> None:
    arguments = {"args": ["-c", "id"]}
    assert plan({}, {}, overrides=arguments)
    with pytest.raises(InvalidRunSpec, match=r"overrides.args is not allowed"):
        plan({}, {}, job=False, overrides=arguments)
    command = {"AlgorithmSpecification": {"ContainerEntrypoint": ["python", "train.py"]}}
    assert plan({}, command, job=False, overrides=arguments)


@pytest.mark.parametrize(
    "queue",
    [
        OWN_IMAGE,
        {
            "algorithm_specification": {
                "TrainingImage": "${image_uri}",
                "ContainerEntrypoint": ["python", "${run_name}"],
            }
        },
        {"RemoteDebugConfig": {"EnableRemoteDebug": True}},
        {"Environment": {"PYTHONPATH": "/opt/program", "LOG_LEVEL": "debug"}},
        {"builder": {"accelerator": {"base_image": "nvidia/cuda:12"}}},
        {"HyperParameters": {"sagemaker_program": "train.py"}},
    ],
    ids=str,
)
def test_what_the_queue_itself_says_runs(queue: dict[str, Any]) -> None:
    assert plan({}, queue, name="train.py")


def test_what_fills_a_template_variable_of_the_queue_is_within_its_bounds() -> None:
    command = ["python", "{{script}}"]
    template = {"AlgorithmSpecification": {"TrainingImage": f"{ECR}/{{{{name}}}}:1", "ContainerEntrypoint": command}}
    filled = {"TrainingImage": f"{ECR}/a:1", "ContainerEntrypoint": ["python", "a.py"]}
    assert plan({"AlgorithmSpecification": filled}, template)
    for other in ({"TrainingImage": f"{ECR}/a:2"}, {"ContainerEntrypoint": ["sh", "a.py"]}):
        with pytest.raises(InvalidRunSpec, match="secure mode"):
            plan({"AlgorithmSpecification": {**filled, **other}}, template)


def test_what_says_nothing_of_what_runs_can_be_pushed() -> None:
    pushed = {"ResourceConfig": {"InstanceType": "ml.g5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 1}}
    assert plan({**pushed, "Environment": {"LOG_LEVEL": "debug"}, "HyperParameters": {"lr": "0.1"}}, {})


def test_an_entry_point_that_repeats_the_jobs_own_is_none_of_the_runs() -> None:
    assert plan({}, {}, overrides={"entry_point": ["python", "train.py"], "args": ["--lr=0.1"]})


@pytest.mark.parametrize(
    ("template", "value", "is_own"),
    [
        ("{{a}}", "anything\nat all", True),
        ("{{a}}:{{b}}", 5, False),
        ("x/{{a}}", "x/1", True),
        ("x/{{a}}", "y/1", False),
        ("x/{{a}}", "x/1\n2", False),
        ("x\n{{a}}", "x\n1", True),
        ("{{a}}:{{b}}:1", "x:y:1", True),
        ("{{a}}:{{b}}:1", "x:1", False),
        ("aba{{a}}aba", "ababa", False),
        ("{{a}}-{{b}}-{{c}}-{{d}}!", "-" * 100_000, False),
        ("{{a}}-{{b}}-{{c}}-{{d}}!", "-" * 100_000 + "!", True),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_value_is_the_queues_own_if_only_its_template_variables_differ(
    template: str, value: Any, is_own: bool
) -> None:
    queue = {"AlgorithmSpecification": {"TrainingInputMode": "File", "ContainerArguments": [template]}}
    pushed = {"AlgorithmSpecification": {"TrainingInputMode": "File", "ContainerArguments": [value]}}
    assert is_held(pushed, queue) is not is_own


@pytest.mark.parametrize(
    "rules",
    [
        [],
        [{"RuleConfigurationName": "a"}],
        [{"RuleConfigurationName": "a", "InstanceType": "x"}, {"RuleConfigurationName": "b"}],
        [{"RuleConfigurationName": "a", "InstanceType": "y"}],
        [{"RuleConfigurationName": "a", "VolumeSizeInGB": "x"}],
        [{"RuleConfigurationName": "a", "InstanceType": "x", "VolumeSizeInGB": 1}],
        {"RuleConfigurationName": "a", "InstanceType": "x"},
    ],
    ids=str,
)
def test_a_block_that_is_not_the_queues_own_is_not_allowed(rules: Any) -> None:
    queue = {"DebugRuleConfigurations": [{"RuleConfigurationName": "a", "InstanceType": "x"}]}
    assert is_held({"DebugRuleConfigurations": rules}, queue)
    assert not is_held(queue, queue)


def is_held(pushed: dict[str, Any], queue: dict[str, Any]) -> bool:
    """Whether secure mode is among the reasons why a run is refused."""
    try:
        plan(pushed, queue)
    except InvalidRunSpec as error:
        return "secure mode" in str(error)
    return False
