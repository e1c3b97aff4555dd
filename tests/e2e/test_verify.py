"""`make verify`: it proves with a small job that a stack works, and says what is wrong with a broken stack."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from botocore.exceptions import WaiterError

from local.stack import DEMO_KEY, ROOT, STACK_NAME
from tests.e2e.conftest import ENTITY, QUEUE, Application, booted_application
from tests.terminal import Terminal

COMMAND = [sys.executable, "-m", "operate", "verify", "--stack", STACK_NAME]


@pytest.fixture(scope="module")
def deployed_application(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    """A stack to break."""
    with booted_application(tmp_path_factory.mktemp("cloud")) as application:
        yield application


def environment(app: Application) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "WANDB_"))}
    path = os.pathsep.join([str(ROOT / "layers/launch_agent"), str(ROOT)])
    return {**kept, **app.deployed.cloud.environment, "PYTHONPATH": path}


def verify(app: Application, *options: str) -> tuple[int, str]:
    """Run it without a terminal, its output in a pipe; return its exit code and its output."""
    how: Any = {"cwd": ROOT, "env": environment(app), "stdin": subprocess.DEVNULL, "text": True, "timeout": 100}
    try:
        done = subprocess.run(
            [*COMMAND, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, **how
        )
    except subprocess.TimeoutExpired as error:
        pytest.fail(f"it did not end: {error.stdout!r}")
    assert DEMO_KEY not in done.stdout
    assert "Traceback" not in done.stdout
    return done.returncode, done.stdout


def left_behind(app: Application) -> list[str]:
    """The rules and queues that verifying created and did not remove."""
    client = app.deployed.cloud.client
    rules = [each["Name"] for each in client("events").list_rules()["Rules"]]
    return [name for name in [*rules, *client("sqs").list_queues().get("QueueUrls", [])] if "verify" in name]


class Proof(NamedTuple):
    """What the command printed, the events that it kept, and the log of its run, which some cases below delete."""

    said: str
    events: str
    log: str

    @property
    def run_id(self) -> str:
        (run_id,) = re.findall(rf"It works\. The run is in W&B: {ENTITY}/launch-verify/(\S+)", self.said)
        return str(run_id)


@pytest.fixture(scope="module")
def proven(deployed_application: Application, tmp_path_factory: pytest.TempPathFactory) -> Proof:
    """The proof of a working stack that has no images yet."""
    with missing_repository(deployed_application):
        pass
    path = tmp_path_factory.mktemp("kept") / "events.json"
    code, said = verify(deployed_application, "--yes", "--keep", str(path))
    assert code == 0, said
    proof = Proof(said, path.read_text(), "")
    code, log = operate(deployed_application, "logs", "--run", proof.run_id)
    assert code == 0, log
    return proof._replace(log=log)


def test_a_stack_that_works_is_proven(app: Application, proven: Proof) -> None:
    said = proven.said
    steps = ["Queueing, and waiting for a poll", "Plan run", "Build image", "Train", "Report outcome", "Total"]
    assert re.findall(r"^([A-Z].*?) +\d+ s", said, re.MULTILINE) == steps  # a line of the progress begins with the time
    assert re.search(r"Build image .* s  about \$0\.010 for 1 min of BUILD_GENERAL1_MEDIUM\n", said)
    assert re.search(r"Train .* s  about \$0\.\d+ for \d+ billable s of ml\.m5\.large\n", said)
    assert re.search(r"Status events that arrived +\d+ +.*Training.*Completed\n", said)
    project = app.server.state.find_project(ENTITY, "launch-verify")
    assert project
    run = project.run(proven.run_id)
    assert run
    assert run.state == "finished"


def test_the_events_are_kept_as_they_came_but_for_ids(app: Application, proven: Proof) -> None:
    text = proven.events
    events = json.loads(text)
    assert [each["detail"]["status"] for each in events if each["source"] == "aws.states"] == ["RUNNING", "SUCCEEDED"]
    of_job = [each["detail"] for each in events if each["source"] == "aws.sagemaker"]
    assert {"Starting", "Training", "Completed"} <= {each["SecondaryStatus"] for each in of_job}
    assert not any(word in text for word in (proven.run_id, DEMO_KEY, *app.server.state.items, "000000000000"))
    assert left_behind(app) == []


def test_a_rule_sends_to_a_queue_only_as_far_as_the_queues_policy_lets_it(app: Application) -> None:
    events, sqs = (app.deployed.cloud.client(service) for service in ("events", "sqs"))
    rule = events.put_rule(Name="to-queues", EventPattern=json.dumps({"source": ["tests"]}))["RuleArn"]
    allow = {"Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Action": "sqs:SendMessage"}
    condition = {"Condition": {"ArnEquals": {"aws:SourceArn": rule}}}
    queues = {}
    for name, policy in {"closed": {}, "open": {"Policy": json.dumps({"Statement": [{**allow, **condition}]})}}.items():
        queues[name] = sqs.create_queue(QueueName=name, Attributes=policy)["QueueUrl"]
        arn = rule.replace(":events:", ":sqs:").replace("rule/to-queues", name)
        events.put_targets(Rule="to-queues", Targets=[{"Id": name, "Arn": arn}])
    events.put_events(Entries=[{"Source": "tests", "DetailType": "a test", "Detail": "{}"}])
    received = sqs.receive_message(QueueUrl=queues["open"], WaitTimeSeconds=10)["Messages"]
    assert json.loads(received[0]["Body"])["source"] == "tests"
    assert "Messages" not in sqs.receive_message(QueueUrl=queues["closed"])
    events.remove_targets(Rule="to-queues", Ids=list(queues))
    events.delete_rule(Name="to-queues")
    for queue in queues.values():
        sqs.delete_queue(QueueUrl=queue)


@pytest.mark.usefixtures("proven")
def test_an_interrupted_command_says_what_continues(app: Application, tmp_path: Path) -> None:
    known = set(app.server.state.items)
    terminal = Terminal([*COMMAND, "--keep", str(tmp_path / "events.json")], ROOT, environment(app))
    terminal.answer("Queue it now? [Y/n]", "y")
    terminal.answer("Waiting for a poll", "\x03")
    assert terminal.ended(within=60) == 130, terminal.shown
    assert re.search(r"If the run verify-\w+ was queued, it continues, at the cost stated above\.", terminal.shown)
    assert terminal.shown.endswith("Stopped.\n")
    assert "Traceback" not in terminal.shown
    assert left_behind(app) == []
    assert isinstance(json.loads((tmp_path / "events.json").read_text()), list)
    (item_id,) = set(app.server.state.items) - known
    app.ended(app.server.state.items[item_id])


def test_nothing_is_queued_without_an_answer(app: Application) -> None:
    queued = len(app.server.state.items)
    code, said = verify(app)
    assert (code, "There is no terminal to ask in. Confirm with ARGS=--yes." in said) == (1, True)
    terminal = Terminal(COMMAND, ROOT, environment(app))
    terminal.answer("Queue it now? [Y/n]", "n")
    assert terminal.ended(within=60) == 1, terminal.shown
    assert f"{ENTITY}/launch-verify" in terminal.shown
    assert "It costs a few cents." in " ".join(terminal.shown.split())
    assert "Nothing was queued." in terminal.shown
    assert len(app.server.state.items) == queued


# --- the faults, and the message for each
@contextmanager
def refused_key(app: Application) -> Iterator[None]:
    app.server.api_key = "another" * 6
    try:
        yield
    finally:
        app.server.api_key = DEMO_KEY


@contextmanager
def missing_secret(app: Application) -> Iterator[None]:
    secrets = app.deployed.cloud.client("secretsmanager")
    secrets.delete_secret(SecretId=f"{STACK_NAME}/wandb-api-key")
    try:
        yield
    finally:
        secrets.restore_secret(SecretId=f"{STACK_NAME}/wandb-api-key")


@contextmanager
def missing_queue(app: Application) -> Iterator[None]:
    queues = app.server.state.project(ENTITY, "model-registry").queues
    queue = queues.pop(QUEUE)
    try:
        yield
    finally:
        queues[QUEUE] = queue


def configured(resource: str = "sagemaker", **change: Any) -> "Break":
    """A queue of another resource, or with another configuration; without `change`, with no configuration."""

    @contextmanager
    def broken(app: Application) -> Iterator[None]:
        own = json.loads(app.deployed.outputs["QueueConfiguration"])
        app.server.create_queue(QUEUE, resource=resource, config={**own, **change} if change else {})
        try:
            yield
        finally:
            app.server.create_queue(QUEUE, config=own)

    return broken


@contextmanager
def role_that_trusts_another_service(app: Application) -> Iterator[None]:
    iam, name = app.deployed.cloud.client("iam"), training_role(app)
    trust = json.dumps(iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"])
    iam.update_assume_role_policy(RoleName=name, PolicyDocument=trust.replace("sagemaker", "lambda"))
    try:
        yield
    finally:
        iam.update_assume_role_policy(RoleName=name, PolicyDocument=trust)


@contextmanager
def missing_role(app: Application) -> Iterator[None]:
    iam, name = app.deployed.cloud.client("iam"), training_role(app)
    trust = json.dumps(iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"])
    names = iam.list_role_policies(RoleName=name)["PolicyNames"]
    policies = {each: iam.get_role_policy(RoleName=name, PolicyName=each)["PolicyDocument"] for each in names}
    for each in policies:
        iam.delete_role_policy(RoleName=name, PolicyName=each)
    iam.delete_role(RoleName=name)
    try:
        yield
    finally:
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)
        for each, document in policies.items():
            iam.put_role_policy(RoleName=name, PolicyName=each, PolicyDocument=json.dumps(document))


def training_role(app: Application) -> str:
    return str(json.loads(app.deployed.outputs["QueueConfiguration"])["RoleArn"]).rpartition("/")[2]


def bucket(*, elsewhere: bool) -> "Break":
    """A bucket that was deleted or, if `elsewhere`, recreated in another region."""

    @contextmanager
    def broken(app: Application) -> Iterator[None]:
        cloud = app.deployed.cloud
        s3 = cloud.client("s3")
        own = json.loads(app.deployed.outputs["QueueConfiguration"])
        name = own["OutputDataConfig"]["S3OutputPath"].split("/")[2]
        for each in s3.list_objects_v2(Bucket=name).get("Contents", []):
            s3.delete_object(Bucket=name, Key=each["Key"])
        s3.delete_bucket(Bucket=name)
        if elsewhere:
            s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        try:
            yield
        finally:
            if elsewhere:
                # A new client: a client that has learned a bucket's region keeps calling that region.
                cloud._replace(url=f"{cloud.url}/").client("s3").delete_bucket(Bucket=name)
            s3.create_bucket(Bucket=name)

    return broken


@contextmanager
def missing_repository(app: Application) -> Iterator[None]:
    """A repository that is gone, and then empty."""
    ecr, name = app.deployed.cloud.client("ecr"), app.deployed.outputs["ImageRepository"].partition("/")[2]
    ecr.delete_repository(repositoryName=name, force=True)
    try:
        yield
    finally:
        ecr.create_repository(repositoryName=name)


@contextmanager
def missing_repository_for_a_while(app: Application) -> Iterator[None]:
    """The images come back with it: the tests run in any order, and others need the image."""
    ecr, name = app.deployed.cloud.client("ecr"), app.deployed.outputs["ImageRepository"].partition("/")[2]
    found = ecr.batch_get_image(repositoryName=name, imageIds=ecr.list_images(repositoryName=name)["imageIds"])
    with missing_repository(app):
        yield
    for image in found["images"]:
        ecr.put_image(repositoryName=name, imageTag=image["imageId"]["imageTag"], imageManifest=image["imageManifest"])


@contextmanager
def disabled_schedule(app: Application) -> Iterator[None]:
    scheduler, name = app.deployed.cloud.client("scheduler"), physical_id(app, "PollQueuesFunctionEveryMinute")
    found = scheduler.get_schedule(Name=name)
    same = {key: found[key] for key in ("Name", "ScheduleExpression", "FlexibleTimeWindow", "Target")}
    scheduler.update_schedule(**same, State="DISABLED")
    try:
        yield
    finally:
        scheduler.update_schedule(**same, State="ENABLED")


def physical_id(app: Application, logical_id: str) -> str:
    cloudformation = app.deployed.cloud.client("cloudformation")
    found = cloudformation.describe_stack_resource(StackName=STACK_NAME, LogicalResourceId=logical_id)
    return str(found["StackResourceDetail"]["PhysicalResourceId"])


@contextmanager
def failing_poller(app: Application) -> Iterator[None]:
    lambdas, name = app.deployed.cloud.client("lambda"), app.deployed.outputs["PollQueuesFunctionName"]
    variables = lambdas.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    elsewhere = {**variables, "WANDB_BASE_URL": "http://127.0.0.1:9"}
    lambdas.update_function_configuration(FunctionName=name, Environment={"Variables": elsewhere})
    try:
        yield
    finally:
        lambdas.update_function_configuration(FunctionName=name, Environment={"Variables": variables})


@contextmanager
def stopped_polling(app: Application) -> Iterator[None]:
    agents = app.server.state.agents.values()
    for agent in agents:
        agent.stop_polling = True
    try:
        yield
    finally:
        for agent in agents:
            agent.stop_polling = False


@contextmanager
def disabled_rule(app: Application) -> Iterator[None]:
    events, name = app.deployed.cloud.client("events"), physical_id(app, "ResumeRunFunctionTrainingJobStateChange")
    events.disable_rule(Name=name)
    try:
        yield
    finally:
        events.enable_rule(Name=name)


def training(**fault: Any) -> "Break":
    """Training jobs that SageMaker refuses, or that fail."""

    @contextmanager
    def broken(app: Application) -> Iterator[None]:
        app.deployed.cloud.put_faults([{"match": "verify-", "times": 99, **fault}])
        try:
            yield
        finally:
            app.deployed.cloud.put_faults([])

    return broken


@contextmanager
def no_quota(app: Application) -> Iterator[None]:
    quota = "ml.m5.large for training job usage"
    app.deployed.cloud.put_quotas({"sagemaker": {quota: 0}})
    try:
        yield
    finally:
        app.deployed.cloud.put_quotas({"sagemaker": {quota: 1000}})


@contextmanager
def builds_off(app: Application) -> Iterator[None]:
    change_parameter(app, "BuildImages", "false")
    try:
        yield
    finally:
        change_parameter(app, "BuildImages", "true")


def change_parameter(app: Application, name: str, value: str) -> None:
    """Change a parameter of the stack as in the CloudFormation console."""
    cloudformation = app.deployed.cloud.client("cloudformation")
    now = cloudformation.describe_stacks(StackName=STACK_NAME)["Stacks"][0]["Parameters"]
    same = [{"ParameterKey": each["ParameterKey"], "UsePreviousValue": True} for each in now]
    parameters = [each for each in same if each["ParameterKey"] != name]
    cloudformation.update_stack(
        StackName=STACK_NAME,
        UsePreviousTemplate=True,
        Parameters=[*parameters, {"ParameterKey": name, "ParameterValue": value}],
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
    )
    waiter = cloudformation.get_waiter("stack_update_complete")
    waiter.wait(StackName=STACK_NAME, WaiterConfig={"Delay": 1, "MaxAttempts": 300})


Break = Callable[[Application], AbstractContextManager[None]]
NO_QUOTA = (
    "The account-level service limit 'ml.m5.large for training job usage' is 0 Instances, with current utilization of "
    "0 Instances and a request delta of 1 Instances. Please use AWS Service Quotas to request an increase."
)
BROKEN: dict[str, tuple[Break, str]] = {
    "the key is refused": (
        refused_key,
        r"W&B: W&B at \S+ rejects the API key\. .* The secret is arn:\S+\. W&B shows your key",
    ),
    "the secret is gone": (missing_secret, r"The secret arn:\S+ with the W&B API key cannot be read: .* Create it"),
    "the queue is gone": (missing_queue, "run queue sagemaker: team has no queue with this name. Create it in W&B"),
    "the queue is of another resource": (
        configured("kubernetes"),
        "run queue sagemaker: its resource is kubernetes. Create a queue",
    ),
    "the queue has no configuration": (configured(), "of run queue sagemaker: it has no configuration yet. Paste the"),
    "the role may not be passed": (
        configured(RoleArn="arn:aws:iam::000000000000:role/other"),
        r"its RoleArn is \S+role/other, which this stack may not pass. Use arn:aws:iam::000000000000:role/\S+\.",
    ),
    "the role cannot be assumed": (
        role_that_trusts_another_service,
        r"The role \S+ cannot be assumed by SageMaker\.",
    ),
    "the role is gone": (missing_role, r"The role \S+ does not exist\. Create it"),
    "the bucket is gone": (
        bucket(elsewhere=False),
        r"The bucket \S+ does not exist\. Create it in us-east-1",
    ),
    "the bucket is elsewhere": (
        bucket(elsewhere=True),
        r"The bucket \S+ is in eu-west-1, .* Name a bucket in us-east-1",
    ),
    "the repository is gone": (
        missing_repository_for_a_while,
        r"the ECR repository \S+, named by .* does not exist\. Create it",
    ),
    "the schedule is disabled": (
        disabled_schedule,
        r"The schedule \S+ for polling the run queues is disabled. Enable",
    ),
    "the poller fails": (failing_poller, r"The function \S+ failed: .*WandbUnavailable\.\n$"),
    "polling was stopped": (
        stopped_polling,
        "Polling was stopped in W&B. Resume the launch agent wandb-launch there",
    ),
    "there is no quota": (
        training(code="ResourceLimitExceeded", message=NO_QUOTA),
        r"SageMaker has no capacity for the job: .*ml\.m5\.large for training job usage.* Request a higher quota",
    ),
    "the quota of the instance type is 0": (
        no_quota,
        r'a run needs 1, but the account\'s quota "ml\.m5\.large for training job usage" is 0\. Request a higher one',
    ),
    "the job fails": (
        training(fails="AlgorithmError: no"),
        "The run failed: The training job failed: AlgorithmError: no",
    ),
    "SageMaker refuses the job": (
        training(code="ValidationException", message="No such thing."),
        "Train failed: TrainingJobRejected: SageMaker refused the training job: No such thing.",
    ),
    "builds are off": (builds_off, "The stack wandb-launch builds no images, .* Set BuildImages to true"),
}


def test_events_that_do_not_arrive_are_waited_for_and_missed(app: Application, proven: Proof) -> None:
    with disabled_rule(app):
        code, said = verify(app, "--yes")
    assert code == 1, said
    assert "  Looking for SageMaker's status events in the stack's log ... 10 s\n" in said
    assert "not needed: an earlier run built the image" in said
    last = said.splitlines()[-1]
    assert re.search(
        "no status event from SageMaker reached the stack.* Check that the stack's rule ResumeRunFunction", last
    ), said


@pytest.mark.parametrize("what", BROKEN)
@pytest.mark.usefixtures("proven")  # so that the image exists, and no case waits for its build
def test_what_is_broken_is_said_with_what_to_do(app: Application, what: str) -> None:
    broken, words = BROKEN[what]
    with broken(app):
        code, said = verify(app, "--yes")
    app.deployed.cloud.forget_denials()
    assert code == 1, said
    assert re.search(words, said.splitlines(keepends=True)[-1]), said


def operate(app: Application, *command: str) -> tuple[int, str]:
    """Run another command for the stack; return its exit code and its output."""
    run = [sys.executable, "-m", "operate", *command, "--stack", STACK_NAME]
    how: Any = {"cwd": ROOT, "env": environment(app), "stdin": subprocess.DEVNULL, "text": True, "check": False}
    done = subprocess.run(run, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **how)
    return done.returncode, done.stdout


def test_the_doctor_finds_nothing_wrong_with_a_stack_that_works_and_all_that_is_wrong_at_once(app: Application) -> None:
    code, said = operate(app, "doctor")
    assert (code, "Runs can be launched." in said) == (0, True), said
    assert {line.split()[0] for line in said.splitlines()[2:-2]} == {"ok"}
    with role_that_trusts_another_service(app), no_quota(app), disabled_schedule(app):
        code, said = operate(app, "doctor")
    assert code == 1
    assert re.findall(r"^fault +(\S+)", said, re.MULTILINE) == ["role", "quota", "the"]
    assert said.endswith("The setup has 3 faults.\n")


def test_a_missing_queue_is_created_from_the_stack(app: Application) -> None:
    with missing_queue(app):
        assert operate(app, "queue", "--push") == (0, "run queue sagemaker: exists in W&B.\n")
    printed = json.loads(operate(app, "queue")[1])
    assert printed["configuration"]["ResourceConfig"]["InstanceType"] == "{{instance_type}}"


def test_an_update_that_cannot_work_is_rolled_back_and_one_that_only_warns_is_not(app: Application) -> None:
    cloudformation = app.deployed.cloud.client("cloudformation")
    with missing_queue(app):
        change_parameter(app, "WandbInitGraceSeconds", "3")  # the check reads nothing of it
        with pytest.raises(WaiterError):
            change_parameter(app, "TrainingInVpc", "true")
        (stack,) = cloudformation.describe_stacks(StackName=STACK_NAME)["Stacks"]
        assert stack["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
        events = cloudformation.describe_stack_events(StackName=STACK_NAME)["StackEvents"]
        reasons = [each.get("ResourceStatusReason", "") for each in events if each["LogicalResourceId"] == "Setup"]
        assert any("run queue sagemaker: team has no queue with this name." in reason for reason in reasons)
        change_parameter(app, "SetupCheck", "warn")
    change_parameter(app, "SetupCheck", "fail")


@pytest.mark.usefixtures("proven")
def test_a_run_of_a_job_is_planned_from_its_name_with_its_dockerfile(app: Application) -> None:
    command = [sys.executable, "-m", "launch_agent.dry_run", "--job", f"{ENTITY}/launch-verify/verify:latest"]
    variables = {**environment(app), **app.deployed.wandb.environment}
    done = subprocess.run([*command, "--explain"], cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["build"]["job"] == f"{ENTITY}/launch-verify/verify:latest"
    assert re.search(r"^tag: [0-9a-f]{64}$", done.stderr, re.MULTILINE)
    assert "Dockerfile: generated: the job names no Dockerfile" in done.stderr
    assert re.search(r"^FROM \S*python:", done.stderr, re.MULTILINE)


def test_the_log_of_a_run_is_that_of_the_functions_its_build_and_its_job(proven: Proof) -> None:
    lines = [re.split(r"  +", line) for line in proven.log.splitlines()]
    sources = [words[1] if words[1] in ("build", "training") else words[2] for words in lines]
    steps = ("PollQueues", "PlanRun", "build", "StartTraining", "training")
    assert set(steps) <= set(sources), proven.log
    order = [sources.index(name) for name in steps]
    assert order == sorted(order)
    assert sources[-1] == "ReportOutcome"


@pytest.mark.usefixtures("proven")
def test_runs_are_watched_as_a_table_in_a_terminal_and_as_lines_elsewhere(app: Application) -> None:
    command = [sys.executable, "-m", "operate", "watch", "--stack", STACK_NAME]
    terminal = Terminal(command, ROOT, environment(app))
    terminal.answer("finished", "\x03")
    assert terminal.ended(within=30) == 0
    assert re.search(r"verify-\S+ +finished +\d+ s +ml\.m5\.large", terminal.shown)
    assert "Traceback" not in terminal.shown
    with subprocess.Popen(command, cwd=ROOT, env=environment(app), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        said = [process.stdout.readline() for _ in range(2)]
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    assert re.fullmatch(r"\d\d:\d\d:\d\d  \S+  [a-z ]+  \d.*\n", said[1]), said
