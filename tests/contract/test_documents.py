"""Documents that must agree: the template, the state machine, the handlers, the errors, and AWS's service models."""

import importlib
import inspect
import json
import re
from collections.abc import Iterator
from typing import Any, cast

import botocore.session
import pytest
from botocore.validate import ParamValidator
from pydantic import ValidationError

from launch_agent import errors
from launch_agent.builder import __main__ as builder
from launch_agent.clients.service_model import create_training_job_shape
from launch_agent.image.recipe import BUILD_HOSTS
from launch_agent.outcome.judgement import STAGES, Failure
from launch_agent.plan.request_shape import shape_faults
from launch_agent.run_queue.launch_config import Builder, LaunchConfig
from launch_agent.settings import Environment, Polls, SetupEnvironment, StateMachine
from launch_agent.training.retries import MAX_FAILURES_OF_SAGEMAKER, RETRIES, RetryReason
from launch_agent.training.training_job import VERDICTS
from tests.documents import MACHINE, ROOT, resources, template
from tests.golden.cases import load, planned
from tests.handlers import NAMES, loaded, logical_id, variables_of

RESERVED = ("States.", "Lambda.", "CodeBuild.", "Runtime.", "Sandbox.")
FUNCTION_TASKS = [name for name, state in MACHINE["States"].items() if ":lambda:" in state.get("Resource", "")]


def error_classes(base: type[errors.LaunchError]) -> set[str]:
    members = inspect.getmembers(errors, inspect.isclass)
    return {name for name, each in members if issubclass(each, base) and not each.__subclasses__()}


def retried(state: dict[str, Any]) -> Iterator[str]:
    for retry in state.get("Retry", []):
        yield from retry["ErrorEquals"]


def test_every_function_has_a_folder_and_every_folder_a_function() -> None:
    assert set(resources("AWS::Serverless::Function")) == {logical_id(function) for function in NAMES}
    assert {path.parent.name for path in (ROOT / "functions").glob("*/app.py")} == set(NAMES)
    assert set(re.findall(r"^build-(\w+): ", (ROOT / "functions/Makefile").read_text(), re.MULTILINE)) == {
        logical_id(function) for function in NAMES
    }


VALUES = {
    **{
        name.upper(): name
        for model in (Environment, Polls, SetupEnvironment, StateMachine)
        for name in model.model_fields
    },
    "QUEUE_CONFIGURATION": json.dumps({"RoleArn": "role", "OutputDataConfig": {"S3OutputPath": "s3://bucket/output"}}),
    "TRAINING_IN_VPC": "false",
    "CAPACITY_WAIT_HOURS": "24",
    "POLL_INTERVAL_SECONDS": "15",
    "WANDB_INIT_GRACE_SECONDS": "60",
}


