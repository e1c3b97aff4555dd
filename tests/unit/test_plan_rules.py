"""The inputs that planning refuses and accepts, by kind, in addition to the golden cases."""

import json
from typing import Any

import botocore.session
import pytest

from launch_agent.clients.service_model import create_training_job_shape
from launch_agent.errors import InvalidRunSpec
from launch_agent.plan.agent import Agent
from launch_agent.plan.algorithm import is_algorithm_image
from launch_agent.plan.launch_plan import LaunchPlan, plan_launch
from launch_agent.plan.resource_rules import LOCAL_STORAGE
from launch_agent.plan.run_environment import final_environment
from launch_agent.plan.training_rules import ANSWERS
from launch_agent.run_queue.items import parse_run_spec
from tests import make
from tests.golden.cases import item_of, load

AGENT = make.agent()
TEAM = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
AMAZON = "683313688378.dkr.ecr.us-east-1.amazonaws.com"
ON_DEMAND = {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 10}


def plan(block: dict[str, Any] | None = None, agent: Agent = AGENT, **spec: Any) -> LaunchPlan:
    """Plan a run of an image, with `block` merged into its queue's configuration; a value of `...` removes the key."""
    raw = load("stopping-condition-empty", "run_spec.json") | spec
    merged = {**raw["resource_args"]["sagemaker"], **(block or {})}
    raw["resource_args"] = {"sagemaker": {key: value for key, value in merged.items() if value is not ...}}
    return plan_launch(parse_run_spec(raw), None, item_of(raw), agent)


def faults(block: dict[str, Any] | None = None, agent: Agent = AGENT, **spec: Any) -> str:
    with pytest.raises(InvalidRunSpec) as raised:
        plan(block, agent, **spec)
    return str(raised.value)


def environment(**variables: Any) -> dict[str, Any]:
    return {"Environment": variables}


AS_IT_IS = {"launch_agent": {"start_through_sh": False}}
"""A container that does not start through sh, so that SageMaker's limits apply to all of its variables."""


def resources(**keys: Any) -> dict[str, Any]:
    return {"ResourceConfig": {key: value for key, value in {**ON_DEMAND, **keys}.items() if value is not ...}}


# --- algorithms that do not use W&B


@pytest.mark.parametrize(
    ("image", "is_one"),
    [
        (f"{AMAZON}/sagemaker-xgboost:1.7-1", True),
        ("811284229777.dkr.ecr.us-east-1.amazonaws.com/blazingtext:1", True),
        ("522234722520.dkr.ecr.us-east-1.amazonaws.com/forecasting-deepar:1", True),
        ("382416733822.dkr.ecr.us-east-1.amazonaws.com/linear-learner:1", True),
        ("387376663083.dkr.ecr.cn-northwest-1.amazonaws.com.cn/image-classification:1", True),
        (f"{AMAZON}/sagemaker-scikit-learn:1.2-1-cpu-py3", False),
        ("763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-training:2.3", False),
        (f"{TEAM}/sagemaker-xgboost:1.7-1", False),
        (f"{TEAM}/kmeans:1", False),
        ("", False),
        (None, False),
    ],
)
def test_the_images_of_amazons_algorithms_are_known_by_repository_and_account(image: Any, is_one: bool) -> None:
    assert is_algorithm_image(image) is is_one


@pytest.mark.parametrize(
    "script",
    [
        {"HyperParameters": {"sagemaker_program": "train.py"}},
        environment(SAGEMAKER_PROGRAM="train.py"),
        {
            "AlgorithmSpecification": {
                "TrainingImage": f"{AMAZON}/sagemaker-xgboost:1.7-1",
                "ContainerEntrypoint": ["python"],
            }
        },
        {"launch_agent": {"calls_wandb_init": True}},
    ],
    ids=["hyperparameter", "variable", "command", "said"],
)
def test_an_image_of_amazons_with_a_script_of_the_users_is_expected_to_call_wandb_init(script: dict[str, Any]) -> None:
    image = {"AlgorithmSpecification": {"TrainingImage": f"{AMAZON}/sagemaker-xgboost:1.7-1"}}
    assert plan(image).is_provided_algorithm
    assert plan({**image, **script}).expects_wandb_init


