"""The template after SAM's transformation, with its patterns and policies."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from launch_agent.settings import Polls
from local.stack import CLOUD_PYTHON
from tests.contract.test_documents import chosen
from tests.documents import ROOT, resources, template

STACK = "mine"
_SAM_PYTHON = ROOT / ".venvs/sam/bin/python"
_MATCH = """
import json, sys
from ministack.services.eventbridge import _matches_pattern
pattern, events = json.load(sys.stdin)
print(json.dumps([_matches_pattern(json.dumps(pattern), event) for event in events]))
"""


@cache
def transformed() -> dict[str, Any]:
    """The template after SAM's transformation."""
    command = [_SAM_PYTHON, ROOT / "tests/contract/transformed.py", ROOT / "template.yaml"]
    environment = {**os.environ, "AWS_DEFAULT_REGION": "us-east-1"}
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    return dict(json.loads(printed))


def deployed(kind: str) -> dict[str, Any]:
    """The deployed properties of all resources of a kind."""
    return {name: each["Properties"] for name, each in transformed()["Resources"].items() if each["Type"] == kind}


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def statements_of(role: str) -> Iterator[dict[str, Any]]:
    """All statements of a role, from its own and its attached policies."""
    own = map(chosen, deployed("AWS::IAM::Role")[role].get("Policies", []))
    documents = [each["PolicyDocument"] for each in own]
    for policy in deployed("AWS::IAM::Policy").values():
        if f'"{role}"' in json.dumps(policy["Roles"]):
            documents.append(policy["PolicyDocument"])
    for document in documents:
        yield from map(chosen, document["Statement"])


def allowed(role: str, action: str) -> list[dict[str, Any]]:
    return [each for each in statements_of(role) if action in listed(each.get("Action", []))]


FUNCTION_ROLES = [name for name in resources("AWS::IAM::Role") if name.endswith("FunctionRole")]


# --- several stacks in one account
def test_schedules_are_named_by_their_stack() -> None:
    schedules = deployed("AWS::Scheduler::Schedule")
    assert len(schedules) == 3
    # Without a name, CloudFormation makes one from the names of the stack and the schedule.
    assert all("Name" not in each for each in schedules.values())


def test_the_first_poll_comes_at_once() -> None:
    schedule = deployed("AWS::Scheduler::Schedule")["PollQueuesFunctionEveryMinute"]
    assert (schedule["ScheduleExpression"], "StartDate" in schedule) == ("rate(1 minute)", False)


def test_every_interval_of_polls_divides_a_minute() -> None:
    interval = template()["Parameters"]["PollIntervalSeconds"]
    assert (interval["Default"], interval["AllowedValues"]) == (15, [60, 30, 20, 15, 10, 5])
    for seconds in interval["AllowedValues"]:
        polls = Polls(poll_interval_seconds=seconds, ticks_queue_url="q" * (seconds < 60))
        assert [0, *polls.delays, 60] == list(range(0, 61, seconds))


def test_ticks_go_to_the_poller_and_are_soon_forgotten() -> None:
    queue, mapping = deployed("AWS::SQS::Queue")["Ticks"], transformed()["Resources"]["TicksMapping"]
    timeout = transformed()["Resources"]["PollQueuesFunction"]["Properties"]["Timeout"]
    assert 6 * timeout <= queue["VisibilityTimeout"]
    assert (
        queue["MessageRetentionPeriod"] <= 120 < queue["VisibilityTimeout"]
    )  # so a tick that fails does not come again
    assert "RedrivePolicy" not in queue
    assert mapping["Properties"]["ScalingConfig"] == {"MaximumConcurrency": 2}
    # Ticks come neither before the setup was checked nor after the agent was reported as killed, and Lambda refuses a
    # mapping for a function without the permissions.
    assert set(mapping["DependsOn"]) == {"Setup", "LaunchAgent", "SendTicks"}
    (sending,) = allowed("PollQueuesFunctionRole", "sqs:SendMessage")
    needed = {"sqs:SendMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"}
    assert (set(sending["Action"]), sending["Resource"]) == (needed, {"Fn::GetAtt": ["Ticks", "Arn"]})
    for name in ("Ticks", "TicksMapping", "SendTicks"):
        assert transformed()["Resources"][name]["Condition"] == "PollsBetweenMinutes"


