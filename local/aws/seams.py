"""All uses of the internals of ministack and moto, checked at boot: if a release changes one, booting fails with one
clear sentence, instead of an unrelated test.
"""

import importlib
import inspect
import sys
import types
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

_S = "ministack.services."
_M = "moto.stepfunctions.parser."
_ASL = f"{_M}asl."
_BATCH = f"{_ASL}component.state.exec.state_task.service.state_task_service_batch"

TABLE: dict[str, tuple[str, ...] | None] = {
    # module:name -> the names of its parameters; None if it is not a function or its parameters do not matter
    "ministack.app:app": ("scope", "receive", "send"),
    "ministack.app:SERVICE_HANDLERS": None,
    "ministack.app:pin_request_origin": ("source_ip", "secure_transport"),
    "ministack.core.router:SERVICE_PATTERNS": None,
    "ministack.core.router:extract_access_key_id": ("headers", "query_params"),
    "ministack.core.responses:get_account_id": (),
    "ministack.core.responses:get_region": (),
    "ministack.core.responses:json_response": None,
    "ministack.core.responses:error_response_json": None,
    "ministack.core.concurrency:esm_wake": None,
    "ministack.core.iam_actions:SERVICE_TO_IAM_NAMESPACE": None,
    "ministack.core.iam_actions:access_denied_response": None,
    "ministack.core.iam_actions:dynamodb_service_context": ("body",),
    "ministack.core.iam_actions:extract_iam_action": (
        *("service", "method", "path", "headers", "body", "query_params"),
    ),
    "ministack.core.iam_actions:extract_resource_arn": (
        *("service", "method", "path", "headers", "body", "query_params", "region", "account_id"),
    ),
    "ministack.core.iam_evaluator:EvalContext": None,
    "ministack.core.iam_evaluator:_conditions_met": ("conditions", "ctx"),
    "ministack.core.iam_evaluator:_gather_role_policies": ("role_name", "account_id"),
    "ministack.core.iam_evaluator:_permissions_boundary": ("store", "name", "account_id"),
    "ministack.core.iam_evaluator:parse_policy_document": ("doc",),
    "ministack.core.iam_evaluator:evaluate": ("ctx", "policies", "limits"),
    "ministack.core.iam_evaluator:enforce": (
        *("access_key_id", "iam_action", "service", "region", "resource_arn", "service_context"),
    ),
    f"{_S}iam:_roles": None,
    f"{_S}sts:_sessions": None,
    f"{_S}sts:register_session": ("access_key", "session"),
    f"{_S}cloudwatch:_evaluate_all_alarms": (),
    f"{_S}cloudwatch:record_metric": ("namespace", "metric_name", "value", "unit", "dimensions"),
    f"{_S}cloudwatch_logs:_filter_log_events": ("data",),
    f"{_S}codebuild:_projects": None,
    f"{_S}ecr:_batch_get_image": ("data",),
    f"{_S}ecr:_describe_images": ("data",),
    f"{_S}ecr:_get_authorization_token": ("data",),
    f"{_S}ecr:_get_download_url_for_layer": ("data",),
    f"{_S}ecr:_images": None,
    f"{_S}ecr:_repositories": None,
    f"{_S}dynamodb:_tables": None,
    f"{_S}cloudwatch_logs:_log_groups": None,
    f"{_S}lambda_svc:_ACCOUNT_CONCURRENCY_CAP": None,
    f"{_S}lambda_svc:_esms": None,
    f"{_S}lambda_svc:_emit_lambda_logs": (*("func", "request_id", "log_text", "error", "duration_ms", "log_source"),),
    f"{_S}lambda_svc:_execute_function": ("func", "event"),
    f"{_S}lambda_svc:_execute_function_warm": ("func", "event", "request_id"),
    f"{_S}lambda_svc:_execution_record_for_config": ("func", "config"),
    f"{_S}lambda_svc:_functions": None,
    f"{_S}lambda_svc:_get_func_record_for_ref": ("function_ref",),
    f"{_S}lambda_svc:_layer_content_url": ("layer_name", "version"),
    f"{_S}lambda_svc:_resolve_layer_zip": ("attachment",),
    f"{_S}lambda_svc:_route_async_failure": ("target_arn", "func_name", "event", "result"),
    f"{_S}lambda_svc:function_policy_for_arn": ("resource_arn",),
    f"{_S}lambda_svc:invoke_async_with_retry": ("func", "event"),
    f"{_S}eventbridge:_dispatch_to_lambda": ("arn", "payload"),
    f"{_S}eventbridge:_invoke_target": ("target", "event", "rule", "view"),
    f"{_S}eventbridge:_parse_rate_seconds": ("expr",),
    f"{_S}eventbridge:_put_events": ("data", "allow_aws_source"),
    f"{_S}kms:_resolve_key": ("key_id_or_arn",),
    f"{_S}scheduler:_SCHEDULE_TICK_INTERVAL": None,
    f"{_S}secretsmanager:_get_secret_value": ("data",),
    f"{_S}secretsmanager:_resolve": ("secret_id", "use_arn_scope"),
    f"{_S}sqs:_act_send_message": ("data", "qurl"),
    f"{_S}sqs:_get_q": None,
    f"{_S}sqs:_queue_by_arn": ("arn",),
    f"{_S}sqs:_receive_messages_for_esm": ("queue_url", "max_number"),
    f"{_S}tagging:_RESOURCE_TAG_COLLECTORS": None,
    f"{_S}scheduler:_schedules": None,
    f"{_S}cloudformation.provisioners:_RESOURCE_HANDLERS": None,
    f"{_S}cloudformation.provisioners:_sfn_definition": ("props",),
    f"{_S}stepfunctions:_create_state_machine": ("data",),
    f"{_S}stepfunctions:_emit_execution_status_event": ("execution",),
    f"{_S}stepfunctions:_executions": None,
    f"{_S}stepfunctions:_resolve_state_machine_arn": ("arn",),
    f"{_S}stepfunctions:_run_execution": ("exec_arn",),
    f"{_S}stepfunctions:_send_task_failure": ("data",),
    f"{_S}stepfunctions:_send_task_heartbeat": ("data",),
    f"{_S}stepfunctions:_send_task_success": ("data",),
    f"{_S}stepfunctions:_start_execution": ("data",),
    f"{_S}stepfunctions:_state_machines": None,
    f"{_S}stepfunctions:_stop_execution": ("data",),
    f"{_M}backend.execution_worker:ExecutionWorker": (
        *("evaluation_details", "exec_comm", "cloud_watch_logging_session", "activity_store", "mock_test_case"),
    ),
    f"{_M}api:HistoryEventType": None,
    f"{_ASL}component.common.error_name.custom_error_name:CustomErrorName": ("error_name",),
    f"{_ASL}component.common.error_name.failure_event:FailureEvent": (
        *("env", "error_name", "event_type", "event_details"),
    ),
    f"{_ASL}component.common.error_name.failure_event:FailureEventException": ("failure_event",),
    f"{_ASL}component.common.error_name.states_error_name:StatesErrorName": ("typ",),
    f"{_ASL}component.common.error_name.states_error_name_type:StatesErrorNameType": None,
    f"{_ASL}component.state.exec.state_task.service.state_task_service:StateTaskService": None,
    f"{_ASL}component.state.exec.state_task.state_task_factory:state_task_service_for": ("service_name",),
    f"{_ASL}eval.event.event_detail:EventDetails": None,
    f"{_ASL}component.common.retry.retrier_decl:time": None,
    f"{_ASL}component.intrinsic.jsonata:_DECLARATION_BY_VARIABLE_REFERENCE": None,
    f"{_ASL}eval.callback.callback:CallbackNotifyConsumerError": None,
    f"{_ASL}eval.callback.callback:CallbackOutcomeFailure": ("callback_id", "error", "cause"),
    f"{_ASL}eval.callback.callback:CallbackOutcomeSuccess": ("callback_id", "output"),
    f"{_ASL}eval.evaluation_details:AWSExecutionDetails": ("account", "region", "role_arn"),
    f"{_ASL}eval.evaluation_details:EvaluationDetails": (
        *("aws_execution_details", "execution_details", "state_machine_details"),
    ),
    f"{_ASL}eval.evaluation_details:ExecutionDetails": ("arn", "name", "role_arn", "inpt", "start_time"),
    f"{_ASL}eval.evaluation_details:StateMachineDetails": ("arn", "name", "typ", "definition"),
    f"{_ASL}eval.event.logging:is_logging_enabled_for": ("log_level", "history_event_type"),
    f"{_ASL}eval.program_state:ProgramEnded": None,
    f"{_ASL}eval.program_state:ProgramError": None,
    f"{_ASL}eval.program_state:ProgramTimedOut": None,
    f"{_ASL}eval.states:encode_jsonata_variable_declarations": None,
    f"{_ASL}eval.states:long_uid": (),
    f"{_ASL}eval.variable_store:encode_jsonata_variable_declarations": None,
    f"{_ASL}jsonata.jsonata:JSONataException": ("error", "details"),
    f"{_ASL}jsonata.jsonata:_eval_jsonata": None,
    f"{_ASL}jsonata.jsonata:encode_jsonata_variable_declarations": None,
    f"{_ASL}parse.asl_parser:AmazonStateLanguageParser": None,
    f"{_ASL}utils.boto_client:boto3": None,
    f"{_ASL}component.state.exec.state_task.service.state_task_service:StateTaskService._eval_execution": (
        "self",
        "env",
    ),
}

