"""Switches for AWS behaviour that is not known, or differs between accounts."""

from dataclasses import dataclass
from typing import Any

from local.aws import seams


@dataclass
class Behaviour:
    """How this AWS behaves. Tests can change it at run time."""

    event_tags: str = "map"
    """The form of the tags in SageMaker's status events: a `map`, a `list` of Key and Value, `absent`, or `mixed`."""
    event_copies: int = 1
    """How often each status event is sent. AWS may deliver an event more than once."""
    concurrency: int = 10
    """How many function calls run at a time in the account. A new account has 10."""

    def change(self, **switches: Any) -> None:
        """Change switches. Raises TypeError for an unknown switch."""
        self.__dict__.update(vars(type(self)(**{**vars(self), **switches})))
        seams.replace("ministack.services.lambda_svc:_ACCOUNT_CONCURRENCY_CAP", self.concurrency)
