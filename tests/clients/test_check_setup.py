"""Each prerequisite of a stack, broken in turn: the real function finds it in AWS and W&B, and says what to do."""

import json
import re
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext
from moto import mock_aws

from launch_agent.clients.aws import session
from launch_agent.operations.setup import Finding, deployment_failure
from local.wandb import WandbServer
from tests.answering import Answer, AnsweringServer, answering, aws_error
from tests.handlers import loaded
from tests.simulation.test_attack import allowed_actions

ACCOUNT, REGION, ENTITY, KEY = "123456789012", "us-east-1", "team", "k" * 40
ROLE = f"arn:aws:iam::{ACCOUNT}:role/Training"
SAGEMAKER = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}
CONFIG = {
    "RoleArn": ROLE,
    "OutputDataConfig": {"S3OutputPath": "s3://outputs/output"},
    "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 30},
    "StoppingCondition": {"MaxRuntimeInSeconds": 86400},
}
BUILDS = "Concurrently running builds for Linux/Medium environment"
QUOTAS = {"ml.m5.large for training job usage": 2.0, BUILDS: 10.0}


class Account:
    """An account and a W&B server in which everything is right, and the function that checks that."""

    def __init__(
        self, server: WandbServer, url: str, quotas: AnsweringServer, stacks: AnsweringServer, folder: Path
    ) -> None:
        self.server, self.quotas, self.stacks, self._folder = server, quotas, stacks, folder
        secrets = boto3.client("secretsmanager")
        self.secret = secrets.create_secret(Name="key", SecretString=json.dumps({"api_key": KEY}))["ARN"]
        boto3.client("iam").create_role(RoleName="Training", AssumeRolePolicyDocument=json.dumps(SAGEMAKER))
        boto3.client("s3").create_bucket(Bucket="outputs")
        boto3.client("ecr").create_repository(repositoryName="images")
        kms: Any = boto3.client("kms")
        self.key = kms.create_key()["KeyMetadata"]["Arn"]
        self.kms = kms
        self.configure(entity=ENTITY, queues=["sagemaker"])
        self.queue()
        self.environment = {
            "ACCOUNT_ID": ACCOUNT,
            "BUILD_BUCKET": "builds",
            "BUILD_COMPUTE_TYPE": "BUILD_GENERAL1_MEDIUM",
            "CAPACITY_WAIT_HOURS": "24",
            "DATA_KMS_KEY_ARN": "",
            "HTTPS_PROXY": "",
            "IMAGE_REPOSITORY": f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/images",
            "NO_PROXY": "",
            "PARTITION": "aws",
            "POLL_INTERVAL_SECONDS": "15",
            "POWERTOOLS_SERVICE_NAME": "launch-agent",
            "QUEUE_CONFIGURATION": json.dumps(CONFIG),
            "REGION": REGION,
            "RUN_DETAILS_TABLE": "details",
            "CREDENTIALS_BUCKET": "credentials",
            "RUN_API_KEY_SECRET": "",
            "RUN_SECRET_ARNS": "",
            "RUNS_TABLE": "runs",
            "SECRET_KMS_KEY_ARN": "",
            "STACK_NAME": "stack",
            "TRAINING_IN_VPC": "false",
            "VPC_ID": "",
            "TRAINING_ROLE_ARNS": "",
            "VOLUME_KMS_KEY_ARN": self.key,
            "WANDB_API_KEY_SECRET": self.secret,
            "WANDB_BASE_URL": url,
            "WANDB_INIT_GRACE_SECONDS": "60",
        }

    def configure(self, **config: Any) -> None:
        (self._folder / "launch-config.yaml").write_text(json.dumps(config))

    def queue(self, name: str = "sagemaker", resource: str = "sagemaker", **change: Any) -> None:
        self.server.create_queue(name, resource=resource, config={**CONFIG, **change})

    def set_quotas(self, **values: float) -> None:
        self.quotas.answers[:] = [_quotas({**QUOTAS, **values})]

    def check(self, event: dict[str, Any] | None = None) -> list[Finding]:
        """Invoke the function; return what it found."""
        module = loaded("check_setup", self.environment)
        return [Finding.model_validate(each) for each in module.handler(event or {}, CONTEXT)]

    def change(self, kind: str, **properties: str) -> dict[str, Any]:
        """Let CloudFormation change the custom resource; return the function's answer."""
        with answering(Answer(200)) as server:
            event = {
                "RequestType": kind,
                "RequestId": "request",
                "ResponseURL": f"{server.url}/answer",
                "StackId": "stack",
                "LogicalResourceId": "Setup",
                "ResourceProperties": {"SetupCheck": "fail", "CreateQueues": "false", **properties},
            }
            self.check(event)
            (asked,) = server.asked
        assert len(asked.body) < 4096
        return dict(asked.json)