@pytest.mark.parametrize("said", [{}, None, {"calls_wandb_init": None}])
def test_a_queue_that_does_not_say_has_it_told_from_the_image(said: Any) -> None:
    assert plan({"launch_agent": said}).expects_wandb_init


def test_a_queue_can_say_that_its_containers_never_call_wandb_init() -> None:
    said = plan({"launch_agent": {"calls_wandb_init": False}, "EnableNetworkIsolation": True})
    assert (said.is_provided_algorithm, said.expects_wandb_init) == (True, False)
    assert "LaunchAgent" not in said.training_request


def test_network_isolation_is_refused_where_the_run_would_never_appear() -> None:
    assert '"launch_agent": {"calls_wandb_init": false}' in faults({"EnableNetworkIsolation": True})
    assert plan({"EnableNetworkIsolation": True, **environment(WANDB_MODE="offline")})


# --- additions when the training job starts


@pytest.mark.parametrize(("variables", "fits"), [(86, True), (87, False), (100, False)])
def test_the_key_and_the_resume_variable_are_counted_before(variables: int, fits: bool) -> None:
    block = AS_IT_IS | environment(**{f"V{n}": "x" for n in range(variables)})
    if fits:
        final = final_environment(plan(block).training_request["Environment"], api_key="k", again=True)
        assert len(final) == 100
    else:
        assert f"the queue's Environment takes {variables} of them" in faults(block)


def test_a_container_without_the_agents_key_has_room_for_one_more_variable() -> None:
    block = environment(**{f"V{n}": "x" for n in range(87)})
    assert plan({**block, "launch_agent": {"calls_wandb_init": False, "start_through_sh": False}})


def test_what_takes_the_room_is_said_the_largest_first() -> None:
    text = faults(
        AS_IT_IS | environment(A="1"), overrides={"run_config": {"a": "x" * 30_000}, "files": {"b": "x" * 20_000}}
    )
    assert "overrides.run_config takes 59 of them, overrides.files 40, the launch agent, with the API key, 12, " in text


@pytest.mark.parametrize("key", [["deadbeef"], {"a": "deadbeef"}, 5, "deadbeef" * 100])
def test_a_key_of_the_queue_of_the_wrong_type_or_length_is_refused_and_not_shown(key: Any) -> None:
    text = faults(environment(WANDB_API_KEY=key))
    assert "Environment.WANDB_API_KEY" in text
    assert "deadbeef" not in text


# --- no secret values in messages


@pytest.mark.parametrize(
    "block",
    [
        environment(PIN=90210123),
        environment(PIN=True),
        environment(PIN=["90210123"]),
        environment(PIN="90210123" * 100) | AS_IT_IS,
        {"Environment": "90210123"},
        {"Environment": [{"Name": "A", "Value": "90210123"}]},
        {"HyperParameters": {"pin": 90210123}},
        {"HyperParameters": {"pin": {"a": "90210123"}}},
        {"HyperParameters": "90210123"},
        {"AlgorithmSpecification": {"ContainerArguments": [90210123]}},
        {"AlgorithmSpecification": {"ContainerEntrypoint": ["90210123" * 40]}},
        {"AlgorithmSpecification": {"ContainerArguments": "90210123"}},
    ],
    ids=lambda block: json.dumps(block)[:40],
)
def test_a_fault_below_what_may_be_secret_names_the_key_and_shows_no_value(block: dict[str, Any]) -> None:
    text = faults(block)
    assert next(iter(block)) in text
    assert "90210123" not in text


# --- faults that SageMaker would refuse


