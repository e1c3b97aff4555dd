"""The endpoints of AWS's services: whether a connection from this function reaches them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import urllib3
from urllib3.exceptions import HTTPError

from launch_agent.clients.aws import aws_client
from launch_agent.clients.http import Http

if TYPE_CHECKING:
    from concurrent.futures import Executor

OF_FUNCTIONS = {
    "dynamodb": "dynamodb",
    "events": "events",
    "logs": "logs",
    "s3": "s3",
    "sagemaker.api": "sagemaker",
    "secretsmanager": "secretsmanager",
    "states": "stepfunctions",
}
"""botocore's name of each service that functions need, by the name of its VPC endpoint
(https://docs.aws.amazon.com/vpc/latest/privatelink/aws-services-privatelink-support.html)."""
OF_BUILDS = {"codebuild": "codebuild", "ecr.api": "ecr", "ecr.dkr": "ecr", "lambda": "lambda", "sts": "sts"}
"""The same for services that stacks need which build images. `ecr.dkr` is the registry, on a host of its own."""
OF_TICKS = {"sqs": "sqs"}
"""The same for stacks that poll more than once a minute."""
_SECONDS = 3


class Endpoints:
    """The endpoints of this region."""

    def __init__(self, pool: "Executor", account: str) -> None:
        """`pool` has threads for the connections; `account` is the one of the registry. Nothing is sent yet."""
        self._pool, self._account = pool, account
        self._http = Http(timeout=urllib3.Timeout(connect=_SECONDS, read=_SECONDS), retries=False)

    def unreachable(self, services: Mapping[str, str]) -> dict[str, str]:
        """Return which services no connection reaches, and why, by the names of their VPC endpoints.

        `services` has botocore's name of each service. Any answer will do.
        """
        urls = {name: str(aws_client(service).meta.endpoint_url) for name, service in services.items()}  # type: ignore[call-overload]  # it knows services by their literal names
        if "ecr.dkr" in urls:
            # https://docs.aws.amazon.com/AmazonECR/latest/userguide/ecr-requests.html
            urls["ecr.dkr"] = urls["ecr.dkr"].replace("://api.ecr.", f"://{self._account}.dkr.ecr.")
        reasons = zip(urls, self._pool.map(self._why_not, urls.values()), strict=True)
        return {name: why for name, why in reasons if why}

    def _why_not(self, url: str) -> str:
        try:
            self._http.request("GET", url, redirect=False)
        except HTTPError as error:
            return type(error).__name__
        return ""
