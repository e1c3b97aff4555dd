"""Repairs ministack where it differs from AWS. A test fails when upstream has repaired one; then remove it here."""

import hashlib
import hmac
import json
import re
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from local.aws import seams
from local.aws.cloud import Cloud

HANDLERS = "ministack.services.cloudformation.provisioners:_RESOURCE_HANDLERS"
_SECRET = "AWS::SecretsManager::Secret"
_PROJECT = "AWS::CodeBuild::Project"
_REPOSITORY = "AWS::ECR::Repository"
_FILTER = re.compile(r'\s*([?-]?(\w+|"[^"]*")(\s+|$))*')
"""The terms of a log filter: words, or anything in quotes."""
_STATE_MACHINE = "AWS::StepFunctions::StateMachine"
_SCHEDULE = "AWS::Scheduler::Schedule"
_LOG_GROUP = "AWS::Logs::LogGroup"
_QUERY = "AWS::Logs::QueryDefinition"


def install(cloud: Cloud) -> None:
    """Install the repairs that the project's own template needs."""
    handlers = seams.use(HANDLERS)
    handlers[_SECRET] = _with_arn_as_ref(handlers[_SECRET])
    handlers[_PROJECT] = keeping(handlers[_PROJECT], _keep_log_group)
    handlers[_REPOSITORY] = keeping(handlers[_REPOSITORY], _keep_movable_tags)
    handlers[_STATE_MACHINE] = keeping(handlers[_STATE_MACHINE], _keep_tracing)
    handlers[_SCHEDULE] = _with_names_once(handlers[_SCHEDULE], _is_scheduled)
    handlers[_LOG_GROUP] = _with_names_once(handlers[_LOG_GROUP], _is_logged)
    handlers[_QUERY] = _without_effect()
    seams.wrap("ministack.services.ecr:_describe_images", _image_not_found)
    seams.wrap("ministack.services.cloudwatch_logs:_filter_log_events", _filter_refused)
    seams.wrap("ministack.services.lambda_svc:_layer_content_url", partial(_signed, cloud))


def _signed(cloud: Cloud, old: Any, layer_name: str, version: int) -> str:
    """Return a signed URL for a layer's contents, as AWS does."""
    url: str = old(layer_name, version)
    return f"{url}?signature={_signature(cloud, urlsplit(url).path)}"


def is_signed(cloud: Cloud, path: str, query: dict[str, list[str]]) -> bool:
    """Return whether a URL was signed by this AWS."""
    return hmac.compare_digest(query.get("signature", [""])[0], _signature(cloud, path))


def _signature(cloud: Cloud, path: str) -> str:
    return hmac.new(cloud.owner.secret_key.encode(), path.encode(), hashlib.sha256).hexdigest()


def _with_arn_as_ref(theirs: dict[str, Any]) -> dict[str, Any]:
    """Make `Ref` of a secret return its ARN; ministack returns its name, which policies do not match."""

    def create(logical_id: str, props: dict[str, Any], stack_name: str) -> tuple[str, dict[str, Any]]:
        _, attributes = theirs["create"](logical_id, props, stack_name)
        return attributes["Id"], attributes

    def delete(physical_id: str, props: dict[str, Any]) -> None:
        theirs["delete"](physical_id.rpartition(":secret:")[2].rsplit("-", 1)[0], props)

    return {**theirs, "create": create, "delete": delete}


def keeping(theirs: dict[str, Any], keep: Callable[[str, dict[str, Any]], None]) -> dict[str, Any]:
    """Call `keep` after a create or update, to keep a property that ministack drops."""

    def create(logical_id: str, props: dict[str, Any], stack_name: str) -> tuple[str, dict[str, Any]]:
        made: tuple[str, dict[str, Any]] = theirs["create"](logical_id, props, stack_name)
        keep(made[0], props)
        return made

    def update(physical_id: str, old: dict[str, Any], new: dict[str, Any], *more: Any) -> tuple[str, dict[str, Any]]:
        made: tuple[str, dict[str, Any]] = theirs["update"](physical_id, old, new, *more)
        keep(made[0], new)
        return made

    return {**theirs, "create": create, **({"update": update} if "update" in theirs else {})}


