"""Checks what the stack needs before it can launch runs: at every deployment, and when someone asks."""

from aws_lambda_powertools import Logger

from launch_agent.clients.cloudformation import answer, stack_status
from launch_agent.errors import LaunchError, WandbKeyRejected, WandbRefused, WandbUnavailable
from launch_agent.operations import setup
from launch_agent.operations.setup import Finding
from launch_agent.operations.stack_change import StackChange
from launch_agent.safe_text import safe
from launch_agent.settings import SetupEnvironment
from launch_agent.steps.setup_checks import Check, SetupChecks
from launch_agent.wiring import Clients

logger = Logger(child=True)

_FAULTS = (WandbKeyRejected, WandbUnavailable, WandbRefused)
"""The errors that are faults of the setup. After another one, what was to be checked is not known."""


class CheckSetup:
    """Checks everything each time, and finds all faults at once. It changes nothing, unless it is to create queues."""

    def __init__(self, clients: Clients) -> None:
        """Read the environment. Nothing is sent yet."""
        clients.env  # noqa: B018 - a variable that is missing is found when the function starts
        self._clients, self._setup = clients, SetupEnvironment.from_environment()

    def change(self, change: StackChange) -> None:
        """Check, and answer CloudFormation. If the check itself fails, the stack continues; raises what went wrong."""
        failure = ""
        try:
            if not change.is_deletion:
                findings = self.check(create_queues=change.properties.get("CreateQueues") == "true")
                failure = setup.deployment_failure(findings) if _may_fail(change) else ""
        except Exception:
            answer(change)
            raise
        answer(change, failure)

    def check(self, *, create_queues: bool) -> list[Finding]:
        """Return what was found. `create_queues` first creates the queues of launch-config.yaml that do not exist."""
        # The API key can be another one than at the last check in this environment.
        checks = SetupChecks(self._clients.new(), self._setup, create_queues=create_queues)
        findings = [_found(check) for check in checks.all()]
        for finding in findings:
            if finding.status != "ok":
                logger.warning("setup is incomplete", **finding.model_dump())
        return findings


def _may_fail(change: StackChange) -> bool:
    """Whether faults fail a change of the stack. A rollback must not fail: the stack could not be updated any more."""
    if change.properties.get("SetupCheck") == "warn":
        return False
    try:
        return change.kind == "Create" or "ROLLBACK" not in stack_status(change.stack_id)
    except LaunchError:
        logger.exception("the status of the stack is not known, so no fault fails it")
        return False


def _found(check: Check) -> Finding:
    faults, not_checked = list[str](), ""
    try:
        faults = [safe(fault) for fault in check.faults()]
    except _FAULTS as error:
        faults = [safe(str(error))]
    except LaunchError as error:
        not_checked = safe(str(error))
    return Finding(
        what=check.what,
        queue=check.queue,
        faults=tuple(faults),
        not_checked=not_checked,
        fails_deployment=check.fails_deployment,
    )
