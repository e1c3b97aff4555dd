"""What ministack does otherwise than AWS, repaired. Each goes when upstream has repaired it: a test says when."""

import hashlib
import hmac
import json
import re
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from local.aws import seams
from local.aws.cloud import Cloud

_HANDLERS = "ministack.services.cloudformation.provisioners:_RESOURCE_HANDLERS"
_SECRET = "AWS::SecretsManager::Secret"
_PROJECT = "AWS::CodeBuild::Project"
_REPOSITORY = "AWS::ECR::Repository"
_FILTER = re.compile(r'\s*([?-]?(\w+|"[^"]*")(\s+|$))*')
"""Terms of a filter of logs: words, or anything in quotes."""


def install(cloud: Cloud) -> None:
    """Repair what the project's own template meets."""
    handlers = seams.use(_HANDLERS)
    handlers[_SECRET] = _with_arn_as_ref(handlers[_SECRET])
    handlers[_PROJECT] = _with_log_group(handlers[_PROJECT])
    handlers[_REPOSITORY] = _with_exclusions(handlers[_REPOSITORY])
    seams.wrap("ministack.services.ecr:_describe_images", _image_not_found)
    seams.wrap("ministack.services.cloudwatch_logs:_filter_log_events", _filter_refused)
    seams.wrap("ministack.services.lambda_svc:_layer_content_url", partial(_signed, cloud))


def _signed(cloud: Cloud, old: Any, layer_name: str, version: int) -> str:
    """Sign the address of a layer's contents, as AWS does."""
    url: str = old(layer_name, version)
    return f"{url}?signature={_signature(cloud, urlsplit(url).path)}"


def is_signed(cloud: Cloud, path: str, query: dict[str, list[str]]) -> bool:
    """Say whether an address was signed here."""
    return hmac.compare_digest(query.get("signature", [""])[0], _signature(cloud, path))


def _signature(cloud: Cloud, path: str) -> str:
    return hmac.new(cloud.owner.secret_key.encode(), path.encode(), hashlib.sha256).hexdigest()


def _with_arn_as_ref(theirs: dict[str, Any]) -> dict[str, Any]:
    """Make `Ref` of a secret its ARN; ministack gives its name, which no policy matches."""

    def create(logical_id: str, props: dict[str, Any], stack_name: str) -> tuple[str, dict[str, Any]]:
        _, attributes = theirs["create"](logical_id, props, stack_name)
        return attributes["Id"], attributes

    def delete(physical_id: str, props: dict[str, Any]) -> None:
        theirs["delete"](physical_id.rpartition(":secret:")[2].rsplit("-", 1)[0], props)

    return {**theirs, "create": create, "delete": delete}


def _with_log_group(theirs: dict[str, Any]) -> dict[str, Any]:
    """Keep where a project of CodeBuild's logs, which ministack drops."""

    def create(logical_id: str, props: dict[str, Any], stack_name: str) -> tuple[str, dict[str, Any]]:
        name, attributes = theirs["create"](logical_id, props, stack_name)
        group = props.get("LogsConfig", {}).get("CloudWatchLogs", {}).get("GroupName")
        seams.use("ministack.services.codebuild:_projects")[name]["logGroup"] = group or f"/aws/codebuild/{name}"
        return name, attributes

    return {**theirs, "create": create}


def _with_exclusions(theirs: dict[str, Any]) -> dict[str, Any]:
    """Keep which tags of an immutable repository may move, which ministack drops."""

    def create(logical_id: str, props: dict[str, Any], stack_name: str) -> tuple[str, dict[str, Any]]:
        name, attributes = theirs["create"](logical_id, props, stack_name)
        filters = props.get("ImageTagMutabilityExclusionFilters", [])
        seams.use("ministack.services.ecr:_repositories")[name]["movableTags"] = [
            each["ImageTagMutabilityExclusionFilterValue"] for each in filters
        ]
        return name, attributes

    return {**theirs, "create": create}


def _image_not_found(old: Any, data: dict[str, Any]) -> Any:
    """Say of an image asked for by tag or digest that it is not there, where ministack answers with an empty list."""
    status, headers, body = old(data)
    if status == 200 and data.get("imageIds") and not json.loads(body)["imageDetails"]:
        asked = data["imageIds"][0]
        return seams.use("ministack.core.responses:error_response_json")(
            "ImageNotFoundException", f"The image with imageId {asked} does not exist within the repository", 400
        )
    return status, headers, body


def _filter_refused(old: Any, data: dict[str, Any]) -> Any:
    """Refuse a filter whose terms have other characters than letters and digits, and are not in quotes."""
    pattern = data.get("filterPattern", "")
    if not pattern.startswith("{") and not _FILTER.fullmatch(pattern):
        refuse = seams.use("ministack.core.responses:error_response_json")
        return refuse("InvalidParameterException", f"Invalid filter pattern: {pattern}", 400)
    return old(data)