@pytest.mark.parametrize(
    ("written", "better"),
    [
        ("g5.xlarge", "Did you mean ml.g5.xlarge?"),
        ("ML.G5.XLARGE", "Did you mean ml.g5.xlarge?"),
        (" ml.m5.large", "Did you mean ml.m5.large?"),
        ("p6-b200.48xlarge", "Did you mean ml.p6-b200.48xlarge?"),
        ("ml.g5", "Write for example ml.g5.xlarge."),
        ("gpu", "Write for example ml.g5.xlarge."),
    ],
)
def test_an_instance_type_that_is_none_is_answered_with_the_one_to_write(written: str, better: str) -> None:
    assert better in faults(resources(InstanceType=written))
    assert len(faults(resources(InstanceType=written))) < 300


@pytest.mark.parametrize("known", ["ml.m5.xlarge", "ml.p4de.24xlarge", "ml.brand-new.96xlarge", "ml.trn3.metal-48xl"])
def test_an_instance_type_of_the_right_form_passes_however_new_it_is(known: str) -> None:
    assert plan(resources(InstanceType=known))


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (
            {"InstanceType": ..., "InstanceCount": ..., "InstancePreferences": [{"InstanceType": "ml.g5.xlarge"}]},
            "0 of 1",
        ),
        (
            {"InstanceType": ..., "InstancePreferences": [{"InstanceType": "ml.g5.xlarge", "InstanceCount": 1}]},
            "ResourceConfig has one too",
        ),
        (
            {
                "InstanceType": ...,
                "InstancePreferences": [{"InstanceType": "ml.g5.xlarge"}],
                "InstanceGroups": [{"InstanceGroupName": "a", "InstanceType": "ml.g5.xlarge", "InstanceCount": 1}],
            },
            "ResourceConfig.InstanceGroups cannot be used with ResourceConfig.InstancePreferences",
        ),
        ({"InstanceType": ...}, "ResourceConfig.InstanceType is missing"),
        ({"InstanceCount": 0}, "ResourceConfig.InstanceCount is missing or zero"),
        ({"SelectedInstanceCount": 1}, "ResourceConfig.SelectedInstanceCount is part of SageMaker's responses"),
        ({"InstanceType": "ml.p5.48xlarge", "VolumeKmsKeyId": "alias/mine"}, "VolumeKmsKeyId cannot be used"),
    ],
)
def test_combinations_that_exclude_each_other_are_refused(keys: dict[str, Any], said: str) -> None:
    assert said in faults(resources(**keys))


@pytest.mark.parametrize(
    "keys",
    [
        {"InstanceType": ..., "InstanceCount": 2, "InstancePreferences": [{"InstanceType": "ml.g5.xlarge"}]},
        {
            "InstanceType": ...,
            "InstanceCount": ...,
            "InstancePreferences": [{"InstanceType": "ml.g5.xlarge", "InstanceCount": 1}],
        },
        {
            "InstanceType": ...,
            "InstanceCount": ...,
            "InstanceGroups": [{"InstanceGroupName": "a", "InstanceType": "ml.g5.xlarge", "InstanceCount": 1}],
        },
        {"VolumeKmsKeyId": "alias/mine"},
        {"KeepAlivePeriodInSeconds": 600},
    ],
)
def test_what_sagemaker_takes_of_instances_passes(keys: dict[str, Any]) -> None:
    assert plan(resources(**keys))


@pytest.mark.parametrize(("wait", "fits"), [(59, False), (60, True), (None, False)])
def test_spot_waits_at_least_as_long_as_it_runs(wait: int | None, fits: bool) -> None:
    condition = {"MaxRuntimeInSeconds": 60, **({"MaxWaitTimeInSeconds": wait} if wait else {})}
    block = {"EnableManagedSpotTraining": True, "StoppingCondition": condition}
    if fits:
        assert plan(block)
    else:
        assert f"of at least MaxRuntimeInSeconds, which is 60. It is {wait or 'missing'}." in faults(block)


