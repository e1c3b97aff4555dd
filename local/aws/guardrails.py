"""What a company's rules change: permissions boundaries, KMS keys and VPCs. ministack drops these properties."""

import json
from functools import partial
from typing import Any

from local import ACCOUNT_ID, REGION
from local.aws import seams
from local.aws.iam import SENDING, Denied, Iam, key_of_queue
from local.aws.repairs import HANDLERS, keeping

_LAMBDA_IN_VPC = (
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:AssignPrivateIpAddresses",
    "ec2:UnassignPrivateIpAddresses",
)
"""https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html"""
_BUILDS_IN_VPC = (
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeDhcpOptions",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSubnets",
    "ec2:DescribeVpcs",
)
"""https://docs.aws.amazon.com/codebuild/latest/userguide/auth-and-access-control-iam-identity-based-access-control.html"""
_ITEMS = ("GetItem", "PutItem", "UpdateItem", "DeleteItem", "Query", "TransactWriteItems")
_INTERFACE = "network-interface/eni-1"
_S3_DENIED = "<Error><Code>AccessDenied</Code><Message>{why}</Message></Error>"


class Guardrails:
    """Keeps what a template says of boundaries, keys and VPCs, and refuses what AWS refuses."""

    def __init__(self, iam: Iam) -> None:
        """Check permissions with `iam`."""
        self._iam = iam
        self._buckets: dict[str, str] = {}
        """The KMS key of each bucket; empty if its template names none."""

    def install(self) -> None:
        """Wrap the resources with such properties, and the services whose calls need a key."""
        handlers = seams.use(HANDLERS)
        handlers["AWS::IAM::Role"] = keeping(handlers["AWS::IAM::Role"], _keep_boundary)
        handlers["AWS::DynamoDB::Table"] = keeping(handlers["AWS::DynamoDB::Table"], _keep_key_of_table)
        handlers["AWS::S3::Bucket"] = keeping(handlers["AWS::S3::Bucket"], self._keep_key_of_bucket)
        handlers["AWS::Logs::LogGroup"] = keeping(handlers["AWS::Logs::LogGroup"], self._check_key_of_logs)
        handlers["AWS::Lambda::Function"] = keeping(handlers["AWS::Lambda::Function"], self._connect_function)
        handlers["AWS::CodeBuild::Project"] = keeping(handlers["AWS::CodeBuild::Project"], self._connect_builds)
        services = seams.use("ministack.app:SERVICE_HANDLERS")
        services["dynamodb"] = partial(self._dynamodb, services["dynamodb"])
        services["s3"] = partial(self._s3, services["s3"])
        services["sqs"] = partial(self._sqs, services["sqs"])

    # --- properties of resources
    def _keep_key_of_bucket(self, name: str, props: dict[str, Any]) -> None:
        rules = (props.get("BucketEncryption") or {}).get("ServerSideEncryptionConfiguration") or [{}]
        self._buckets[name] = (rules[0].get("ServerSideEncryptionByDefault") or {}).get("KMSMasterKeyID", "")

    def _connect_function(self, name: str, props: dict[str, Any]) -> None:
        network = props.get("VpcConfig")
        if network:
            self._check_network(props["Role"], _LAMBDA_IN_VPC, network["SubnetIds"])
            seams.use("ministack.services.lambda_svc:_functions")[name]["config"]["VpcConfig"] = network

    def _connect_builds(self, name: str, props: dict[str, Any]) -> None:
        network = props.get("VpcConfig")
        if network:
            role, of_builds = props["ServiceRole"], {"ec2:authorizedservice": "codebuild.amazonaws.com"}
            self._check_network(role, _BUILDS_IN_VPC, network["Subnets"])
            vpc = {"ec2:vpc": _ec2_arn(f"vpc/{network['VpcId']}")}
            self._need(role, "ec2:CreateNetworkInterfacePermission", _ec2_arn(_INTERFACE), **of_builds, **vpc)
            seams.use("ministack.services.codebuild:_projects")[name]["vpcConfig"] = network

    def _check_network(self, role_arn: str, actions: tuple[str, ...], subnets: list[str]) -> None:
        """Refuse a VPC if a role may not do what its service does to connect to these subnets. Raises ValueError."""
        for action in actions:
            is_read = action.startswith("ec2:Describe")
            self._need(role_arn, action, "*" if is_read else _ec2_arn(_INTERFACE))
        for subnet in subnets:
            self._need(role_arn, "ec2:CreateNetworkInterface", _ec2_arn(f"subnet/{subnet}"))

    def _need(self, role_arn: str, action: str, resource: str, **context: str) -> None:
        if not self._iam.allows(role_arn, action, resource, **context):
            raise ValueError(f"The role {role_arn} does not have permissions to call {action} on EC2")

    def _check_key_of_logs(self, name: str, props: dict[str, Any]) -> None:
        """Refuse a key whose policy does not let CloudWatch Logs use it for this group. Raises ValueError.

        https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/encrypt-log-data-kms.html
        """
        key = props.get("KmsKeyId")
        group = {"kms:encryptioncontext:aws:logs:arn": f"arn:aws:logs:{REGION}:{ACCOUNT_ID}:log-group:{name}"}
        if key and not self._iam.key_lets(key, f"logs.{REGION}.amazonaws.com", **group):
            raise ValueError(f"The specified KMS key does not exist or is not allowed to be used with {name}")

    # --- calls that need a key
    async def _dynamodb(
        self, old: Any, method: str, path: str, headers: dict[str, str], body: bytes, query_params: dict[str, Any]
    ) -> Any:
        """Decrypt the keys of the call's tables as its caller.

        https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/encryption.usagenotes.html
        """
        if headers.get("x-amz-target", "").rpartition(".")[2] in _ITEMS:
            asked = json.loads(body or b"{}")
            parts = [part for item in asked.get("TransactItems", []) for part in item.values()] or [asked]
            try:
                for key in {_key_of_table(part["TableName"]) for part in parts if "TableName" in part} - {""}:
                    self._through(headers, "dynamodb", "kms:Decrypt", key)
            except Denied as denied:
                refuse = seams.use("ministack.core.responses:error_response_json")
                return refuse("AccessDeniedException", f"KMS key access denied error: {denied}", 400)
        return await old(method, path, headers, body, query_params)

    async def _s3(
        self, old: Any, method: str, path: str, headers: dict[str, str], body: bytes, query_params: dict[str, Any]
    ) -> Any:
        """Encrypt and decrypt objects as the caller.

        https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html
        """
        bucket, _, name = path.lstrip("/").partition("/")
        key = self._buckets.get(bucket)
        action = {"GET": "kms:Decrypt", "HEAD": "kms:Decrypt", "PUT": "kms:GenerateDataKey"}.get(method)
        if key and name and action:
            try:
                self._through(headers, "s3", action, key)
            except Denied as denied:
                return 403, {"Content-Type": "application/xml"}, _S3_DENIED.format(why=denied).encode()
        return await old(method, path, headers, body, query_params)

    async def _sqs(
        self, old: Any, method: str, path: str, headers: dict[str, str], body: bytes, query_params: dict[str, Any]
    ) -> Any:
        """Encrypt messages as their sender. Who receives them is asked where Lambda does so."""
        if headers.get("x-amz-target", "").removesuffix("Batch") == "AmazonSQS.SendMessage":
            queue = json.loads(body)["QueueUrl"].rpartition("/")[2]
            key = key_of_queue(f"arn:aws:sqs:{REGION}:{ACCOUNT_ID}:{queue}")
            try:
                for action in SENDING if key else ():
                    self._through(headers, "sqs", action, key)
            except Denied as denied:
                refuse = seams.use("ministack.core.responses:error_response_json")
                return refuse("KmsAccessDenied", str(denied), 400)
        return await old(method, path, headers, body, query_params)

    def _through(self, headers: dict[str, str], service: str, action: str, key: str) -> None:
        self._iam.caller_needs(headers, action, key, **{"kms:viaservice": f"{service}.{REGION}.amazonaws.com"})


def _keep_boundary(name: str, props: dict[str, Any]) -> None:
    seams.use("ministack.services.iam:_roles")[name]["PermissionsBoundary"] = props.get("PermissionsBoundary")


def _keep_key_of_table(name: str, props: dict[str, Any]) -> None:
    key = (props.get("SSESpecification") or {}).get("KMSMasterKeyId")
    table = seams.use("ministack.services.dynamodb:_tables")[name]
    table["SSEDescription"] = {"Status": "ENABLED", "SSEType": "KMS", "KMSMasterKeyArn": key} if key else None


def _key_of_table(name: str) -> str:
    table = seams.use("ministack.services.dynamodb:_tables").get(name.rpartition("/")[2]) or {}
    return (table.get("SSEDescription") or {}).get("KMSMasterKeyArn") or ""


def _ec2_arn(resource: str) -> str:
    return f"arn:aws:ec2:{REGION}:{ACCOUNT_ID}:{resource}"
