"""The list prices in prices.json, with what is free in every account, and what is assumed and not counted."""

import json
from functools import cache
from typing import Any, NamedTuple

from tests.documents import ROOT


class Price(NamedTuple):
    """A line of the bill: `usd` for each `per`, after `free` in a month."""

    line: str
    usd: float
    per: float
    free: float
    source: str

    def of(self, quantity: float, *, with_free: bool) -> float:
        """Return the dollars for a quantity in a month, with or without what is free."""
        return max(0.0, quantity - (self.free if with_free else 0)) * self.usd / self.per


def prices() -> dict[str, Price]:
    """Return the price of each quantity, in the order of the bill."""
    return {name: Price(**each) for name, each in _file()["prices"].items()}


def assumed(name: str) -> float:
    """Return a number that AWS or W&B decide, from their documentation."""
    return float(_file()["assumed"][name]["value"])


def instance() -> float:
    """Return the dollars a month of the instance that the stock agent needs."""
    return float(sum(quantity * usd for quantity, usd in _file()["instance"]["usd"]))


def about() -> str:
    """Return where the prices are from, for the documents."""
    return f"the list prices of {_file()['region']} on {_file()['looked_up']}"


@cache
def _file() -> Any:
    return json.loads((ROOT / "tests/bench/prices.json").read_text())