CONTEXT: LambdaContext = SimpleNamespace(  # type: ignore[assignment]  # what the logger reads of it
    function_name="check_setup", memory_limit_in_mb=512, invoked_function_arn="arn", aws_request_id="request"
)


def _stack(status: str) -> Answer:
    name = "<StackName>stack</StackName><CreationTime>2026-01-01T00:00:00Z</CreationTime>"
    stacks = f"<Stacks><member>{name}<StackStatus>{status}</StackStatus></member></Stacks>"
    result = f"<DescribeStacksResult>{stacks}</DescribeStacksResult>"
    return Answer(200, f"<DescribeStacksResponse>{result}</DescribeStacksResponse>".encode())


def _quotas(values: dict[str, float]) -> Answer:
    return Answer(200, {"Quotas": [{"QuotaName": name, "Value": value} for name, value in values.items()]})


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    server = WandbServer(entity=ENTITY, api_key=KEY)
    monkeypatch.syspath_prepend(tmp_path)
    with (
        mock_aws(),
        server.running() as url,
        answering(_quotas(QUOTAS)) as quotas,
        answering(_stack("UPDATE_IN_PROGRESS")) as stacks,
    ):
        # moto has neither these quotas nor, without more packages, stacks.
        monkeypatch.setenv("AWS_ENDPOINT_URL_SERVICE_QUOTAS", quotas.url)
        monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDFORMATION", stacks.url)
        yield Account(server, url, quotas, stacks, tmp_path)


def said(findings: list[Finding]) -> list[str]:
    return [f"{finding.what}: {fault}" for finding in findings for fault in finding.faults]


def test_a_setup_in_which_all_is_there_has_no_fault_and_everything_was_checked(account: Account) -> None:
    findings = account.check()
    assert {finding.status for finding in findings} == {"ok"}, findings
    assert [finding.what for finding in findings] == [
        *("launch-config.yaml", "W&B", "run queue sagemaker", "role Training", "bucket outputs"),
        *("key of VolumeKmsKeyArn", "image repository", "quota of builds"),
        *("configuration of run queue sagemaker", "quota of run queue sagemaker"),
    ]
    assert account.change("Create")["Status"] == "SUCCESS"


# --- the faults, and the sentence for each
def elsewhere(account: Account) -> None:
    s3 = boto3.client("s3")
    s3.delete_bucket(Bucket="outputs")
    boto3.client("s3", region_name="eu-west-1").create_bucket(
        Bucket="outputs", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )


def trusts_another(account: Account) -> None:
    trust = json.dumps(SAGEMAKER).replace("sagemaker", "lambda")
    boto3.client("iam").update_assume_role_policy(RoleName="Training", PolicyDocument=trust)


def wrong_key(account: Account) -> None:
    account.server.api_key = "another" * 6