_checked: dict[str, Any] = {}
"""The functions whose parameters are as expected: `use` is called for each request."""


class SeamMoved(Exception):
    """A release of ministack or moto lacks something that the embedded AWS uses."""


def use(where: str) -> Any:
    """Return the object at `module:name`, which must be in TABLE. Raises SeamMoved if it is missing or has changed."""
    module, _, path = where.partition(":")
    expected = TABLE[where]
    try:
        found: Any = importlib.import_module(module)
        for name in path.split("."):
            found = getattr(found, name)
    except (ImportError, AttributeError) as error:
        raise SeamMoved(f"{where} is not in {_versions()}: {error}.") from None
    if expected is not None and _checked.get(where) is not found:
        if tuple(inspect.signature(found).parameters) != expected:
            signature = inspect.signature(found)
            raise SeamMoved(f"{where}{signature} does not have the parameters {expected} in {_versions()}.")
        _checked[where] = found
    return found


def replace(where: str, new: Any) -> Any:
    """Replace the object at `module:name`, which must be in TABLE; return the old one."""
    old = use(where)
    module, _, path = where.partition(":")
    *owners, name = path.split(".")
    owner: Any = importlib.import_module(module)
    for each in owners:
        owner = getattr(owner, each)
    setattr(owner, name, new)
    return old