def _keep_log_group(name: str, props: dict[str, Any]) -> None:
    group = props.get("LogsConfig", {}).get("CloudWatchLogs", {}).get("GroupName")
    seams.use("ministack.services.codebuild:_projects")[name]["logGroup"] = group or f"/aws/codebuild/{name}"


def _keep_movable_tags(name: str, props: dict[str, Any]) -> None:
    filters = props.get("ImageTagMutabilityExclusionFilters", [])
    movable = [each["ImageTagMutabilityExclusionFilterValue"] for each in filters]
    seams.use("ministack.services.ecr:_repositories")[name]["movableTags"] = movable


def _keep_tracing(arn: str, props: dict[str, Any]) -> None:
    enabled = (props.get("TracingConfiguration") or {}).get("Enabled")
    seams.use("ministack.services.stepfunctions:_state_machines")[arn]["isTraced"] = str(enabled).lower() == "true"


def _with_names_once(theirs: dict[str, Any], is_there: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Refuse a name that exists in this account and region; ministack would take over the resource."""

    def create(logical_id: str, props: dict[str, Any], stack_name: str) -> tuple[str, dict[str, Any]]:
        if is_there(props):
            name = props.get("Name") or props.get("LogGroupName")
            # https://github.com/aws/serverless-application-model/issues/3109
            raise ValueError(f"{name} already exists")
        made: tuple[str, dict[str, Any]] = theirs["create"](logical_id, props, stack_name)
        return made

    return {**theirs, "create": create}


def _without_effect() -> dict[str, Any]:
    """Make a resource that only people use in the console; ministack refuses its type."""

    def create(logical_id: str, props: dict[str, Any], stack_name: str) -> tuple[str, dict[str, Any]]:
        return f"{stack_name}-{logical_id}", {}

    def update(physical_id: str, *_: Any) -> tuple[str, dict[str, Any]]:
        return physical_id, {}

    return {"create": create, "update": update, "delete": lambda *_: None}


def _is_scheduled(props: dict[str, Any]) -> bool:
    key = f"{props.get('GroupName', 'default')}/{props.get('Name')}"
    return key in seams.use("ministack.services.scheduler:_schedules")


def _is_logged(props: dict[str, Any]) -> bool:
    return props.get("LogGroupName") in seams.use("ministack.services.cloudwatch_logs:_log_groups")


def _image_not_found(old: Any, data: dict[str, Any]) -> Any:
    """Refuse a tag or digest that does not exist; ministack returns an empty list."""
    status, headers, body = old(data)
    if status == 200 and data.get("imageIds") and not json.loads(body)["imageDetails"]:
        asked = data["imageIds"][0]
        return seams.use("ministack.core.responses:error_response_json")(
            "ImageNotFoundException", f"The image with imageId {asked} does not exist within the repository", 400
        )
    return status, headers, body


def _filter_refused(old: Any, data: dict[str, Any]) -> Any:
    """Search the streams that begin with a prefix, which ministack ignores; refuse what CloudWatch Logs refuses.

    That is a filter with unquoted terms that contain characters other than letters, digits and underscores, and a
    prefix together with the names of streams.
    """
    pattern, prefix = data.get("filterPattern", ""), data.get("logStreamNamePrefix")
    refuse = seams.use("ministack.core.responses:error_response_json")
    if not pattern.startswith("{") and not _FILTER.fullmatch(pattern):
        return refuse("InvalidParameterException", f"Invalid filter pattern: {pattern}", 400)
    if prefix and data.get("logStreamNames"):
        return refuse("InvalidParameterException", "Both logStreamNames and logStreamNamePrefix are given", 400)
    if prefix:
        groups = seams.use("ministack.services.cloudwatch_logs:_log_groups")
        streams = groups.get(data["logGroupName"], {"streams": {}})["streams"]
        data = {**data, "logStreamNames": [name for name in streams if name.startswith(prefix)] or [prefix]}
    return old(data)
