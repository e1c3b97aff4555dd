"""Service Quotas: the account's quotas for training jobs and builds."""

from typing import Any

from local.aws import seams
from local.aws.json_service import JsonService, Operation

_MANY = 1_000.0


class ServiceQuotas:
    """The quotas of a few instance types, and those of builds. All are high at first."""

    def __init__(self) -> None:
        """Start with high quotas."""
        instances = [f"ml.m5.large for {kind} usage" for kind in ("training job", "spot training job")]
        builds = [f"Concurrently running builds for Linux/{size} environment" for size in ("Small", "Medium", "Large")]
        self._values = {"sagemaker": dict.fromkeys(instances, _MANY), "codebuild": dict.fromkeys(builds, _MANY)}

    def install(self) -> None:
        """Let ministack route the calls here."""
        operations: dict[str, Operation] = {
            "ListServiceQuotas": self._list,
            "ListAWSDefaultServiceQuotas": lambda *_: {"Quotas": []},
        }
        service = JsonService("service-quotas", operations, invalid="IllegalArgumentException")
        patterns = {"target_prefixes": ["ServiceQuotasV20190624."], "host_patterns": [r"servicequotas\."]}
        seams.add("ministack.core.router:SERVICE_PATTERNS", "servicequotas", patterns)
        seams.add("ministack.app:SERVICE_HANDLERS", "servicequotas", service.handle)
        seams.add("ministack.core.iam_actions:SERVICE_TO_IAM_NAMESPACE", "servicequotas", "servicequotas")

    def set(self, values: dict[str, dict[str, float]]) -> None:
        """Set quotas, by service and name."""
        for service, changed in values.items():
            self._values[service] |= changed

    def _list(self, asked: dict[str, Any], _: dict[str, str]) -> dict[str, Any]:
        values = self._values.get(asked["ServiceCode"], {})
        return {"Quotas": [{"QuotaName": name, "Value": value} for name, value in values.items()]}
