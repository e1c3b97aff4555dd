"""The embedded AWS accepts requests only from its owner and from sessions with keys that it issued."""

import io
import json
import time
import zipfile
from typing import Any
from urllib.parse import urlencode

import boto3
import pytest
import urllib3
from botocore.config import Config

from local import ACCOUNT_ID, REGION
from local.stack import LocalCloud
from tests.e2e.conftest import Application
from tests.e2e.workshop import Workshop

STACK = {"Action": "CreateStack", "Version": "2010-05-15", "StackName": "pwn", "TemplateBody": "{}"}
BROWSER = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}


@pytest.fixture
def cloud(app: Application) -> LocalCloud:
    return app.deployed.cloud


def query(key: str, service: str, **parameters: str) -> str:
    """Return a request as a query string with an invalid signature."""
    return urlencode(
        {
            **parameters,
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"{key}/20260101/{REGION}/{service}/aws4_request",
            "X-Amz-Date": time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()),
            "X-Amz-Expires": "3600",
            "X-Amz-SignedHeaders": "host",
            "X-Amz-Signature": "00",
        }
    )


@pytest.mark.parametrize("key", ["test", "", ACCOUNT_ID, "123456789012", "AKIAIOSFODNN7EXAMPLE"])
@pytest.mark.parametrize(
    "headers", [{}, BROWSER, {"Referer": "https://evil.example/"}], ids=["program", "page", "link"]
)
def test_a_caller_without_a_key_of_ours_creates_no_stack(cloud: LocalCloud, key: str, headers: dict[str, str]) -> None:
    asked = f"{cloud.url}/?{query(key, 'cloudformation', **STACK)}"
    assert urllib3.request("GET", asked, headers=headers).status == 403
    claimed = {"Authorization": f"AWS4-HMAC-SHA256 Credential={key}/20260101/{REGION}/cloudformation/aws4_request"}
    form = {**headers, **claimed, "Content-Type": "application/x-www-form-urlencoded"}
    assert urllib3.request("POST", cloud.url, body=urlencode(STACK), headers=form).status == 403
    stacks = cloud.client("cloudformation").describe_stacks()["Stacks"]
    assert "pwn" not in [stack["StackName"] for stack in stacks]


def test_a_caller_with_the_owners_key_but_not_its_secret_creates_no_stack(cloud: LocalCloud) -> None:
    answer = urllib3.request("GET", f"{cloud.url}/?{query(cloud.access_key, 'cloudformation', **STACK)}")
    assert answer.status == 403
    assert b"SignatureDoesNotMatch" in answer.data


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "http://127.0.0.1"},
        {"Origin": "null"},
        {"Referer": "http://127.0.0.1/"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Mode": "navigate"},
        {"Host": "evil.example"},
        {"Host": "evil.localhost:80"},
        {"Host": "127.0.0.1.evil.example:80"},
    ],
    ids=str,
)
def test_a_request_from_a_browser_is_refused_even_if_it_is_signed(cloud: LocalCloud, headers: dict[str, str]) -> None:
    owner = {"Authorization": f"Bearer {cloud.secret_key}"}
    assert urllib3.request("GET", f"{cloud.url}/_local/health", headers=owner).status == 200
    assert urllib3.request("GET", f"{cloud.url}/_local/health", headers=owner | headers).status == 403
    signed = cloud.client("s3").generate_presigned_url("list_buckets")
    assert urllib3.request("GET", signed, headers=headers).status == 403


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/_local/denials", 403),
        ("PUT", "/_local/images/demo:train", 403),
        ("POST", "/_ministack/reset", 403),
        ("GET", "/_ministack/health", 403),
        ("POST", "/_ministack/config", 403),
        ("GET", f"/_ministack/lambda-layers/{ACCOUNT_ID}/{REGION}/layer/1/content", 403),
        ("GET", f"/_ministack/lambda-layers/{ACCOUNT_ID}/{REGION}/layer/1/content?signature=00", 403),
        ("GET", f"/_ministack/lambda-code/{ACCOUNT_ID}/{REGION}/function/content", 403),
        ("GET", "/v2/", 401),
        ("GET", "/v2/demo/manifests/train", 401),
        ("PUT", "/v2/demo/manifests/train", 401),
        ("GET", "/bucket/key", 403),
        ("PUT", "/bucket", 403),
    ],
)
def test_no_other_way_in_is_open(cloud: LocalCloud, method: str, path: str, status: int) -> None:
    assert urllib3.request(method, cloud.url + path, body=b"{}").status == status


@pytest.mark.parametrize("version", ["s3", "s3v4"])
def test_a_presigned_address_is_enough_for_what_it_names(cloud: LocalCloud, version: Any) -> None:
    session = boto3.Session(cloud.access_key, cloud.secret_key, region_name=REGION)
    s3 = session.client("s3", endpoint_url=cloud.url, config=Config(signature_version=version))
    bucket = f"signed-{time.time_ns()}"
    cloud.client("s3").create_bucket(Bucket=bucket)
    where = {"Bucket": bucket, "Key": "a-b.txt"}
    put = s3.generate_presigned_url("put_object", Params=where)
    assert urllib3.request("PUT", put, body=b"hello").status == 200
    get = s3.generate_presigned_url("get_object", Params=where)
    assert urllib3.request("GET", get).data == b"hello"
    assert urllib3.request("GET", get.replace("Signature=", "Signature=0")).status == 403
    assert urllib3.request("GET", get.replace("a-b.txt", "other.txt")).status == 403
    assert urllib3.request("PUT", get, body=b"other").status == 403


def test_the_address_of_a_layer_is_enough_to_read_it(cloud: LocalCloud) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("python/words.py", "")
    client = cloud.client("lambda")
    made = client.publish_layer_version(LayerName=f"layer-{time.time_ns()}", Content={"ZipFile": packed.getvalue()})
    address = client.get_layer_version_by_arn(Arn=made["LayerVersionArn"])["Content"]["Location"]
    assert urllib3.request("GET", address).data == packed.getvalue()


def test_the_key_of_a_role_is_not_to_be_guessed(shop: Workshop) -> None:
    code = "import os\ndef handler(e, c): return os.environ['AWS_ACCESS_KEY_ID']"
    first, second = shop.function(code), shop.function(code)
    keys = [shop.invoke(function)[0] for function in (first, second)]
    assert len(set(keys)) == 2
    for key in keys:
        answer = urllib3.request("GET", f"{shop.cloud.url}/?{query(key, 'cloudformation', **STACK)}")
        assert answer.status == 403


def test_the_file_with_the_key_is_its_owners_alone(cloud: LocalCloud) -> None:
    path = cloud.folder / "aws-config"
    assert path.stat().st_mode & 0o077 == 0
    assert json.dumps(cloud.secret_key).strip('"') in path.read_text()
