"""What is not known of AWS, or differs from account to account, as switches."""

from dataclasses import dataclass
from typing import Any

from local.aws import seams


@dataclass
class Behaviour:
    """How this AWS behaves. It can be changed while it runs."""

    event_tags: str = "map"
    """How a status event of SageMaker shows tags: as a `map`, a `list` of Key and Value, `absent`, or `mixed`."""
    event_copies: int = 1
    """How often each status event is sent; AWS says that there may be several."""
    concurrency: int = 10
    """How many functions run at a time in the account; a new account has 10."""

    def change(self, **switches: Any) -> None:
        """Behave otherwise from now on. Raises TypeError for a switch that there is not."""
        self.__dict__.update(vars(type(self)(**{**vars(self), **switches})))
        seams.replace("ministack.services.lambda_svc:_ACCOUNT_CONCURRENCY_CAP", self.concurrency)
