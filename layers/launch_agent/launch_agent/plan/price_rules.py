"""`max_usd_per_hour` and `max_usd_per_run` of `policy`: what a training job can cost at most, at on-demand prices.

Its instances are paid until StoppingCondition.MaxRuntimeInSeconds, however often SageMaker tries again (
https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_StoppingCondition.html), and then for as long as they are
kept alive. The instances of debugger and profiler rules run for as long.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from launch_agent.model import shown
from launch_agent.plan.asked import block, blocks
from launch_agent.plan.training_request import DEFAULT_MAX_RUNTIME
from launch_agent.run_queue.policy import Rules


def price_faults(
    path: str, rules: Rules, body: Mapping[str, Any], prices_of: Callable[[set[str]], Mapping[str, float]]
) -> Iterator[str]:
    """Yield a fault for each rule about prices that a request breaks. A price that is not known breaks them."""
    if rules.max_usd_per_hour is None and rules.max_usd_per_run is None:
        return
    fleets = list(_fleets(body))
    types = {kind for fleet in fleets for kind, _ in fleet}
    prices = prices_of(types)
    if unknown := sorted(types - prices.keys()):
        rule = "max_usd_per_hour" if rules.max_usd_per_run is None else "max_usd_per_run"
        yield (
            f"The price of {', '.join(map(shown, unknown))} is not known, which is not allowed: {path}.{rule} needs "
            "it. Choose another instance type. If it exists in this region, the log of PlanRunFunction says why its "
            "price cannot be read."
        )
        return
    an_hour = max(sum(prices[kind] * number for kind, number in fleet) for fleet in fleets)
    hours = _seconds(body) / 3600
    if rules.max_usd_per_hour is not None and an_hour > rules.max_usd_per_hour:
        yield (
            f"The instances cost {_dollars(an_hour)} an hour, which is not allowed: {path}.max_usd_per_hour allows "
            f"{_dollars(rules.max_usd_per_hour)}. Choose a smaller InstanceType, or fewer instances."
        )
    if rules.max_usd_per_run is not None and an_hour * hours > rules.max_usd_per_run:
        yield (
            f"The run can cost {_dollars(an_hour * hours)}, for {_dollars(an_hour)} an hour and {round(hours, 2):,g} "
            f"hours, which is not allowed: {path}.max_usd_per_run allows {_dollars(rules.max_usd_per_run)}. Choose a "
            "shorter StoppingCondition.MaxRuntimeInSeconds, a smaller InstanceType, or fewer instances."
        )


def _fleets(body: Mapping[str, Any]) -> Iterator[list[tuple[str, int]]]:
    """Yield all instances at a time, by type: once, or once for each of InstancePreferences."""
    resources = block(body, "ResourceConfig")
    rules = (rule for key in ("DebugRuleConfigurations", "ProfilerRuleConfigurations") for rule in blocks(body, key))
    of_rules = [(str(rule["InstanceType"]), 1) for rule in rules if rule.get("InstanceType")]
    always = [entry for each in [resources, *blocks(resources, "InstanceGroups")] for entry in _instances(each, 1)]
    number = _number(resources.get("InstanceCount"), 1)
    preferred = [_instances(each, number) for each in blocks(resources, "InstancePreferences")]
    yield from ([*always, *one, *of_rules] for one in preferred or [[]])


def _instances(entry: Mapping[str, Any], otherwise: int) -> list[tuple[str, int]]:
    kind = entry.get("InstanceType")
    return [(str(kind), _number(entry.get("InstanceCount"), otherwise))] if kind else []


def _seconds(body: Mapping[str, Any]) -> int:
    runtime = block(body, "StoppingCondition").get("MaxRuntimeInSeconds")
    kept_alive = block(body, "ResourceConfig").get("KeepAlivePeriodInSeconds")
    return _number(runtime, DEFAULT_MAX_RUNTIME) + _number(kept_alive, 0)


def _number(value: object, otherwise: int) -> int:
    """Return a number; `otherwise` if it is missing or of another type, which is a fault of its own."""
    return value if isinstance(value, int) else otherwise


def _dollars(amount: float) -> str:
    return f"{round(amount, 4):,} US dollars"