def test_a_schedule_says_what_it_sends() -> None:
    assert {each["Target"]["Input"] for each in deployed("AWS::Scheduler::Schedule").values()} == {"{}"}


def test_nothing_else_has_a_name_that_a_second_stack_would_need() -> None:
    # A literal name in the template would be the same in every stack; a reference contains the stack's name.
    named = re.compile(r"(Function|Role|Table|Bucket|Queue|Topic|StateMachine|Repository|Alarm|Project)Name|Name")
    for name, each in transformed()["Resources"].items():
        given = {key: value for key, value in each["Properties"].items() if named.fullmatch(key)}
        assert not [value for value in given.values() if isinstance(value, str)], name


def test_log_groups_have_names_that_no_earlier_stack_can_have_left_behind() -> None:
    groups = deployed("AWS::Logs::LogGroup")
    assert groups
    assert all("AWS::StackId" in json.dumps(each["LogGroupName"]) for each in groups.values())


@pytest.mark.parametrize("role", FUNCTION_ROLES)
def test_a_function_can_write_its_log_and_cannot_make_a_log_group(role: str) -> None:
    assert not allowed(role, "logs:CreateLogGroup")
    (written,) = allowed(role, "logs:PutLogEvents")
    assert written["Resource"] == {"Fn::GetAtt": ["FunctionsLogGroup", "Arn"]}


def test_every_function_has_a_role_of_its_own() -> None:
    roles = [json.dumps(each["Role"]) for each in deployed("AWS::Lambda::Function").values()]
    assert len(set(roles)) == len(roles) == len(FUNCTION_ROLES)


# --- the events that wake a function
def rendered(value: Any) -> Any:
    """A pattern with the stack's name filled in."""
    if isinstance(value, dict):
        return STACK if value == {"Ref": "AWS::StackName"} else {key: rendered(item) for key, item in value.items()}
    return [rendered(item) for item in value] if isinstance(value, list) else value


@cache
def status_pattern() -> dict[str, Any]:
    rules = deployed("AWS::Events::Rule")
    return dict(rendered(rules["ResumeRunFunctionTrainingJobStateChange"]["EventPattern"]))


NO_TAGS = object()
OURS = {"WandbRunId": "r", "LaunchStack": STACK}
FOREIGN = {"WandbRunId": "r", "LaunchStack": "theirs"}