def test_the_families_with_local_storage_are_ones_that_sagemaker_trains_on() -> None:
    model = botocore.session.get_session().get_service_model("sagemaker")
    types = getattr(model.shape_for("TrainingInstanceType"), "enum")  # noqa: B009 - a StringShape, which mypy does not know
    assert {each.split(".")[1] for each in types} >= LOCAL_STORAGE


def test_the_keys_of_answers_are_those_that_describe_has_and_create_has_not() -> None:
    model = botocore.session.get_session().get_service_model("sagemaker")
    described = model.operation_model("DescribeTrainingJob").output_shape
    assert described
    assert described.members.keys() - create_training_job_shape().members.keys() == ANSWERS


@pytest.mark.parametrize(
    ("block", "path"),
    [
        ({"RoleArn": "{{role}}"}, "RoleArn"),
        ({"VpcConfig": {"Subnets": ["{{subnet}}"], "SecurityGroupIds": ["sg-1"]}}, "VpcConfig.Subnets[0]"),
        ({"Tags": [{"Key": "a", "Value": "{{ cost }}"}]}, "Tags["),
        ({"AlgorithmSpecification": {"TrainingImage": "{{image}}"}}, "AlgorithmSpecification.TrainingImage"),
        ({"StoppingCondition": {"MaxRuntimeInSeconds": "{{hours}}"}}, "StoppingCondition.MaxRuntimeInSeconds"),
    ],
)
def test_a_template_variable_that_was_left_in_place_is_named_once(block: dict[str, Any], path: str) -> None:
    text = faults(block)
    assert "the template variable " in text
    assert path in text
    assert text.count("\n- ") == 1


@pytest.mark.parametrize(
    "block",
    [
        environment(PROMPT="{{question}}"),
        {"HyperParameters": {"template": "{{x}}"}},
        {"AlgorithmSpecification": {"MetricDefinitions": [{"Name": "loss", "Regex": "{{loss}}"}]}},
    ],
)
def test_braces_in_free_text_are_left_alone(block: dict[str, Any]) -> None:
    assert plan(block)


@pytest.mark.parametrize("key", ["RoleArn", "OutputDataConfig", "ResourceConfig", "StoppingCondition"])
@pytest.mark.parametrize("value", [..., None])
def test_a_block_that_is_missing_is_asked_for_once(key: str, value: Any) -> None:
    text = faults({key: value})
    assert f'has no {key}. Add it to the queue\'s configuration, for example "{key}": ' in text
    assert text.count("\n- ") == 1


@pytest.mark.parametrize(("key", "spelled"), [("roleArn", "RoleArn"), ("stoppingcondition", "StoppingCondition")])
def test_a_block_in_the_wrong_case_is_answered_with_the_right_one_and_not_said_to_be_missing(
    key: str, spelled: str
) -> None:
    text = faults({spelled: ..., key: plan().training_request[spelled]})
    assert f"{key} is not a key that SageMaker knows. Write {spelled}." in text
    assert "Add it to the queue's configuration" not in text


def test_a_registry_through_a_vpc_needs_a_vpc() -> None:
    image = {
        "TrainingImage": "registry.example/train:1",
        "TrainingImageConfig": {"TrainingRepositoryAccessMode": "Vpc"},
    }
    vpc = {"VpcConfig": {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}}
    assert "Add VpcConfig." in faults({"AlgorithmSpecification": image})
    assert plan({"AlgorithmSpecification": image, **vpc})
    image["TrainingImageConfig"] = {"TrainingRepositoryAccessMode": "Platform"}
    assert "is not in Amazon ECR" in faults({"AlgorithmSpecification": image, **vpc})


