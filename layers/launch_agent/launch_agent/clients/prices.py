"""The prices of training instances: from the AWS Price List, kept in the table Runs with the day of each.

Sources: https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_pricing_GetProducts.html, and the
attributes of AmazonSageMaker in the list itself.
"""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

from botocore.config import Config
from pydantic import Field, ValidationError

from launch_agent.clients.aws import aws_client, translated
from launch_agent.clients.table import Table
from launch_agent.model import Wire
from launch_agent.outcome.results import Prices

_QUICK = Config(retries={"mode": "standard", "total_max_attempts": 2}, connect_timeout=2, read_timeout=5)
"""A run's report waits for the price, and can do without it."""

_ENDPOINTS = {"ap": "ap-south-1", "eu": "eu-central-1"}
"""The list is the same at each of its endpoints (https://docs.aws.amazon.com/general/latest/gr/billing.html)."""

_ELSEWHERE = "us-east-1"
_KEEP = timedelta(days=7)


class PriceList:
    """Prices of an hour by instance type, in one region. Every method may raise AwsThrottled and AwsRefused."""

    def __init__(self, table: str, *, partition: str, region: str) -> None:
        """`table` is the name of the table Runs. Nothing is sent yet."""
        self._table, self._partition, self._region = Table(table), partition, region

    def of(self, types: set[str]) -> Prices:
        """Return the on-demand prices of instance types; those that AWS does not list are missing.

        In other partitions than AWS's own, no endpoint has prices in US dollars, so all are missing.
        """
        if self._partition != "aws":
            return Prices()
        today = datetime.now(UTC).date()
        found = {name: price for name in sorted(types) if (price := self._known(name, today) or self._ask(name, today))}
        days = [day for _, day in found.values()]
        return Prices({name: price for name, (price, _) in found.items()}, min(days, default=None))

    def _known(self, name: str, today: date) -> tuple[float, str] | None:
        stored = self._table.get(self._key(name))
        if not stored or date.fromisoformat(stored["day"]) + _KEEP < today:
            return None
        return float(stored["dollars"]), stored["day"]

    def _ask(self, name: str, today: date) -> tuple[float, str] | None:
        """Return a price from AWS, and keep it; None if it is not known."""
        dollars = listed_price(name, self._region)
        if dollars is None:
            return None
        kept = {"dollars": str(dollars), "day": today.isoformat(), "ttl": int((datetime.now(UTC) + _KEEP).timestamp())}
        self._table.make(self._table.change(self._key(name), set_=kept))
        return dollars, today.isoformat()

    def _key(self, name: str) -> str:
        return f"price#{self._region}#{name}"


def listed_price(name: str, region: str) -> float | None:
    """Return the on-demand price of an instance type from AWS; None if AWS lists none, or several.

    Raises AwsThrottled and AwsRefused.
    """
    pricing = aws_client("pricing", region_name=_ENDPOINTS.get(region.partition("-")[0], _ELSEWHERE), config=_QUICK)
    wanted = {"regionCode": region, "instanceName": name, "component": "Training"}
    with translated():
        answer = pricing.get_products(
            ServiceCode="AmazonSageMaker",
            Filters=[{"Type": "TERM_MATCH", "Field": key, "Value": value} for key, value in wanted.items()],
        )
    prices = {price for product in answer["PriceList"] for price in _prices(product, name)}
    return prices.pop() if len(prices) == 1 else None


class _Dimension(Wire):
    unit: str = ""
    per_unit: dict[str, float] = Field(alias="pricePerUnit", default_factory=dict)


class _Term(Wire):
    dimensions: dict[str, _Dimension] = Field(alias="priceDimensions", default_factory=dict)


class _Terms(Wire):
    on_demand: dict[str, _Term] = Field(alias="OnDemand", default_factory=dict)


class _Attributes(Wire):
    usage: str = Field(alias="usagetype", default="")


class _Described(Wire):
    attributes: _Attributes = Field(default_factory=_Attributes)


class _Product(Wire):
    product: _Described = Field(default_factory=_Described)
    terms: _Terms = Field(default_factory=_Terms)


def _prices(text: str, name: str) -> Iterator[float]:
    """Yield the prices of an hour in a product of the list, if it is a training instance of this type."""
    try:
        product = _Product.model_validate_json(text)
    except ValidationError:
        return
    if re.fullmatch(rf"([A-Z0-9]+-)?Train:{re.escape(name)}", product.product.attributes.usage):
        for term in product.terms.on_demand.values():
            for dimension in term.dimensions.values():
                dollars = dimension.per_unit.get("USD", 0)
                if dollars > 0 and dimension.unit == "Hrs":
                    yield dollars
