"""The bill: dollars a month, from the counts in counts.json and the prices in prices.json."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from textwrap import wrap
from typing import Any

from tests.bench.counts import Counts, of_idle_hour, of_job
from tests.bench.figure import Figure, Group
from tests.bench.prices import about, instance, prices
from tests.documents import ROOT, resources

README, COUNTS = ROOT / "README.md", ROOT / "tests/bench/counts.json"
INTERVALS, JOBS = (5, 15, 60), (0, 1_000, 10_000)
_HOURS = 730
_FIXED = ("dashboards", "alarms", "secrets")
_COLUMNS = ((0, 60), (0, 15), (1_000, 15), (10_000, 15))
"""The jobs a month and the intervals whose bills are shown line by line."""
_ABOUT = (
    "Dollars a month for a number of jobs and an interval between polls, with {prices}, for all of the stack with its "
    "default parameters, without training, and without what is free in an account. What is charged was counted in the "
    "simulated world in an idle hour and for a job that trains for an hour; a function is paid for while it waits, "
    "100 ms for a request to W&B and 15 ms for one to AWS, and for its work, as for the latency. Alarms, the "
    "dashboard, schedules and keys are those of the template. Assumed is what AWS does not say until it is running: "
    "`prices.json` has it, with the sources. `idle_month_usd_60s_after_free` is what is left after what is free in "
    "every account."
)


def measure() -> dict[str, Any]:
    """Return new counts: of an idle hour at each interval, and of a job."""
    return {
        "counted": datetime.now(UTC).date().isoformat(),
        "idle_hour": {str(interval): of_idle_hour(interval) for interval in INTERVALS},
        "job": of_job(),
    }


def stored() -> Any:
    """Return the counts that the documents show."""
    return json.loads(COUNTS.read_text())


def quantities(counts: Any, *, jobs: int, interval: int) -> Counts:
    """Return what a month needs of everything that has a price."""
    idle, job = counts["idle_hour"][str(interval)], counts["job"]
    month = {name: idle[name] * _HOURS + job[name] * jobs for name in idle}
    # A metric is paid for by the hour. At worst, each job has an hour of its own.
    month["metrics"] = idle["metrics"] + job["metrics"] * min(jobs / _HOURS, 1)
    month |= {"dynamodb_backup_gb": month["dynamodb_gb"], "log_stored_gb": month["log_gb"], "secrets": 1, "ecr_gb": 0}
    return {**month, **_of_template()}


def _of_template() -> Counts:
    """Return what the stack has with its default parameters."""
    schedules = [
        event["Properties"]["ScheduleExpression"]
        for function in resources("AWS::Serverless::Function").values()
        for event in function.get("Events", {}).values()
        if event["Type"] == "ScheduleV2"
    ]
    return {
        "alarms": len(resources("AWS::CloudWatch::Alarm")),
        "dashboards": len(resources("AWS::CloudWatch::Dashboard")),
        "keys": len(resources("AWS::KMS::Key")),
        "schedules": sum(_HOURS * 60 / _minutes(each) for each in schedules),
    }


def _minutes(schedule: str) -> int:
    """Return the minutes of `rate(5 minutes)`."""
    return int(schedule.removeprefix("rate(").partition(" ")[0])


def dollars(counts: Any, *, jobs: int, interval: int, with_free: bool = False) -> float:
    """Return the whole bill of a month."""
    month = quantities(counts, jobs=jobs, interval=interval)
    return sum(price.of(month[name], with_free=with_free) for name, price in prices().items())


def figures() -> Group:
    """Count, and return the bills."""
    counts = measure()
    files = {COUNTS: json.dumps(counts, indent=2) + "\n", README: with_costs(README.read_text(), counts)}
    return Group("Costs", _ABOUT.format(prices=about()), tuple(_figures(counts)), tuple(_lines(counts)), files)


def _figures(counts: Any) -> Iterator[Figure]:
    for interval in sorted(INTERVALS, reverse=True):
        for name, with_free in (("", False), ("_after_free", True)):
            idle = dollars(counts, jobs=0, interval=interval, with_free=with_free)
            yield Figure(f"idle_month_usd_{interval}s{name}", round(idle, 2), "USD", round(instance(), 2))
    for jobs in JOBS[1:]:
        for interval in sorted(INTERVALS, reverse=True):
            bill = dollars(counts, jobs=jobs, interval=interval)
            yield Figure(f"month_of_{jobs}_usd_{interval}s", round(bill, 2), "USD", round(instance(), 2))


def _lines(counts: Any) -> Iterator[str]:
    """Yield a table with every line of the bill."""
    heads = [f"{jobs:,} jobs, every {interval} s" for jobs, interval in _COLUMNS]
    months = [quantities(counts, jobs=jobs, interval=interval) for jobs, interval in _COLUMNS]
    yield f"| Line of the bill | Price | {' | '.join(heads)} |"
    yield f"|---|---:|{'---:|' * len(months)}"
    for name, price in prices().items():
        cells = [f"{_shown(month[name])}: ${price.of(month[name], with_free=False):,.3f}" for month in months]
        yield f"| [{price.line}]({price.source}) | ${price.usd:.10g} for {price.per:,} | {' | '.join(cells)} |"
    totals = [f"**{_dollars(dollars(counts, jobs=jobs, interval=interval))}**" for jobs, interval in _COLUMNS]
    yield f"| Total | | {' | '.join(totals)} |"
    yield ""


def _shown(quantity: float) -> str:
    return f"{quantity:,.0f}" if quantity >= 100 else f"{quantity:.3g}"


_MARKED = re.compile(r"(?<=<!-- counted by `make bench` -->\n).*?(?=<!-- end -->)", re.DOTALL)


def with_costs(text: str, counts: Any) -> str:
    """Return a document with the table of costs, and what it consists of, between its two markers."""
    shown = "\n".join(_costs(counts))
    return _MARKED.sub(lambda _: f"{shown}\n", text)


def _costs(counts: Any) -> Iterator[str]:
    heads = [
        f"This, polled every {interval} s" if not index else f"Every {interval} s"
        for index, interval in enumerate(INTERVALS)
    ]
    yield f"| Runs a month | {' | '.join(heads)} | An agent on a t2.micro |"
    yield f"|---|{'---|' * (len(INTERVALS) + 1)}"
    for jobs in JOBS:
        cells = [_dollars(dollars(counts, jobs=jobs, interval=interval)) for interval in INTERVALS]
        yield f"| {jobs:,} | {' | '.join(cells)} | {_dollars(instance())} |"
    yield from ("", *wrap(" ".join(_explained(counts)), 140, break_on_hyphens=False))


def _explained(counts: Any) -> Iterator[str]:
    """Yield what the costs consist of, as sentences."""
    idle = [quantities(counts, jobs=0, interval=interval) for interval in INTERVALS]
    busy, job, priced = quantities(counts, jobs=max(JOBS), interval=max(INTERVALS)), counts["job"], prices()
    of = {name: _dollars(priced[name].of(busy[name], with_free=False)) for name in (*_FIXED, "metrics")}
    polls = [
        sum(price.of(month[name], with_free=False) for name, price in priced.items() if name not in _FIXED)
        for month in idle
    ]
    free = [dollars(counts, jobs=0, interval=interval, with_free=True) for interval in INTERVALS]
    each = sum(
        price.of(job[name], with_free=False) for name, price in priced.items() if name in job and name != "metrics"
    )
    yield (
        f"Idle: the dashboard ({of['dashboards']}), {busy['alarms']} alarms ({of['alarms']}), the secret "
        f"({of['secrets']}), and polls, sweeps and all their calls ({', '.join(map(_dollars, polls))}). With what is "
        f"free in every account, such as three dashboards and ten alarms, {', '.join(map(_dollars, free))}."
    )
    yield (
        f"While runs end, {busy['metrics']:.0f} metrics are written ({of['metrics']} if they are every hour; ten are "
        f"free). A run adds ${each:.5f}: {job['transitions']:.0f} state transitions, {job['lambda_requests']:.0f} "
        f"calls of functions, {job['dynamodb_writes']:.0f} units of writes. An image build: $0.01 a minute."
    )


def _dollars(value: float) -> str:
    return f"${value:,.2f}"