def test_an_enum_in_the_wrong_case_is_answered_with_the_right_one_and_a_long_one_with_the_nearest() -> None:
    assert 'TrainingInputMode is "file". Write "File".' in faults(
        {"AlgorithmSpecification": {"TrainingInputMode": "file"}}
    )
    assert "It can be Pipe, File or FastFile." in faults({"AlgorithmSpecification": {"TrainingInputMode": "x"}})


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ({"TrainingImage": "x"}, "It belongs in AlgorithmSpecification."),
        ({"max_runtime_in_seconds": 5}, "It belongs in StoppingCondition."),
        ({"VpcConfig": {"Subnets": ["s"], "SecurityGroupIds": ["g"], "RoleArn": "x"}}, "It belongs one level higher."),
        ({"Enviroment": {}}, "Did you mean Environment?"),
        ({"HyperParameter": {}}, "Did you mean HyperParameters?"),
        ({"Priority": 1}, "Priority is not a key that SageMaker knows. Leave it out."),
        ({"Job": 1}, "Job is not a key that SageMaker knows. Leave it out."),
        ({"x" * 200_000: 1}, "... is not a key that SageMaker knows. Leave it out."),
        ({"WarmPoolStatus": {}}, "WarmPoolStatus is part of SageMaker's responses, not of a request. Leave it out."),
    ],
    ids=lambda value: str(value)[:40],
)
def test_an_unknown_key_is_answered_with_where_it_belongs_or_what_is_near(block: dict[str, Any], said: str) -> None:
    assert said in faults(block)


@pytest.mark.parametrize(("levels", "words"), [(1, "one level"), (2, "two levels"), (3, "three levels")])
def test_a_configuration_within_other_keys_is_said_to_be_too_deep_and_nothing_else(levels: int, words: str) -> None:
    block = plan().training_request
    for key in ("sagemaker", "resource_args", "CreateTrainingJob")[:levels]:
        block = {key: block}
    text = faults({key: ... for key in ("RoleArn", "OutputDataConfig", "ResourceConfig", "StoppingCondition")} | block)
    assert f"the configuration is {words} too deep" in text
    assert text.count("\n- ") == 1


# --- accepted, because it can work


@pytest.mark.parametrize("name", ["lr=0.1, (big)", "a#b", "größe 3", "x" * 300, "tab\there"])
def test_a_run_name_in_a_tag_is_made_legal(name: str) -> None:
    tags = plan({"Tags": [{"Key": "Name", "Value": "${run_name}"}]}, name=name).training_request["Tags"]
    assert tags[0]["Key"] == "Name"
    assert 0 < len(tags[0]["Value"]) <= 256


@pytest.mark.parametrize("tag", [{"Key": "Who", "Value": "by ${author}"}, {"Key": "${HOME}", "Value": "v"}])
def test_a_tag_with_a_macro_without_a_value_is_left_out_with_a_warning(tag: dict[str, str]) -> None:
    planned = plan({"Tags": [tag, {"Key": "a", "Value": "b"}]})
    assert planned.training_request["Tags"][0] == {"Key": "a", "Value": "b"}
    assert [warning for warning in planned.warnings if warning.endswith("the tag with it is left out.")]


@pytest.mark.parametrize("tags", [{"Key": "a"}, "a=b", [["a", "b"]], [{"Key": ["a"], "Value": "b"}], [None]])
def test_tags_of_the_wrong_shape_are_refused_in_words(tags: Any) -> None:
    assert "Tags" in faults({"Tags": tags})


# --- a name for one run only


@pytest.mark.parametrize("name", ["nightly", "${run_name}", "run_id", 5, ["${run_id}"], "a" * 60 + "${run_id}"])
def test_a_training_job_name_that_could_serve_one_run_only_is_refused(name: Any) -> None:
    assert "TrainingJobName" in faults({"TrainingJobName": name}, name="n")
    assert "\n- training_job_name " in faults({"training_job_name": name}, name="n")


@pytest.mark.parametrize("key", ["resource_args", "volume_size", "enable_managed_spot"])
def test_a_fault_names_a_key_as_the_queue_spells_it(key: str) -> None:
    assert f"\n- {key} is not a key that SageMaker knows" in faults({key: {}})


