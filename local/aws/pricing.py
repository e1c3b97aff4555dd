"""The AWS Price List: the prices of some training instances, in the form of GetProducts.

The attributes are those of AWS's list. The prices of other types are not listed, as happens with new types.
"""

import json
import zlib
from typing import Any

from local import REGION
from local.aws import seams
from local.aws.json_service import JsonService, Refused

_AN_HOUR = {"ml.m5.large": "0.1150000000", "ml.m5.xlarge": "0.2300000000", "ml.g5.xlarge": "1.4080000000"}
_PREFIX = "USE1"


class Pricing:
    """Answers GetProducts for SageMaker."""

    def __init__(self) -> None:
        self._service = JsonService("pricing", {"GetProducts": self._products}, invalid="InvalidParameterException")

    def install(self) -> None:
        """Let ministack route calls for prices here."""
        patterns = {"target_prefixes": ["AWSPriceListService."], "host_patterns": [r"api\.pricing\."]}
        seams.add("ministack.core.router:SERVICE_PATTERNS", "pricing", patterns)
        seams.add("ministack.app:SERVICE_HANDLERS", "pricing", self._service.handle)
        seams.add("ministack.core.iam_actions:SERVICE_TO_IAM_NAMESPACE", "pricing", "pricing")

    def _products(self, asked: dict[str, Any], _: dict[str, str]) -> dict[str, Any]:
        if asked["ServiceCode"] != "AmazonSageMaker" or any(each["Type"] != "TERM_MATCH" for each in asked["Filters"]):
            raise Refused("InvalidParameterException", "The embedded AWS lists only SageMaker, and only by TERM_MATCH.")
        wanted = {each["Field"]: each["Value"] for each in asked["Filters"]}
        products = [_product(name, kind) for name in _AN_HOUR for kind in ("Training", "Hosting")]
        found = [each for each in products if wanted.items() <= each["product"]["attributes"].items()]
        return {"FormatVersion": "aws_v1", "PriceList": [json.dumps(each) for each in found]}


def _product(name: str, component: str) -> dict[str, Any]:
    sku = f"{zlib.crc32(f'{component} {name}'.encode()):016X}"
    usage = {"Training": "Train", "Hosting": "Host"}[component]
    return {
        "product": {
            "productFamily": "ML Instance",
            "attributes": {
                "regionCode": REGION,
                "servicecode": "AmazonSageMaker",
                "servicename": "Amazon SageMaker",
                "instanceName": name,
                "component": component,
                "operation": "RunInstance",
                "usagetype": f"{_PREFIX}-{usage}:{name}",
            },
            "sku": sku,
        },
        "serviceCode": "AmazonSageMaker",
        "terms": {
            "OnDemand": {
                f"{sku}.JRTCKXETXF": {
                    "priceDimensions": {
                        f"{sku}.JRTCKXETXF.6YS6EN2CT7": {
                            "unit": "Hrs",
                            "endRange": "Inf",
                            "beginRange": "0",
                            "rateCode": f"{sku}.JRTCKXETXF.6YS6EN2CT7",
                            "pricePerUnit": {"USD": _AN_HOUR[name]},
                        }
                    },
                    "sku": sku,
                    "offerTermCode": "JRTCKXETXF",
                }
            }
        },
        "version": "20261101000000",
        "publicationDate": "2026-11-01T00:00:00Z",
    }