@pytest.fixture
def launch_config(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put launch-config.yaml on the import path, like its layer."""
    monkeypatch.syspath_prepend(ROOT / "layers/config")


@pytest.mark.usefixtures("launch_config")
@pytest.mark.parametrize("function", NAMES)
def test_a_function_starts_with_the_variables_that_the_template_gives_it(function: str) -> None:
    loaded(function, VALUES)


@pytest.mark.usefixtures("launch_config")
@pytest.mark.parametrize("function", NAMES)
def test_a_function_is_given_no_variable_without_which_it_would_start(function: str) -> None:
    given = variables_of(function) - {"POWERTOOLS_SERVICE_NAME"}
    for missing in given:
        with pytest.raises(ValidationError, match=rf"{missing.lower()}\n  Field required"):
            loaded(function, {name: value for name, value in VALUES.items() if name != missing})


def test_every_function_is_given_every_variable_of_the_environment() -> None:
    shared = set(template()["Globals"]["Function"]["Environment"]["Variables"])
    assert shared - {"POWERTOOLS_SERVICE_NAME"} == {name.upper() for name in Environment.model_fields}


def test_no_variable_of_a_function_holds_the_api_key() -> None:
    everything = [template()["Globals"]["Function"], *resources("AWS::Serverless::Function").values()]
    for each in everything:
        assert "WandbApiKey'}" not in str(each.get("Environment", {}))


def test_the_machine_invokes_the_functions_it_is_given() -> None:
    given = resources("AWS::Serverless::StateMachine")["LaunchRun"]["DefinitionSubstitutions"]
    used = set(re.findall(r"\$\{(\w+)\}", json.dumps(MACHINE)))
    assert used == set(given)
    functions = {name: value for name, value in given.items() if name != "BuildProject"}
    assert all(value == {"Fn::GetAtt": f"{name}.Arn"} for name, value in functions.items())


def test_what_the_machine_sends_is_what_the_handlers_take() -> None:
    sent: dict[str, set[str]] = {}
    for state in (MACHINE["States"][name] for name in FUNCTION_TASKS):
        name = state["Arguments"]["FunctionName"].strip("${}")
        sent.setdefault(name, set()).update(state["Arguments"]["Payload"])
    steps = {logical_id(function): importlib.import_module(f"launch_agent.steps.{function}") for function in NAMES}
    assert sent == {name: set(steps[name].Task.model_fields) for name in sent}
    assert set(sent) == {name for name, step in steps.items() if hasattr(step, "Task")}


def test_the_machine_has_at_most_ten_states_and_each_leads_somewhere_that_exists() -> None:
    states = MACHINE["States"]
    assert len(states) <= 10
    targets = {MACHINE["StartAt"], *re.findall(r'"(?:Next|Default)": "([^"]+)"', json.dumps(MACHINE))}
    assert targets == set(states)


def test_every_error_the_machine_names_exists() -> None:
    named = {
        name
        for state in MACHINE["States"].values()
        for rule in (*state.get("Retry", []), *state.get("Catch", []))
        for name in rule["ErrorEquals"]
    }
    own = {name for name in named if not name.startswith(RESERVED)}
    assert own <= error_classes(errors.LaunchError)


def test_no_permanent_error_is_retried_and_every_transient_one_is() -> None:
    names = {name for state in MACHINE["States"].values() for name in retried(state)}
    assert not names & (error_classes(errors.Permanent) | {"LeaseLost"})
    assert error_classes(errors.Transient) <= names


@pytest.mark.parametrize("name", FUNCTION_TASKS)
def test_every_task_waits_only_so_long_and_retries_what_lambda_itself_fails_with(name: str) -> None:
    state = MACHINE["States"][name]
    assert state["TimeoutSeconds"]
    assert {"Lambda.ServiceException", "Lambda.TooManyRequestsException", "AwsThrottled"} <= set(retried(state))
    # A retry finds everything that a function left when it ran out of time or memory.
    assert {"Lambda.Unknown", "Runtime.ExitError", "Sandbox.Timedout"} <= set(retried(state))


def test_a_build_has_every_variable_that_the_builder_wants() -> None:
    project = resources("AWS::CodeBuild::Project")["BuildProject"]["Environment"]["EnvironmentVariables"]
    of_project = {each["Name"] for each in project}
    of_build = {each["Name"] for each in MACHINE["States"]["Build image"]["Arguments"]["EnvironmentVariablesOverride"]}
    wanted = {name.upper() for name in builder.Env.model_fields}
    assert {*of_project, *of_build, "CODEBUILD_BUILD_ID"} - {"LAUNCH_AGENT_LAYER"} == wanted


def test_the_machine_waits_for_a_build_longer_than_codebuild_does() -> None:
    project = resources("AWS::CodeBuild::Project")["BuildProject"]
    longest = 60 * (project["TimeoutInMinutes"] + project["QueuedTimeoutInMinutes"])
    assert MACHINE["States"]["Build image"]["TimeoutSeconds"] > longest
    retry = next(
        retry for retry in MACHINE["States"]["Plan run"]["Retry"] if retry["ErrorEquals"] == ["ImageBeingBuilt"]
    )
    # An execution that waits for another item's build waits at least as long.
    assert retry["MaxAttempts"] * retry["MaxDelaySeconds"] > longest


def test_codebuild_accepts_the_build_that_the_machine_starts() -> None:
    def camel(value: Any) -> Any:
        if isinstance(value, dict):
            return {f"{key[0].lower()}{key[1:]}": camel(item) for key, item in value.items()}
        return [camel(item) for item in value] if isinstance(value, list) else value

    for host in BUILD_HOSTS.values():
        request = camel(MACHINE["States"]["Build image"]["Arguments"])
        request |= {"environmentTypeOverride": host["host_type"], "imageOverride": host["host_image"]}
        shape = botocore.session.get_session().get_service_model("codebuild").operation_model("StartBuild").input_shape
        assert list(shape_faults(request, cast(Any, shape))) == []


def test_every_catch_leads_to_a_reported_failure_but_for_an_item_that_is_not_ours() -> None:
    for state in MACHINE["States"].values():
        for rule in state.get("Catch", []):
            expected = "Item is not ours" if rule["ErrorEquals"] == ["LeaseLost"] else "Report failure"
            assert rule["Next"] == expected


def test_every_catch_passes_on_the_same_and_nothing_else() -> None:
    caught = [
        rule["Assign"]
        for state in MACHINE["States"].values()
        for rule in state.get("Catch", [])
        if rule["Next"] == "Report failure"
    ]
    assert len(caught) == 5
    assert all(assigned == caught[0] for assigned in caught)
    assert list(caught[0]) == ["failure"]
    failure = Failure.model_validate(dict.fromkeys(caught[0]["failure"], "Build image"))
    assert failure.stage == "build"
    assert set(STAGES) <= set(MACHINE["States"])


def test_what_the_state_machine_logs_holds_no_data() -> None:
    assert resources("AWS::Serverless::StateMachine")["LaunchRun"]["Logging"]["IncludeExecutionData"] is False


def test_the_table_of_run_specs_and_plans_has_no_backups_and_is_deleted_with_the_stack() -> None:
    table = template()["Resources"]["RunDetails"]
    assert "PointInTimeRecoverySpecification" not in table["Properties"]
    assert table.get("DeletionPolicy", "Delete") == "Delete"


def test_every_log_group_has_a_retention() -> None:
    groups = resources("AWS::Logs::LogGroup")
    assert groups
    assert all("RetentionInDays" in each for each in groups.values())


def test_what_fails_asynchronously_is_kept_or_repeated_by_the_schedule() -> None:
    for name, each in resources("AWS::Serverless::Function").items():
        events = {event["Type"] for event in each.get("Events", {}).values()}
        if "ScheduleV2" in events:
            assert each["EventInvokeConfig"]["MaximumRetryAttempts"] == 0, name
        elif events:
            assert each["EventInvokeConfig"]["DestinationConfig"]["OnFailure"]["Type"] == "SQS", name


def test_tracing_is_off_by_default() -> None:
    assert template()["Parameters"]["Tracing"]["Default"] == "PassThrough"


def test_the_default_is_python_3_13_on_arm64() -> None:
    parameters = template()["Parameters"]
    assert (parameters["PythonRuntime"]["Default"], parameters["Architecture"]["Default"]) == ("python3.13", "arm64")


def statements() -> Iterator[tuple[str, dict[str, Any]]]:
    """What the roles of the template may do, with the resource that says so."""
    for name, each in template()["Resources"].items():
        properties = each["Properties"]
        attached = each["Type"] in ("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy")
        own = [properties] if attached else properties.get("Policies", [])
        for policy in map(chosen, own):
            document = policy.get("PolicyDocument", policy)
            allowed = (each for each in map(chosen, document["Statement"]) if each.get("Effect") != "Deny")
            yield from ((name, statement) for statement in allowed)


def chosen(part: dict[str, Any]) -> dict[str, Any]:
    """A policy or a statement or, if it depends on a condition, its value when the condition is true."""
    if "Fn::If" in part:
        _, holds, _ = part["Fn::If"]
        return cast(dict[str, Any], holds)
    return part


def test_a_permission_on_everything_is_one_that_cannot_be_narrower() -> None:
    cannot = {
        "cloudwatch:PutMetricData",
        "ecr-public:GetAuthorizationToken",
        "ecr:GetAuthorizationToken",
        "pricing:GetProducts",
        "sagemaker:Search",
        "servicequotas:ListAWSDefaultServiceQuotas",
        "servicequotas:ListServiceQuotas",
        "states:SendTaskFailure",
        "states:SendTaskSuccess",
        "sts:GetServiceBearerToken",
        "xray:GetSamplingRules",
        "xray:GetSamplingTargets",
        "xray:PutTelemetryRecords",
        "xray:PutTraceSegments",
    }
    for name, statement in statements():
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        assert not [action for action in actions if "*" in action], name
        if statement["Resource"] == "*":
            narrowest = (action in cannot or action.startswith(("logs:", "ec2:Describe")) for action in actions)
            assert all(narrowest), name


def test_passing_a_role_is_allowed_to_sagemaker_only() -> None:
    passing = [statement for _, statement in statements() if "iam:PassRole" in statement["Action"]]
    assert passing
    for statement in passing:
        assert statement["Condition"] == {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}


def test_the_verdicts_cover_every_status_a_training_job_can_have() -> None:
    model = botocore.session.get_session().get_service_model("sagemaker")
    assert set(VERDICTS) == set(model.shape_for("TrainingJobStatus").enum)  # type: ignore[attr-defined]  # a string shape


@pytest.mark.parametrize("case", planned())
def test_sagemakers_client_accepts_every_golden_request(case: str) -> None:
    report = ParamValidator().validate(load(case, "plan.json")["training_request"], create_training_job_shape())
    assert report.generate_report() == ""


@pytest.mark.parametrize("name", sorted(error_classes(errors.LaunchError)))
def test_every_error_is_explained_to_its_reader(name: str) -> None:
    assert re.search(rf"^## `{name}`$", (ROOT / "docs/errors.md").read_text(), re.MULTILINE)
    assert getattr(errors, name).__doc__


def test_the_table_of_retries_is_the_one_that_decides() -> None:
    rows = re.findall(r"^\| `?([A-Za-z ]+?)`? \| (.+) \|$", (ROOT / "docs/errors.md").read_text(), re.MULTILINE)
    printed = dict(row for row in rows if row[0] != "SageMaker says")
    assert printed == {kind: retry.how_long for kind, retry in RETRIES.items()}


def test_the_state_machine_tries_again_as_long_as_the_table_of_retries_allows() -> None:
    retries = {retry["ErrorEquals"][0]: retry for retry in MACHINE["States"]["Train"]["Retry"]}
    assert {reason.value for reason in RetryReason} <= set(retries)
    assert retries[RetryReason.SAGEMAKER]["MaxAttempts"] == MAX_FAILURES_OF_SAGEMAKER
    capacity = retries[RetryReason.CAPACITY]
    # The functions end the wait. With full jitter, an average wait is half the maximum.
    longest = template()["Parameters"]["CapacityWaitHours"]["MaxValue"] * 3600
    assert capacity["MaxAttempts"] * capacity["MaxDelaySeconds"] / 2 > longest
    # A failed attempt adds six events to the history, which is limited to 25,000.
    assert longest / (capacity["MaxDelaySeconds"] / 2) * 6 < 25_000


def test_the_grace_period_can_be_as_long_as_its_parameter_allows() -> None:
    retry = next(
        retry for retry in MACHINE["States"]["Report outcome"]["Retry"] if retry["ErrorEquals"] == ["RunNotSeen"]
    )
    waits = (retry["IntervalSeconds"] * retry["BackoffRate"] ** number for number in range(retry["MaxAttempts"]))
    longest = sum(min(wait, retry["MaxDelaySeconds"]) for wait in waits)
    assert longest > template()["Parameters"]["WandbInitGraceSeconds"]["MaxValue"]


@pytest.mark.parametrize("case", [case for case in planned() if load(case, "differences.json")])
def test_every_difference_from_the_reference_is_listed(case: str) -> None:
    assert f"[{case}]" in (ROOT / "docs/compatibility.md").read_text()


def test_every_key_of_the_launch_config_is_documented() -> None:
    text = (ROOT / "docs/configuration.md").read_text()
    for name in (*LaunchConfig.model_fields, *(field.alias or name for name, field in Builder.model_fields.items())):
        assert name in text


def test_every_template_parameter_is_documented_described_and_grouped() -> None:
    text = (ROOT / "docs/configuration.md").read_text()
    groups = template()["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    parameters = template()["Parameters"]
    assert sorted(name for group in groups for name in group["Parameters"]) == sorted(parameters)
    for name, parameter in parameters.items():
        assert f"`{name}`" in text
        assert parameter["Description"]
