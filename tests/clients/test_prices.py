"""The prices of training instances, from the AWS Price List and from the table."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from launch_agent.clients.prices import PriceList
from launch_agent.outcome.results import Prices
from tests.answering import Answer, answering
from tests.simulation.world import price_of

TODAY = datetime.now(UTC).date().isoformat()
NOTHING, KEPT = Answer(200, {}), Answer(200, {})
LISTED = Answer(200, {"FormatVersion": "aws_v1", "PriceList": [json.dumps(price_of("ml.m5.large", "0.1150000000"))]})


def stored(day: str) -> Answer:
    return Answer(200, {"Item": {"pk": {"S": "x"}, "dollars": {"S": "0.2"}, "day": {"S": day}}})


def price_list(region: str = "eu-west-1", partition: str = "aws") -> PriceList:
    return PriceList("runs", partition=partition, region=region)


@pytest.mark.parametrize(
    ("region", "endpoint"),
    [
        ("us-west-2", "us-east-1"),
        ("sa-east-1", "us-east-1"),
        ("eu-west-1", "eu-central-1"),
        ("ap-northeast-1", "ap-south-1"),
    ],
)
def test_the_price_is_asked_for_at_the_nearest_endpoint(
    region: str, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(NOTHING, LISTED, KEPT) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        assert price_list(region).of({"ml.m5.large"}) == Prices({"ml.m5.large": 0.115}, TODAY)
        looked, asked, kept = server.asked
    assert looked.json["Key"] == {"pk": {"S": f"price#{region}#ml.m5.large"}}
    assert f"/{endpoint}/pricing/aws4_request" in asked.headers["Authorization"]
    assert {each["Field"]: each["Value"] for each in asked.json["Filters"]} == {
        "regionCode": region,
        "instanceName": "ml.m5.large",
        "component": "Training",
    }
    assert kept.json["ExpressionAttributeValues"][":dollars"] == {"S": "0.115"}


def test_a_price_of_this_week_is_not_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(stored(TODAY)) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        assert price_list().of({"ml.m5.large"}) == Prices({"ml.m5.large": 0.2}, TODAY)
        assert len(server.asked) == 1


def test_an_older_price_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    old = (datetime.now(UTC).date() - timedelta(days=8)).isoformat()
    with answering(stored(old), LISTED, KEPT) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        assert price_list().of({"ml.m5.large"}).an_hour == {"ml.m5.large": 0.115}


@pytest.mark.parametrize("products", [["no JSON"], ["[]"], ['{"product": []}'], ['{"terms": {"OnDemand": 1}}'], []])
def test_a_list_that_cannot_be_read_has_no_price(products: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(NOTHING, Answer(200, {"PriceList": products})) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        assert price_list().of({"ml.m5.large"}) == Prices()


@pytest.mark.parametrize("partition", ["aws-cn", "aws-us-gov"])
def test_elsewhere_there_are_no_prices_in_dollars(partition: str) -> None:
    assert price_list("cn-north-1", partition).of({"ml.m5.large"}) == Prices()
