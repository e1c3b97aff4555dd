"""Service Quotas: the account's quotas, by their names in the console."""

from collections import defaultdict
from typing import Any

from launch_agent.clients.aws import aws_client, translated

_LISTS = ("list_service_quotas", "list_aws_default_service_quotas")
"""The account's own values, and the defaults, which apply where the account has no value
(https://docs.aws.amazon.com/servicequotas/2019-06-24/apireference/API_ListServiceQuotas.html)."""


class Quotas:
    """The quotas of this account and region."""

    def __init__(self) -> None:
        """Create the AWS client; nothing is sent yet."""
        self._quotas: Any = aws_client("service-quotas")
        self._seen: defaultdict[str, dict[str, float]] = defaultdict(dict)

    def find(self, service: str, name: str) -> float | None:
        """Return a quota of a service; None if it does not exist. Raises AwsThrottled and AwsRefused."""
        for listing in _LISTS:
            if name not in self._seen[service]:
                self._seen[service] = self._all(listing, service) | self._seen[service]
        return self._seen[service].get(name)

    def _all(self, listing: str, service: str) -> dict[str, float]:
        pages = self._quotas.get_paginator(listing).paginate(ServiceCode=service, PaginationConfig={"PageSize": 100})
        with translated():
            return {each["QuotaName"]: each["Value"] for page in pages for each in page["Quotas"]}