def as_list(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


@cache
def matches() -> dict[str, bool]:
    """Whether the pattern matches an event with each of these tags, according to the embedded AWS."""
    detail = {"TrainingJobName": "job", "FailureReason": None, "TrainingEndTime": None}
    details = {name: detail if tags is NO_TAGS else {**detail, "Tags": tags} for name, tags in TAGS.items()}
    known = {"Source": "aws.sagemaker", "DetailType": "SageMaker Training Job State Change"}
    events = [{**known, "Detail": json.dumps(each)} for each in details.values()]
    given = json.dumps([status_pattern(), events])
    command = [str(CLOUD_PYTHON), "-c", _MATCH]
    printed = subprocess.run(command, input=given, capture_output=True, text=True, check=True).stdout
    return dict(zip(details, json.loads(printed), strict=True))


TAGS: dict[str, Any] = {
    "our map": OURS,
    "our list": as_list(OURS),
    "no tags": NO_TAGS,
    "null": None,
    "an empty map": {},
    "an empty list": [],
    "a map of another stack": FOREIGN,
    "a list of another stack": as_list(FOREIGN),
    "a list in which our name is another tag's": as_list({"LaunchStack": "theirs", "Project": STACK}),
    "a list of another's without a stack": as_list({"Project": "p"}),
    "a map without a stack": {"Project": "p"},
}


@pytest.mark.parametrize("tags", ["our map", "our list"])
def test_events_of_our_jobs_arrive_however_their_tags_are_written(tags: str) -> None:
    assert matches()[tags]


@pytest.mark.parametrize("tags", ["no tags", "null", "an empty map", "an empty list", "a map without a stack"])
def test_events_without_tags_arrive_and_are_settled_by_the_function(tags: str) -> None:
    assert matches()[tags]


@pytest.mark.parametrize("tags", [name for name in TAGS if "another" in name])
def test_events_of_other_stacks_do_not_arrive(tags: str) -> None:
    assert not matches()[tags]


def test_the_pattern_is_within_the_limits_of_eventbridge() -> None:
    longest = {"Ref": "AWS::StackName"}, "s" * 128
    text = json.dumps(deployed("AWS::Events::Rule")["ResumeRunFunctionTrainingJobStateChange"]["EventPattern"])
    assert len(text.replace(json.dumps(longest[0]), json.dumps(longest[1]))) < 4096


# --- who may do what
def test_what_is_traced_may_write_traces_from_the_first_moment() -> None:
    (statement,) = deployed("AWS::IAM::ManagedPolicy")["Trace"]["PolicyDocument"]["Statement"]
    assert "xray:PutTraceSegments" in statement["Action"]
    assert holders_of("Traces", "Trace") == {*FUNCTION_ROLES, "LaunchRunRole"}


def test_what_is_in_a_vpc_may_connect_to_it_from_the_first_moment() -> None:
    assert holders_of("InVpc", "ConnectToVpc") == set(FUNCTION_ROLES)
    assert allowed("BuildRole", "ec2:CreateNetworkInterfacePermission")


def test_the_code_of_a_function_cannot_change_network_interfaces() -> None:
    connects, _, denied = deployed("AWS::IAM::ManagedPolicy")["ConnectToVpc"]["PolicyDocument"]["Statement"]
    assert (denied["Effect"], denied["Resource"]) == ("Deny", "*")
    assert denied["Action"] == connects["Action"]
    assert denied["Condition"] == {"Null": {"lambda:SourceFunctionArn": False}}


def holders_of(condition: str, policy: str) -> set[str]:
    """The roles to which a managed policy is attached on a condition."""
    given = {"Fn::If": [condition, {"Ref": policy}, {"Ref": "AWS::NoValue"}]}
    return {name for name, role in deployed("AWS::IAM::Role").items() if given in role.get("ManagedPolicyArns", [])}


def test_every_role_has_the_path_and_the_boundary_of_the_account() -> None:
    boundary = {"Fn::If": ["HasBoundary", {"Ref": "PermissionsBoundaryArn"}, {"Ref": "AWS::NoValue"}]}
    path = {"Fn::If": ["HasRolePath", {"Ref": "RolePath"}, {"Ref": "AWS::NoValue"}]}
    for name, role in deployed("AWS::IAM::Role").items():
        assert (role["Path"], role["PermissionsBoundary"]) == (path, boundary), name
    for name, policy in deployed("AWS::IAM::ManagedPolicy").items():
        assert policy["Path"] == path, name


def test_every_function_and_every_build_is_in_the_vpc_of_the_account() -> None:
    functions = deployed("AWS::Lambda::Function").items()
    networks = {name: each["VpcConfig"] for name, each in (*functions, *deployed("AWS::CodeBuild::Project").items())}
    assert len(networks) == len(FUNCTION_ROLES) + 1
    assert {each["Fn::If"][0] for each in networks.values()} == {"InVpc"}


def test_everything_that_holds_data_can_have_the_key_of_the_account() -> None:
    kinds = ("S3::Bucket", "DynamoDB::Table", "Logs::LogGroup", "SQS::Queue", "SNS::Topic")
    for kind in kinds:
        for name, each in resources(f"AWS::{kind}").items():
            assert "HasDataKey" in json.dumps(each), name


def test_the_key_of_the_account_is_used_through_its_services_only() -> None:
    through = set()
    for role in deployed("AWS::IAM::Role"):
        for statement in statements_of(role):
            if statement["Resource"] == {"Ref": "DataKmsKeyArn"} and statement["Action"] != "kms:DescribeKey":
                through.add(statement["Condition"]["StringEquals"]["kms:ViaService"]["Fn::Sub"].partition(".")[0])
    assert through == {"dynamodb", "s3", "sqs"}


def test_who_uses_a_table_a_bucket_or_a_queue_can_use_its_key() -> None:
    through = {
        "dynamodb": "kms:Decrypt",
        "s3:GetObject": "kms:Decrypt",
        "s3:PutObject": "kms:GenerateDataKey",
        "sqs": "kms:Decrypt",
        "sqs:SendMessage": "kms:GenerateDataKey",
    }
    for role in deployed("AWS::IAM::Role"):
        actions = {action for each in statements_of(role) for action in listed(each["Action"])}
        for used, on_key in through.items():
            service = used.partition(":")[0]
            can = any(f'"{service}.$' in json.dumps(each.get("Condition")) for each in allowed(role, on_key))
            assert can == any(action.startswith(used) for action in actions), (role, used)


def test_a_function_may_send_to_its_destination_before_it_is_given_one() -> None:
    for name, config in deployed("AWS::Lambda::EventInvokeConfig").items():
        if "OnFailure" in config["DestinationConfig"]:
            assert transformed()["Resources"][config["FunctionName"]["Ref"]]["DependsOn"] == "SendFailedEvents", name
    assert allowed("ResumeRunFunctionRole", "sqs:SendMessage")


def test_only_the_rules_that_keep_failed_events_may_send_to_their_queue() -> None:
    keeping = [
        name
        for name, rule in deployed("AWS::Events::Rule").items()
        if any("FailedEvents" in json.dumps(target.get("DeadLetterConfig")) for target in rule["Targets"])
    ]
    (policy,) = deployed("AWS::SQS::QueuePolicy").values()
    (statement,) = policy["PolicyDocument"]["Statement"]
    assert policy["Queues"] == [{"Ref": "FailedEvents"}]
    assert statement["Principal"] == {"Service": "events.amazonaws.com"}
    assert (statement["Action"], statement["Resource"]) == (
        "sqs:SendMessage",
        {"Fn::GetAtt": ["FailedEvents", "Arn"]},
    )
    sources = [{"Fn::GetAtt": [name, "Arn"]} for name in sorted(keeping)]
    assert sorted(statement["Condition"]["ArnEquals"]["aws:SourceArn"], key=str) == sources
    assert len(sources) == len(deployed("AWS::Events::Rule"))


@pytest.mark.parametrize("role", ["LaunchRunRole", "SchedulesRole", "TrainingRole"])
def test_a_service_takes_a_role_for_this_account_only(role: str) -> None:
    (statement,) = deployed("AWS::IAM::Role")[role]["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Condition"] == {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}


def test_a_training_job_is_created_with_our_tag_and_stopped_by_it() -> None:
    (create,) = allowed("StartTrainingFunctionRole", "sagemaker:CreateTrainingJob")
    (tag,) = allowed("StartTrainingFunctionRole", "sagemaker:AddTags")
    ours = {"Ref": "AWS::StackName"}
    assert create["Condition"]["StringEquals"] == {"aws:RequestTag/LaunchStack": ours}
    # A caller who can tag another's job could stop it.
    assert tag["Condition"]["StringEquals"]["sagemaker:TaggingAction"] == "CreateTrainingJob"
    stopping = [stop for role in FUNCTION_ROLES for stop in allowed(role, "sagemaker:StopTrainingJob")]
    assert stopping
    assert all(stop["Condition"] == {"StringEquals": {"aws:ResourceTag/LaunchStack": ours}} for stop in stopping)


@pytest.mark.parametrize("role", FUNCTION_ROLES)
def test_a_function_reaches_the_items_of_the_table_that_its_step_is_about(role: str) -> None:
    kinds = {
        key
        for statement in statements_of(role)
        if statement["Resource"] == {"Fn::GetAtt": ["Runs", "Arn"]}
        for operator in statement["Condition"].values()
        for key in operator["dynamodb:LeadingKeys"]
    }
    checks, retires = role == "CheckSetupFunctionRole", role == "RetireAgentFunctionRole"
    counts_slots = not checks and role not in (
        *("StartTrainingFunctionRole", "ResumeRunFunctionRole", "AdvanceSweepsFunctionRole"),
    )
    builds = not (checks or retires) and role not in (
        *("PollQueuesFunctionRole", "ResumeRunFunctionRole", "RelaunchRunFunctionRole", "AdvanceSweepsFunctionRole"),
    )
    sweeps = role == "SweepRunsFunctionRole"
    prices = role.removesuffix("FunctionRole") in ("PlanRun", "ReportOutcome", "ResumeRun", "SweepRuns")
    kept = {"image#*": builds, "price#*": prices, "sweep": sweeps}
    kept["instances#*"] = role == "StartTrainingFunctionRole"
    expected = {"run#*": not (checks or retires), "agent#*": counts_slots, **kept}
    assert kinds == {key for key, reached in expected.items() if reached}


def test_the_training_role_pulls_from_this_account_and_the_listed_ones() -> None:
    (pull,) = allowed("TrainingRole", "ecr:BatchGetImage")
    accounts = {"Fn::Split": [",", {"Fn::Sub": "${AWS::AccountId},${BaseImageAccounts}"}]}
    assert pull["Condition"] == {"StringEquals": {"aws:ResourceAccount": accounts}}
    assert template()["Parameters"]["BaseImageAccounts"]["Default"].startswith("763104351884,")


def test_the_training_role_writes_to_the_log_of_training_jobs_only() -> None:
    actions = {action for each in statements_of("TrainingRole") for action in listed(each["Action"])}
    assert {action for action in actions if action.startswith("logs:")} == {
        *("logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents")
    }
    for statement in allowed("TrainingRole", "logs:PutLogEvents"):
        assert statement["Resource"]["Fn::Sub"].endswith(":log-group:/aws/sagemaker/TrainingJobs:*")


@pytest.mark.parametrize("role", ["StartTrainingFunctionRole", "TrainingRole"])
def test_the_key_of_volumes_is_granted_to_aws_through_sagemaker_only(role: str) -> None:
    (grant,) = allowed(role, "kms:CreateGrant")
    assert grant["Resource"] == {"Ref": "VolumeKmsKeyArn"}
    assert grant["Condition"]["StringEquals"] == {
        # In lower case, because IAM's comparison is case-sensitive.
        "kms:ViaService": {"Fn::Sub": "sagemaker.${AWS::Region}.${AWS::URLSuffix}"}
    }
    assert grant["Condition"]["Bool"] == {"kms:GrantIsForAWSResource": True}
    assert transformed()["Resources"]["UseVolumeKey"]["Condition"] == "HasVolumeKey"


@pytest.mark.parametrize("role", [*FUNCTION_ROLES, "BuildRole"])
def test_the_key_of_secrets_decrypts_through_secrets_manager_only(role: str) -> None:
    (decrypt,) = [each for each in allowed(role, "kms:Decrypt") if each["Resource"] == {"Ref": "SecretKmsKeyArn"}]
    through = {"Fn::Sub": "secretsmanager.${AWS::Region}.${AWS::URLSuffix}"}
    assert decrypt["Condition"] == {"StringEquals": {"kms:ViaService": through}}


def test_every_role_that_queues_may_name_can_be_passed() -> None:
    (passing,) = allowed("StartTrainingFunctionRole", "iam:PassRole")
    made, named = passing["Resource"]["Fn::If"][1:]
    assert made == [{"Fn::GetAtt": ["TrainingRole", "Arn"]}]
    assert named == {"Fn::Split": [",", {"Ref": "TrainingRoleArns"}]}


def test_network_interfaces_are_for_training_in_a_vpc() -> None:
    assert allowed("TrainingRole", "ec2:CreateNetworkInterface")
    assert transformed()["Conditions"]["TrainsInVpcWithRole"]["Fn::And"][1] == {
        "Fn::Equals": [{"Ref": "TrainingInVpc"}, "true"]
    }
    assert transformed()["Resources"]["TrainInVpc"]["Condition"] == "TrainsInVpcWithRole"


@pytest.mark.parametrize(("custom", "function"), [("LaunchAgent", "RetireAgent"), ("Setup", "CheckSetup")])
def test_a_custom_resource_is_there_before_the_schedules_and_after_what_its_function_needs(
    custom: str, function: str
) -> None:
    resource = template()["Resources"][custom]["Properties"]
    assert custom in template()["Resources"]["SchedulesRole"]["DependsOn"]
    timeout = template()["Resources"][f"{function}Function"]["Properties"]["Timeout"]
    assert resource["ServiceTimeout"] > 2 * timeout
    named = json.dumps(resource["Permissions"])
    for name, policy in deployed("AWS::IAM::Policy").items():
        if f'"{function}FunctionRole"' in json.dumps(policy["Roles"]):
            assert f'{{"Ref": "{name}"}}' in named, name


def test_the_setup_is_checked_again_when_what_the_check_reads_changes() -> None:
    properties = json.dumps(template()["Resources"]["Setup"]["Properties"])
    function = template()["Resources"]["CheckSetupFunction"]["Properties"]["Environment"]["Variables"]
    shared = template()["Globals"]["Function"]["Environment"]["Variables"]
    read = [function, shared["IMAGE_REPOSITORY"], shared["WANDB_API_KEY_SECRET"], shared["WANDB_BASE_URL"]]
    parameters = {name for name in template()["Parameters"] if f'"{name}"' in json.dumps(read)}
    assert {"TrainingRoleArns", "BuildComputeType", "WandbBaseUrl"} <= parameters
    assert [name for name in parameters if f'"Ref": "{name}"' not in properties] == []


# --- parameters
SECRET = "arn:aws:secretsmanager:us-east-1:123456789012:secret:wandb-key"
ROLE = "arn:aws-cn:iam::123456789012:role/service-role/Train"


@pytest.mark.parametrize(
    ("name", "taken", "refused"),
    [
        ("WandbApiKeySecretArn", [f"{SECRET}-AbC123"], ["", SECRET, f"{SECRET}-AbC12", "wandb-key"]),
        ("RunApiKeySecretArn", ["", f"{SECRET}-AbC123"], [SECRET]),
        ("RunSecretArns", ["", f"{SECRET}-AbC123", f"{SECRET}-AbC123,{SECRET}-AbC124"], [SECRET, f"{SECRET}-AbC123,"]),
        ("GitCredentialsSecretArn", ["", f"{SECRET}-AbC123"], [SECRET]),
        ("TrainingRoleArns", ["", ROLE, f"{ROLE},{ROLE}2"], [f"{ROLE}, {ROLE}", f"{ROLE},", "Train"]),
        ("InputBucketArns", ["", "arn:aws:s3:::a-b", "arn:aws:s3:::a,arn:aws:s3:::b.c"], ["a-b", "arn:aws:s3:::a/*"]),
        ("BaseImageAccounts", ["", "763104351884", "763104351884,123456789012"], ["1", "763104351884, 123456789012"]),
        ("VolumeKmsKeyArn", ["", "arn:aws:kms:us-east-1:123456789012:key/1-2"], ["arn:aws:kms:us-east-1:1:alias/a"]),
        ("SecretKmsKeyArn", ["", "arn:aws:kms:us-east-1:123456789012:key/1-2"], ["alias/a"]),
        ("DataKmsKeyArn", ["", "arn:aws:kms:us-east-1:123456789012:key/1-2"], ["alias/a"]),
        ("PermissionsBoundaryArn", ["", "arn:aws:iam::123456789012:policy/a/b", "arn:aws:iam::aws:policy/B"], ["b"]),
        ("RolePath", ["/", "/a/", "/a/b-c/"], ["", "a", "/a", "//"]),
        ("HttpsProxy", ["", "http://p.example.com:3128"], ["p.example.com", "http://me:secret@p:1", "http://p/a"]),
        ("NoProxy", ["", ".amazonaws.com,10.0.0.1"], [".amazonaws.com, a"]),
        ("VpcId", ["", "vpc-0a1b2c3d"], ["0a1b2c3d"]),
        ("SubnetIds", ["", "subnet-0a", "subnet-0a,subnet-0b"], ["subnet-0a, subnet-0b", "subnet-0a,", "0a"]),
        ("SecurityGroupIds", ["", "sg-0a", "sg-0a,sg-0b"], ["sg-0a, sg-0b", "sg-0a,sg-0b,sg-0c,sg-0d,sg-0e,sg-0f"]),
    ],
)
def test_a_parameter_takes_what_can_work_and_refuses_the_rest(name: str, taken: list[str], refused: list[str]) -> None:
    pattern = template()["Parameters"][name]["AllowedPattern"]
    assert all(re.search(pattern, value) for value in taken)
    assert not any(re.search(pattern, value) for value in refused)


def test_no_parameter_holds_the_api_key() -> None:
    assert not [name for name, each in template()["Parameters"].items() if each.get("NoEcho")]


def holds(rule: dict[str, Any], given: dict[str, str]) -> bool:
    """Whether an assertion of a rule holds for these parameters."""
    (kind, parts), *_ = rule.items()
    if kind == "Fn::Equals":
        reference, value = parts
        return bool(given[reference["Ref"]] == value)
    if kind == "Fn::Not":
        return not holds(parts[0], given)
    return (all if kind == "Fn::And" else any)(holds(each, given) for each in parts)


@pytest.mark.parametrize(
    ("vpc", "subnets", "groups", "is_taken"),
    [("", "", "", True), ("v", "s", "g", True), ("v", "s", "", False), ("", "s", "g", False), ("v", "", "g", False)],
)
def test_a_network_is_named_as_a_whole_or_not_at_all(vpc: str, subnets: str, groups: str, is_taken: bool) -> None:
    (assertion,) = template()["Rules"]["NetworkIsComplete"]["Assertions"]
    given = {"VpcId": vpc, "SubnetIds": subnets, "SecurityGroupIds": groups}
    assert holds(assertion["Assert"], given) == is_taken


# --- retention and alarms
def test_what_holds_data_stays_when_the_stack_is_deleted_and_goes_when_it_never_was() -> None:
    kinds = ("AWS::S3::Bucket", "AWS::DynamoDB::Table", "AWS::ECR::Repository")
    # Run specs and plans can contain secrets, so they must not be kept.
    kept = [each for name, each in template()["Resources"].items() if each["Type"] in kinds and name != "RunDetails"]
    assert len(kept) == 5
    assert {each["DeletionPolicy"] for each in kept} == {"RetainExceptOnCreate"}
    assert {each["UpdateReplacePolicy"] for each in kept} == {"Retain"}


def test_without_a_key_of_the_account_tables_are_encrypted_with_the_one_that_costs_nothing() -> None:
    for table in resources("AWS::DynamoDB::Table").values():
        condition, _, otherwise = table["SSESpecification"]["Fn::If"]
        assert (condition, otherwise) == ("HasDataKey", {"Ref": "AWS::NoValue"})


def test_links_lead_to_the_console_of_the_partition() -> None:
    hosts = {name: each["Console"] for name, each in template()["Mappings"]["Partitions"].items()}
    assert hosts == {
        "aws": "console.aws.amazon.com",
        "aws-cn": "console.amazonaws.cn",
        "aws-us-gov": "console.amazonaws-us-gov.com",
    }
    assert "console.aws" not in json.dumps(template()["Outputs"])


def test_an_alarm_tells_of_errors_of_every_function() -> None:
    alarms = resources("AWS::CloudWatch::Alarm").values()
    watched = [each["Dimensions"][0]["Value"]["Ref"] for each in alarms if each["MetricName"] == "Errors"]
    # These run while someone deploys or deletes the stack, and sees their errors.
    assert sorted([*watched, "CheckSetupFunction", "RetireAgentFunction"]) == sorted(
        resources("AWS::Serverless::Function")
    )


def test_an_alarm_tells_of_polls_that_do_not_happen() -> None:
    alarm = resources("AWS::CloudWatch::Alarm")["PollsStop"]
    assert (alarm["MetricName"], alarm["TreatMissingData"]) == ("Invocations", "breaching")
    assert alarm["Dimensions"] == [{"Name": "FunctionName", "Value": {"Ref": "PollQueuesFunction"}}]


def test_an_alarm_tells_of_launches_that_fail() -> None:
    alarm = resources("AWS::CloudWatch::Alarm")["ExecutionsFail"]
    assert alarm["Dimensions"] == [{"Name": "StateMachineArn", "Value": {"Ref": "LaunchRun"}}]


def test_every_alarm_notifies_the_topic() -> None:
    for name, alarm in resources("AWS::CloudWatch::Alarm").items():
        where = {"Fn::If": ["MakesAlarmTopic", {"Ref": "Alarms"}, {"Ref": "AlarmTopicArn"}]}
        assert alarm["AlarmActions"] == alarm["OKActions"] == [where], name


def test_credentials_that_no_function_could_delete_expire_after_the_longest_job() -> None:
    (rule,) = resources("AWS::S3::Bucket")["CredentialsBucket"]["LifecycleConfiguration"]["Rules"]
    # 28 days for a job to start, and 28 days to run.
    assert rule["ExpirationInDays"] >= 28 + 28
    assert (rule["Status"], rule.get("Prefix")) == ("Enabled", None)
