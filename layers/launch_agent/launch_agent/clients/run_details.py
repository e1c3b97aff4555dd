"""The table RunDetails: the run specs and plans of open runs, which can be long or secret. The table has no backups."""

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
    from launch_agent.sweeps.order import Order

_MAX_PACKED = 300_000  # an item can have 400 KB, and the plan needs room too
_FORGOTTEN = ("spec", "plan", "order")
_TOO_LONG = "It is too long: DynamoDB stores at most 400 KB. Put large data into an artifact."


class Details:
    """The details of runs. The transactions that change a run also make the changes that these methods return."""

    def __init__(self, table: str) -> None:
        """`table` is the name of the table RunDetails."""
        self._table = Table(table)

    def read(self, item_id: str, *, in_record: Callable[[], Mapping[str, Any]]) -> RunDetails:
        """Return the details of an open run. `in_record` returns the run's own record, which had them in 0.1.0.

        Their secrets are hidden in all texts from now on. May raise AwsThrottled and AwsRefused.
        """
        found = self._table.get(_key(item_id)) or {}
        if "spec" not in found:
            # Version 0.1.0 stored both in the run's own record. Delete with tests/upgrade/0.1.0.
            found = {**in_record(), **found}
        order = _order(_unpacked(found, "order"))
        details = RunDetails(spec=_unpacked(found, "spec"), plan=_plan(_unpacked(found, "plan")), order=order)
        keep_secret(*secret_values(details.spec))
        return details

    def storing(self, item_id: str, spec: Any) -> Any:
        """Return the change that stores a run's spec, and hide its secrets in all texts from now on.

        Raises InvalidRunSpec if it does not fit into an item of the table.
        """
        packed = _pack(spec)
        if len(packed) > _MAX_PACKED:
            raise InvalidRunSpec([_TOO_LONG])
        keep_secret(*secret_values(spec))
        return self._table.change(_key(item_id), set_={"spec": packed}, remove=("plan", "order", "ttl"))

    def planning(self, plan: "LaunchPlan") -> Any:
        """Return the change that stores a plan."""
        return self._table.change(_key(plan.item.id), set_={"plan": _pack(plan.model_dump(mode="json"))})

    def ordering(self, item_id: str, order: "Order") -> Any:
        """Return the change that stores what a sweep's scheduler is asked to do."""
        return self._table.change(_key(item_id), set_={"order": _pack(order.model_dump(mode="json"))})

    def forgetting(self, item_id: str, *, at: datetime) -> Any:
        """Return the change that deletes a run's spec, plan and order."""
        return self._table.change(_key(item_id), set_={"ttl": int(at.timestamp())}, remove=_FORGOTTEN)


@contextmanager
def that_fits() -> Iterator[None]:
    """Raise InvalidRunSpec instead of ItemTooLarge."""
    try:
        yield
    except ItemTooLarge:
        raise InvalidRunSpec([_TOO_LONG]) from None


def _key(item_id: str) -> str:
    # In a transaction, IAM may apply the condition on the keys of one table to the keys of both.
    return f"run#{item_id}#details"


def _plan(stored: Any) -> "LaunchPlan | None":
    if not stored:
        return None
    from launch_agent.plan.launch_plan import LaunchPlan

    try:
        return LaunchPlan.model_validate(stored)
    except ValidationError:
        return None


def _order(stored: Any) -> "Order | None":
    if not stored:
        return None
    from launch_agent.sweeps.order import Order

    try:
        return Order.model_validate(stored)
    except ValidationError:
        return None


def _pack(value: object) -> bytes:
    return gzip.compress(json.dumps(value, separators=(",", ":")).encode(), mtime=0)


def _unpacked(found: Mapping[str, Any], name: str) -> Any:
    return json.loads(gzip.decompress(bytes(found[name]))) if name in found else None
