"""The table RunDetails: the run specs and plans of open runs, which can be long or secret. It has no backups."""

import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from launch_agent.clients.table import ItemTooLarge, Table
from launch_agent.errors import InvalidRunSpec
from launch_agent.run_queue.secret_values import secret_values
from launch_agent.runs.record import RunDetails
from launch_agent.safe_text import keep_secret

if TYPE_CHECKING:
    from launch_agent.plan.launch_plan import LaunchPlan

_MAX_PACKED = 300_000  # of the 400 KB that an item can have; the plan needs room too
_DETAILS = ("spec", "plan")
_TOO_LONG = "It is too long to be stored: DynamoDB takes 400 KB. Put large data into an artifact."


class Details:
    """The details of this stack's runs: read here, and changed in the transactions that change the runs."""

    def __init__(self, table: str) -> None:
        """Take the table's name."""
        self._table = Table(table)

    def read(self, item_id: str, *, in_record: Callable[[], Mapping[str, Any]]) -> RunDetails:
        """Return the details of an open run, or what the run's own record has of them.

        What is secret in them, no text shows from now on. May raise AwsThrottled and AwsRefused.
        """
        found = self._table.get(_key(item_id)) or {}
        if not found.keys() >= set(_DETAILS):
            # In version 0.1.0 both were in the run's own record. Delete with tests/upgrade/0.1.0.
            found = {**in_record(), **found}
        details = RunDetails(spec=_unpacked(found, "spec"), plan=_plan(_unpacked(found, "plan")))
        keep_secret(*secret_values(details.spec))
        return details

    def storing(self, item_id: str, spec: Any) -> Any:
        """Return the change that stores the spec of a run that is opened.

        Raises InvalidRunSpec where it does not fit into an item of the table.
        """
        packed = _pack(spec)
        if len(packed) > _MAX_PACKED:
            raise InvalidRunSpec([_TOO_LONG])
        keep_secret(*secret_values(spec))
        return self._table.change(_key(item_id), set_={"spec": packed}, remove=("plan", "ttl"))

    def planning(self, plan: "LaunchPlan") -> Any:
        """Return the change that stores a plan."""
        return self._table.change(_key(plan.item.id), set_={"plan": _pack(plan.model_dump(mode="json"))})

    def forgetting(self, item_id: str, *, at: datetime) -> Any:
        """Return the change that deletes the spec and the plan of a run that ends."""
        return self._table.change(_key(item_id), set_={"ttl": int(at.timestamp())}, remove=_DETAILS)


@contextmanager
def that_fits() -> Iterator[None]:
    """Raise InvalidRunSpec in the place of ItemTooLarge."""
    try:
        yield
    except ItemTooLarge:
        raise InvalidRunSpec([_TOO_LONG]) from None


def _key(item_id: str) -> str:
    # In a transaction IAM may hold the keys of both tables to the condition on one.
    return f"run#{item_id}#details"


def _plan(stored: Any) -> "LaunchPlan | None":
    if not stored:
        return None
    from launch_agent.plan.launch_plan import LaunchPlan

    try:
        return LaunchPlan.model_validate(stored)
    except ValidationError:
        return None


def _pack(value: object) -> bytes:
    return gzip.compress(json.dumps(value, separators=(",", ":")).encode(), mtime=0)


def _unpacked(found: Mapping[str, Any], name: str) -> Any:
    return json.loads(gzip.decompress(bytes(found[name]))) if name in found else None