def two_vpcs(account: Account) -> None:
    ec2 = boto3.client("ec2")
    vpcs = [ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"] for _ in range(2)]
    subnet = ec2.create_subnet(VpcId=vpcs[0], CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
    group = ec2.create_security_group(VpcId=vpcs[1], GroupName="g", Description="g")["GroupId"]
    account.environment["TRAINING_IN_VPC"] = "true"
    account.queue(VpcConfig={"Subnets": [subnet], "SecurityGroupIds": [group]})


def set_variables(**variables: str) -> Callable[[Account], None]:
    return lambda account: account.environment.update(variables)


Break = Callable[[Account], object]
FAILS: dict[str, tuple[Break, str]] = {
    "launch-config.yaml is wrong": (
        lambda account: account.configure(queues=[]),
        r"launch-config\.yaml: launch-config\.yaml has faults:\n- queues ",
    ),
    "launch-config.yaml names another repository": (
        lambda account: account.configure(
            entity=ENTITY,
            queues=["sagemaker"],
            builder={"destination": f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/other"},
        ),
        r"launch-config\.yaml: it names the repository \S+/other for images, .* with ImageRepositoryName=other\.",
    ),
    "the key is refused": (
        wrong_key,
        r"W&B: W&B at \S+ rejects the API key\. .* The secret is arn:aws:secretsmanager:\S+\. W&B shows your key",
    ),
    "the secret is gone": (
        lambda account: boto3.client("secretsmanager").delete_secret(SecretId="key"),
        r"W&B: the W&B API key in arn:\S+ cannot be read: .* The secret is arn:",
    ),
    "W&B cannot be reached": (
        set_variables(WANDB_BASE_URL="http://127.0.0.1:9"),
        r"W&B: W&B at http://127\.0\.0\.1:9 did not answer: \w+\. The functions reach W&B over the internet\. Check Wa",
    ),
    "the entity is not there": (
        lambda account: account.configure(entity="taem", queues=["sagemaker"]),
        r"W&B: there is no entity taem that the API key can see\. Correct entity in launch-config\.yaml, or store",
    ),
    "a queue is not there": (
        lambda account: account.configure(entity=ENTITY, queues=["sagemakr"]),
        r"run queue sagemakr: team has no queue with this name\. Create it .* CreateQueues=true\. .*: sagemaker\.",
    ),
    "a queue is of another resource": (
        lambda account: account.queue(resource="kubernetes"),
        r"run queue sagemaker: its resource is kubernetes\. Create a queue with SageMaker as its resource\.",
    ),
    "the role is gone": (
        lambda account: boto3.client("iam").delete_role(RoleName="Training"),
        r"role Training: The role \S+ does not exist\. Create it, or name another one in TrainingRoleArns\.",
    ),
    "the role cannot be assumed": (
        trusts_another,
        r"role Training: The role \S+ cannot be assumed by SageMaker\. Add the service sagemaker\.amazonaws\.com",
    ),
    "the bucket is gone": (
        lambda account: boto3.client("s3").delete_bucket(Bucket="outputs"),
        r"bucket outputs: The bucket outputs does not exist\. Create it in us-east-1, or name another one in BucketN",
    ),
    "the bucket is elsewhere": (
        elsewhere,
        r"bucket outputs: The bucket outputs is in eu-west-1, but the stack is in us-east-1\. Name a bucket in us-eas",
    ),
    "the repository is gone": (
        lambda account: boto3.client("ecr").delete_repository(repositoryName="images"),
        r"image repository: the ECR repository images, named by .* does not exist\. Create it, or leave",
    ),
    "a key is disabled": (
        lambda account: account.kms.disable_key(KeyId=account.key.rpartition("/")[2]),
        r"key of VolumeKmsKeyArn: The KMS key \S+ is not enabled; its state is Disabled\. Enable it, or name another",
    ),
    "a key is gone": (
        set_variables(DATA_KMS_KEY_ARN=f"arn:aws:kms:{REGION}:{ACCOUNT}:key/00000000-0000-0000-0000-000000000000"),
        r"key of DataKmsKeyArn: The KMS key \S+ does not exist\. Name another one in DataKmsKeyArn\.",
    ),
    "another key is gone": (
        set_variables(SECRET_KMS_KEY_ARN=f"arn:aws:kms:{REGION}:{ACCOUNT}:key/00000000-0000-0000-0000-000000000000"),
        r"key of SecretKmsKeyArn: The KMS key \S+ does not exist\. Name another one in SecretKmsKeyArn\.",
    ),
    "a key is elsewhere": (
        set_variables(SECRET_KMS_KEY_ARN=f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/00000000-0000-0000-0000-000000000000"),
        r"key of SecretKmsKeyArn: The KMS key \S+ is in eu-west-1, but the stack is in us-east-1\. Name another key in",
    ),
}
WARNS: dict[str, tuple[Break, str]] = {
    "the queue has no configuration": (
        lambda account: account.server.create_queue("sagemaker", config={}),
        r"configuration of run queue sagemaker: it has no configuration yet\. Paste the stack's output",
    ),
    "the queue's configuration is wrong": (
        lambda account: account.queue(ResourceConfig={"InstanceType": "ml.m5.large"}),
        r"configuration of run queue sagemaker: The run spec from queue .*\n- .*InstanceCount",
    ),
    "the queue's role may not be passed": (
        lambda account: account.queue(RoleArn=f"{ROLE}2"),
        r"configuration of run queue sagemaker: its RoleArn is \S+2, which this stack may not pass\. Use arn:\S+\.",
    ),
    "the queue writes into another bucket": (
        lambda account: account.queue(OutputDataConfig={"S3OutputPath": "s3://theirs/output"}),
        r"configuration of run queue sagemaker: its S3OutputPath is \S+, but the stack's role may write only to s3://o",
    ),
    "the queue reads from a bucket that is not there": (
        lambda account: account.queue(CheckpointConfig={"S3Uri": "s3://checkpoints/"}),
        r'configuration of run queue sagemaker: CheckpointConfig\.S3Uri is "s3://checkpoints/", and there is no bucket',
    ),
    "the queue encrypts with another key": (
        lambda account: account.queue(ResourceConfig={**CONFIG["ResourceConfig"], "VolumeKmsKeyId": "another"}),  # type: ignore[dict-item]
        r"configuration of run queue sagemaker: its VolumeKmsKeyId is another, which the stack may not use\. Set Volum",
    ),
    "the queue uses a VPC, and the stack's role may not": (
        lambda account: account.queue(VpcConfig={"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}),
        r"configuration of run queue sagemaker: it sets VpcConfig, but the stack's role may not use a VPC\. Set Train",
    ),
    "the queue's network is not there": (
        lambda account: account.queue(VpcConfig={"Subnets": ["subnet-0a"], "SecurityGroupIds": ["sg-0b"]}),
        r"network of run queue sagemaker: its VpcConfig names subnet-0a, sg-0b, which do not exist in this region\.",
    ),
    "the queue's network is in two VPCs": (
        two_vpcs,
        r"network of run queue sagemaker: its VpcConfig names subnets and security groups of several VPCs\.",
    ),
    "there is no quota for the instances": (
        lambda account: account.set_quotas(**{"ml.m5.large for training job usage": 0.0}),
        r'quota of run queue sagemaker: a run needs 1, but .* "ml\.m5\.large for training job usage" is 0\.',
    ),
    "the quota is less than a run needs": (
        lambda account: account.queue(ResourceConfig={**CONFIG["ResourceConfig"], "InstanceCount": 3}),  # type: ignore[dict-item]
        r"quota of run queue sagemaker: a run needs 3, but the account's quota .* is 2\. Request a higher one",
    ),
    "there is no quota for builds": (
        lambda account: account.set_quotas(**{BUILDS: 0.0}),
        r'quota of builds: The account\'s quota "Concurrently .*" is 0, so no image can be built\. Request a higher',
    ),
}


@pytest.mark.parametrize("what", FAILS)
def test_a_deployment_fails_with_the_sentence_of_what_is_missing(account: Account, what: str) -> None:
    broken, sentence = FAILS[what]
    broken(account)
    answer = account.change("Create")
    assert answer["Status"] == "FAILED"
    assert re.search(sentence, answer["Reason"]), answer["Reason"]


@pytest.mark.parametrize("what", WARNS)
def test_what_is_fixed_without_a_deployment_fails_the_check_and_no_deployment(account: Account, what: str) -> None:
    broken, sentence = WARNS[what]
    broken(account)
    findings = account.check()
    assert any(re.search(sentence, each) for each in said(findings)), findings
    assert deployment_failure(findings) == ""


def test_a_deployment_that_only_warns_succeeds_and_so_does_a_deletion(account: Account) -> None:
    wrong_key(account)
    assert account.change("Create", SetupCheck="warn")["Status"] == "SUCCESS"
    assert account.change("Delete")["Status"] == "SUCCESS"


def test_all_faults_are_said_at_once_those_that_fail_the_deployment_first(account: Account) -> None:
    account.queue(RoleArn=f"{ROLE}2")
    boto3.client("ecr").delete_repository(repositoryName="images")
    boto3.client("s3").delete_bucket(Bucket="outputs")
    # The bucket of the stack is not named a second time with the queue that uses it.
    reason = account.change("Update")["Reason"]
    whats = re.findall(r"(?:^The stack would not work\. |\| )([^:|]+): ", reason)
    assert whats == ["bucket outputs", "image repository", "configuration of run queue sagemaker"]
    assert reason.endswith("To deploy it with these faults, set the parameter SetupCheck to warn.")


def test_a_rollback_is_not_failed(account: Account) -> None:
    boto3.client("s3").delete_bucket(Bucket="outputs")
    assert account.change("Update")["Status"] == "FAILED"
    denied = Answer(403, b"<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>")
    for answer in (_stack("UPDATE_ROLLBACK_IN_PROGRESS"), denied):
        account.stacks.answers[:] = [answer]
        assert account.change("Update")["Status"] == "SUCCESS"


def test_what_the_function_may_not_read_is_not_checked_and_no_fault(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    account.quotas.answers[:] = [aws_error("AccessDeniedException", "not authorized to list quotas")]
    with answering(aws_error("AccessDeniedException", "not authorized to describe keys")) as kms:
        monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", kms.url)
        findings = account.check()
    assert said(findings) == []
    not_checked = {finding.what: finding.not_checked for finding in findings if finding.status == "not checked"}
    assert set(not_checked) == {"quota of builds", "quota of run queue sagemaker", "key of VolumeKmsKeyArn"}
    assert "not authorized to describe keys" in not_checked["key of VolumeKmsKeyArn"]


def test_a_quota_that_is_not_listed_is_not_checked(account: Account) -> None:
    account.queue(ResourceConfig={"InstanceType": "ml.p9.large", "InstanceCount": 1, "VolumeSizeInGB": 30})
    (finding,) = [each for each in account.check() if each.status != "ok"]
    assert finding.not_checked == 'Service Quotas has no quota "ml.p9.large for training job usage" in this region.'


def test_missing_queues_are_created_when_that_is_asked_for(account: Account) -> None:
    account.configure(entity=ENTITY, queues=["sagemaker", "new"])
    assert account.change("Create", CreateQueues="true")["Status"] == "SUCCESS"
    assert said(account.check()) == []
    queue = account.server.state.project(ENTITY, "model-registry").queues["new"]
    item = queue.push({"entity": ENTITY, "project": "p"}, None, {"instance_type": "ml.g5.xlarge"})
    args = item.run_spec["resource_args"]["sagemaker"]
    assert args["RoleArn"] == ROLE
    assert args["ResourceConfig"] == {"InstanceType": "ml.g5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 30}
    assert args["StoppingCondition"] == {"MaxRuntimeInSeconds": 86400}


def test_an_operator_who_asks_for_missing_queues_gets_them_and_others_do_not_change(account: Account) -> None:
    account.configure(entity=ENTITY, queues=["new", "sagemaker"])
    account.queue(ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 2, "VolumeSizeInGB": 30})
    assert said(account.check({"create_queues": True})) == []
    kept = account.server.state.project(ENTITY, "model-registry").queues["sagemaker"]
    config = account.server.state.resource_configs[kept.default_resource_config_id or ""].config
    assert config["resource_args"]["sagemaker"]["ResourceConfig"]["InstanceCount"] == 2


# --- the permissions
@contextmanager
def recorded() -> Iterator[set[str]]:
    """Record the IAM actions of the calls to AWS."""
    actions: set[str] = set()

    def record(**sent: Any) -> None:
        model = sent["model"]
        service = {"service-quotas": "servicequotas"}.get(model.service_model.service_name)
        name = {"HeadBucket": "ListBucket"}.get(model.name, model.name)
        actions.add(f"{service or model.service_model.service_name}:{name}")

    session().register("before-call", record)
    yield actions


def test_the_function_makes_every_call_that_it_is_allowed_to_make_and_no_other(account: Account) -> None:
    account.environment["TRAINING_IN_VPC"] = "true"
    account.queue(VpcConfig={"Subnets": ["subnet-0a"], "SecurityGroupIds": ["sg-0b"]})
    account.set_quotas()
    account.quotas.answers[:] = [_quotas({})]
    with recorded() as made:
        account.check()
        boto3.client("s3").delete_bucket(Bucket="outputs")
        account.change("Update")
    # Lambda writes the log, and Secrets Manager decrypts the secret.
    of_others = {"logs:CreateLogStream", "logs:PutLogEvents", "kms:Decrypt"}
    assert made == allowed_actions()["check_setup"] - of_others


@pytest.fixture
def no_way_out(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the functions be in a VPC from which no connection reaches AWS."""
    account.environment["VPC_ID"] = "vpc-1"
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")


@pytest.mark.usefixtures("no_way_out")
@pytest.mark.parametrize("interval", ["60", "15"])
@pytest.mark.parametrize("builds", [True, False])
def test_every_endpoint_that_is_missing_is_named_at_once(account: Account, builds: bool, interval: str) -> None:
    account.environment["POLL_INTERVAL_SECONDS"] = interval
    if not builds:
        account.environment["IMAGE_REPOSITORY"] = ""
    (found,) = (each for each in account.check() if each.what == "endpoints in vpc-1")
    named = [fault.split()[5] for fault in found.faults]
    functions = ["dynamodb", "events", "logs", "s3", "sagemaker.api", "secretsmanager", "states"]
    functions += [] if interval == "60" else ["sqs"]
    assert named == sorted([*functions, *(["codebuild", "ecr.api", "ecr.dkr", "lambda", "sts"] if builds else [])])
    gateways = [name for name, fault in zip(named, found.faults, strict=True) if "a gateway" in fault]
    assert gateways == ["dynamodb", "s3"]


class RefusingProxy(socketserver.StreamRequestHandler):
    """Refuses every connection, and remembers to which hosts they were."""

    def handle(self) -> None:
        self.server.hosts.add(self.rfile.readline().split()[1].decode())  # type: ignore[attr-defined]  # set below
        self.wfile.write(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")


@pytest.mark.usefixtures("no_way_out")
def test_the_registry_is_looked_for_on_its_own_host(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), RefusingProxy) as proxy:
        hosts = proxy.hosts = set[str]()  # type: ignore[attr-defined]  # for the handler
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        for name in ("https_proxy", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.server_address[1]}")
        account.check()
        proxy.shutdown()
    assert hosts >= {f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com:443", f"api.ecr.{REGION}.amazonaws.com:443"}


@pytest.mark.usefixtures("no_way_out")
def test_a_deployment_into_a_network_without_endpoints_fails_and_says_which_are_missing(account: Account) -> None:
    answer = account.change("Create")
    assert answer["Status"] == "FAILED"
    assert re.search(
        r"endpoints in vpc-1: no connection from SubnetIds reaches codebuild \(ProxyError\)\. Create the VPC endpoint "
        r"com\.amazonaws\.us-east-1\.codebuild \(it has to accept HTTPS from SecurityGroupIds\), or a route to the",
        answer["Reason"],
    )
    assert "com.amazonaws.us-east-1.sts" in answer["Reason"]


def test_without_a_vpc_no_endpoint_is_asked(account: Account) -> None:
    assert not [each for each in account.check() if each.what.startswith("endpoints")]