def wrap(where: str, wrapper: Callable[..., Any]) -> None:
    """Replace the function at `module:name` with `wrapper`, which gets the old function as its first argument."""
    old = use(where)

    def wrapped(*arguments: Any, **named: Any) -> Any:
        return wrapper(old, *arguments, **named)

    wrapped.__signature__ = inspect.signature(old)  # type: ignore[attr-defined]  # so that it can be wrapped again
    replace(where, wrapped)


def add(where: str, key: str, value: Any) -> None:
    """Add an entry to one of their tables. Raises SeamMoved if a release has added the same key: check that entry."""
    table = use(where)
    if key in table:
        raise SeamMoved(f"{where} already has an entry for {key} in {_versions()}.")
    table[key] = value


def check() -> None:
    """Check every entry of TABLE. Raises SeamMoved for the first that is missing or has changed."""
    _leave_out_batch()
    for where in TABLE:
        use(where)


def _leave_out_batch() -> None:
    """Put an empty class in the place of the task for AWS Batch: it imports all of moto's EC2, for half of a boot."""
    module = types.ModuleType(_BATCH)
    vars(module)["StateTaskServiceBatch"] = type("StateTaskServiceBatch", (), {})
    sys.modules.setdefault(_BATCH, module)


def _versions() -> str:
    return f"ministack {version('ministack')} and moto {version('moto')}"
