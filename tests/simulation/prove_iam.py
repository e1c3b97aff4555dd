"""`make prove-iam`: every scenario with the functions' policies enforced, then each action taken away in turn.

python -m tests.simulation.prove_iam
"""

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from typing import Any, NamedTuple

from greenlet import getcurrent

from tests.handlers import NAMES, logical_id
from tests.simulation.attack import SEED, scenarios
from tests.simulation.faults import NoFaults
from tests.simulation.functions import Invocation
from tests.simulation.permissions import Entry, Iam, entries, needs_of
from tests.simulation.transport import checked
from tests.simulation.world import HOUR, MINUTE, world

_ROLES = {f"{logical_id(name)}Role" for name in NAMES}
SURVIVES = {
    "logs:CreateLogStream": "Lambda writes the log: tests/e2e checks every denial",
    "logs:PutLogEvents": "Lambda writes the log: tests/e2e checks every denial",
    "SendFailedEvents sqs:SendMessage": "Lambda sends failed events: tests/e2e/test_functions.py",
    "SendTicks sqs:DeleteMessage": "Lambda receives ticks: tests/e2e/test_functions.py",
    "SendTicks sqs:GetQueueAttributes": "Lambda receives ticks: tests/e2e/test_functions.py",
    "SendTicks sqs:ReceiveMessage": "Lambda receives ticks: tests/e2e/test_functions.py",
    "kms:CreateGrant": "SageMaker encrypts volumes: tests/e2e/test_training_jobs.py",
    "kms:Decrypt": "Secrets Manager, DynamoDB, S3 and SQS decrypt: tests/e2e/test_iam.py and test_guardrails.py",
    "kms:GenerateDataKey": "S3 and SQS encrypt: tests/e2e/test_guardrails.py",
    "ec2:": "Lambda connects functions to a VPC: tests/e2e/test_guardrails.py",
    "xray:": "Lambda sends traces, if Tracing is Active",
    "UseBuiltImages s3:ListBucket": "S3 answers by it whether an object that cannot be read exists",
    "ReadRunApiKey": "only with RunApiKeySecretArn: tests/e2e/test_secrets.py",
    "ReadRunSecrets": "only with RunSecretArns: tests/e2e/test_secrets.py",
    "UseBuiltImages s3:GetObject": "of the two places of notes, one is that of version 0.1.0: make prove-upgrade",
    "CheckSetupFunctionRole": "no scenario checks the setup: tests/clients/test_check_setup.py compares each call",
    "SweepRunsFunctionRole ReadPrices": "the sweep in tests/e2e/test_page.py asks for a price",
    "ExplainBuilds logs:GetLogEvents": "the simulated builds have no log: tests/e2e/images/test_builds.py",
}
"""Why nothing in the simulated world notices that an action is missing. By words of the entry: role, policy, action."""


class Scenario(NamedTuple):
    """What one scenario made of the policies."""

    name: str
    verdict: str
    iam: Iam


def enforced(name: str, iam: Iam) -> Scenario:
    """Run a scenario with the policies enforced, until it has ended or a call is denied."""
    scenario = scenarios()[name]
    with world(SEED, NoFaults(), **scenario.different) as made, checked(_check(iam, made)):
        item, end = scenario.act(made), made.clock.now + 8 * HOUR
        while made.clock.now < end and not iam.denied:
            if made.run_until_idle(within=MINUTE, until=lambda: bool(scenario.until(made))):
                break
        verdict = (made.outcome(item) or {}).get("verdict", "none")
    return Scenario(name, verdict, iam)


def _check(iam: Iam, made: Any) -> Any:
    def check(service: str, operation: str, request: Any) -> bool:
        invocation: Invocation | None = getattr(getcurrent(), "invocation", None)  # that of a thread, too
        if invocation is None:
            return True
        tags = {name: job.tags for name, job in made.training.jobs.items()}
        return iam.allows(invocation.name, needs_of(service, operation, request, tags))

    return check


@cache
def with_everything() -> dict[str, Scenario]:
    """Return every scenario with all policies."""
    return {name: enforced(name, Iam()) for name in scenarios()}


def of_functions() -> list[Entry]:
    """Return every action that a function may use."""
    return [entry for entry in entries() if entry.role in _ROLES]


def reason(entry: Entry) -> str:
    """Return why an action may survive; empty if it may not."""
    words = {entry.role, entry.policy, entry.action, f"{entry.action.partition(':')[0]}:"}
    return next((why for known, why in SURVIVES.items() if set(known.split()) <= words), "")


def needing(entry: Entry) -> str:
    """Return a scenario in which the action alone allows a call; empty if it is needed in no scenario."""
    return next((name for name, each in with_everything().items() if entry in each.iam.alone), "")


def denied_without(entry: Entry, name: str) -> bool:
    """Return whether a call of a scenario is denied without the action."""
    return bool(enforced(name, Iam(without=entry)).iam.denied)


def _verdicts() -> Iterator[tuple[Entry, bool]]:
    """Take each action away, on all processors; yield whether a call was denied."""
    cases = [(entry, needing(entry)) for entry in of_functions()]
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        tried = [(entry, pool.submit(denied_without, entry, name) if name else None) for entry, name in cases]
        yield from ((entry, bool(future and future.result())) for entry, future in tried)


def main() -> int:
    """Print what was denied with everything, each survivor with its reason, and the counts."""
    begun = time.perf_counter()
    print(
        "prove-iam: the simulated world enforces the policies of the functions' roles. The roles of the state machine, "
        "the schedules, builds and training jobs are enforced by the embedded AWS, in make test."
    )
    wrong = [f"denied with everything, in {name}: {denial}" for name, denial in denials()]
    killed = survived = 0
    for entry, is_killed in _verdicts():
        killed, survived = killed + is_killed, survived + (not is_killed)
        if not is_killed:
            print(f"survived: {entry}: {reason(entry) or 'NO REASON'}")
            wrong += [] if reason(entry) else [f"not needed, and without a reason: {entry}"]
    print("\n".join(wrong))
    print(f"iam: killed {killed} survived {survived}, in {time.perf_counter() - begun:.0f} s")
    return 1 if wrong else 0


def denials() -> list[tuple[str, str]]:
    """Return each scenario's denials with all policies."""
    return [(name, denial) for name, each in with_everything().items() for denial in each.iam.denied]


if __name__ == "__main__":
    sys.exit(main())
