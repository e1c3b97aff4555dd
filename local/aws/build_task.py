"""Adds `codebuild:startBuild.sync` to the interpreter of state machines, which does not have it.

It calls CodeBuild, signed with the machine's role, to start the build, to stop it, and to read its result
(https://docs.aws.amazon.com/step-functions/latest/dg/connect-codebuild.html).
"""

import json
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError

from local import ACCOUNT_ID, REGION
from local.aws import seams

RULE_ARN = f"arn:aws:events:{REGION}:{ACCOUNT_ID}:rule/StepFunctionsGetEventForCodeBuildStartBuildRule"
RULE_ACTIONS = ("events:DescribeRule", "events:PutRule", "events:PutTargets")
RESOURCE = "arn:aws:states:::codebuild:startBuild.sync"

_STATE = "moto.stepfunctions.parser.asl.component.state.exec.state_task."
_ERROR = "moto.stepfunctions.parser.asl.component.common.error_name."
_MAX_CAUSE = 32_768


def install(client: Callable[[], Any], wait: Callable[[str, float], bool]) -> None:
    """Let the interpreter use this task for the service `codebuild`.

    `client` returns a CodeBuild client with the current execution's role. `wait` waits a number of seconds for a build
    to end, and returns whether it has ended.
    """
    base = seams.use(f"{_STATE}service.state_task_service:StateTaskService")

    class StartBuild(base):  # type: ignore[misc,valid-type]  # the interpreter ships no types
        """One task state's call."""

        def _get_supported_parameters(self) -> set[str] | None:
            return set() if self.resource.resource_arn == RESOURCE else None

        def _eval_service_task(self, env: Any, normalised_parameters: dict[str, Any], **_: Any) -> None:
            build = _built(client(), wait, env.is_running, _cased(normalised_parameters, str.lower))
            result = json.loads(json.dumps({"Build": _cased(build, str.upper)}, default=str))
            if build["buildStatus"] != "SUCCEEDED":
                raise _failed(self, env, "States.TaskFailed", json.dumps(result)[:_MAX_CAUSE])
            env.stack.append(result)

        def _from_error(self, env: Any, ex: Exception) -> Any:
            if not isinstance(ex, ClientError):
                return super()._from_error(env=env, ex=ex)
            error = ex.response["Error"]
            return _failed(self, env, f"CodeBuild.{error['Code']}", error.get("Message", "")).failure_event

    def task_for(old: Any, service_name: str) -> Any:
        return StartBuild() if service_name == "codebuild" else old(service_name)

    seams.wrap(f"{_STATE}state_task_factory:state_task_service_for", task_for)


def _built(
    codebuild: Any, wait: Callable[[str, float], bool], is_running: Callable[[], bool], request: dict[str, Any]
) -> dict[str, Any]:
    """Start a build and return it when it ends; stop it if the execution or its state ends first."""
    build_id = codebuild.start_build(**request)["build"]["id"]
    while not wait(build_id, 0.1):
        if not is_running():
            codebuild.stop_build(id=build_id)
    (build,) = codebuild.batch_get_builds(ids=[build_id])["builds"]
    return dict(build)


def _failed(task: Any, env: Any, error: str, cause: str) -> Any:
    """Return the exception that makes a task fail."""
    kinds = seams.use(f"{_ERROR}states_error_name_type:StatesErrorNameType")
    if error == "States.TaskFailed":
        name = seams.use(f"{_ERROR}states_error_name:StatesErrorName")(typ=kinds.StatesTaskFailed)
    else:
        name = seams.use(f"{_ERROR}custom_error_name:CustomErrorName")(error)
    details = {"error": error, "cause": cause, "resource": task._get_sfn_resource(), "resourceType": "codebuild"}
    event = seams.use(f"{_ERROR}failure_event:FailureEvent")(
        env=env,
        error_name=name,
        event_type=seams.use("moto.stepfunctions.parser.api:HistoryEventType").TaskFailed,
        event_details=seams.use("moto.stepfunctions.parser.asl.eval.event.event_detail:EventDetails")(
            taskFailedEventDetails=details
        ),
    )
    return seams.use(f"{_ERROR}failure_event:FailureEventException")(failure_event=event)


def _cased(value: Any, first: Callable[[str], str]) -> Any:
    """Change the first letter of all keys: lower case for CodeBuild, upper case for Step Functions."""
    if isinstance(value, dict):
        return {f"{first(key[0])}{key[1:]}": _cased(item, first) for key, item in value.items()}
    return [_cased(item, first) for item in value] if isinstance(value, list) else value