def test_one_key_of_a_request_in_another_key_is_no_configuration_that_is_too_deep() -> None:
    none = dict.fromkeys(("RoleArn", "ResourceConfig", "OutputDataConfig", "StoppingCondition"), ...)
    inner = {"RoleArn": "arn:aws:iam::123456789012:role/r", "OutputDataConfig": {"S3OutputPath": "s3://b/o"}}
    assert "one level too deep: resource_args.sagemaker.inner has" in faults({**none, "inner": inner})
    assert "too deep" not in faults({**none, "inner": {"RoleArn": inner["RoleArn"]}})


def test_a_training_job_name_leaves_room_for_a_run_id_of_eight_characters() -> None:
    name = plan({"TrainingJobName": "a" * 55 + "${run_id}"}).training_job_name
    assert (len(name), name[55:]) == (63, "limzn0a6")
    assert "leaves no room for the run's id: it can have 63" in faults({"TrainingJobName": "a" * 56 + "${run_id}"})


@pytest.mark.parametrize("name", ["${run_id}", "team-${run_id}", "${project_name}/${run_id}-x", "", None])
def test_a_training_job_name_with_the_runs_id_is_made_legal(name: Any) -> None:
    assert "limzn0a6" in plan({"TrainingJobName": name}).training_job_name


# --- the API key goes to W&B only


@pytest.mark.parametrize(
    "name",
    [
        *("WANDB_BASE_URL", "WANDB_Base_Url", "http_proxy", "HTTPS_PROXY", "all_proxy", "WANDB_HTTPS_PROXY"),
        *("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NETRC", "WANDB__PROXIES"),
    ],
)
def test_a_queue_cannot_send_the_agents_key_elsewhere_unless_it_brings_its_own(name: str) -> None:
    text = faults(environment(**{name: "https://elsewhere.example"}))
    assert f"Environment.{name} is not allowed" in text
    assert "elsewhere" not in text
    assert plan(environment(**{name: "https://elsewhere.example", "WANDB_API_KEY": "the-queues-own"}))


@pytest.mark.parametrize("name", ["NO_PROXY", "PYTHONPATH", "LD_PRELOAD", "WANDB_SILENT", "WANDB_MODE"])
def test_variables_that_move_nothing_are_the_queues_to_set(name: str) -> None:
    assert plan(environment(**{name: "x"})).training_request["Environment"][name] == "x"


def test_the_key_of_a_run_spec_is_guarded_as_the_agents_is() -> None:
    assert "is not allowed" in faults(environment(HTTPS_PROXY="http://p"), _wandb_api_key="of-the-user")


def test_the_launch_agents_own_server_may_be_named() -> None:
    assert plan(environment(WANDB_BASE_URL="https://api.wandb.ai/"))


# --- any content


@pytest.mark.parametrize(
    "block",
    [
        {f"unknown{n}": n for n in range(5_000)},
        environment(**{f"V{n}": n for n in range(20_000)}),
        {"Tags": [{"Key": str(n % 7), "Value": str(n)} for n in range(20_000)]},
        {"HyperParameters": {"k" * 100_000: "v" * 100_000}},
        {"InputDataConfig": [{"ChannelName": "x" * 1000}] * 2_000},
        {"OutputDataConfig": {"S3OutputPath": "s3://" + "${run_name}" * 50_000}},
        {"StoppingCondition": {"MaxRuntimeInSeconds": 10**300, "MaxWaitTimeInSeconds": -(10**300)}},
        {"ResourceConfig": [[[]]]},
        {"AlgorithmSpecification": {"TrainingImage": "1" * 500_000}},
    ],
    ids=lambda block: json.dumps(block)[:30],
)
def test_large_and_strange_blocks_are_answered_with_few_short_faults(block: dict[str, Any]) -> None:
    text = faults(block, name="n" * 512)
    assert len(text) < 20_000


def test_a_time_limit_is_one_that_a_state_machine_takes() -> None:
    spot = {"EnableManagedSpotTraining": True, "StoppingCondition": {"MaxWaitTimeInSeconds": 10**12}}
    assert plan(spot).time_limit_seconds == 99_999_999
