"""What every AWS client shares: its session, its configuration, and the translation of AWS's error codes into ours.

botocore creates the clients: boto3 adds nothing that is used here, and makes every cold start longer.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.config import Config
from botocore.exceptions import ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as AwsConnectionError
from botocore.loaders import Loader
from botocore.session import Session

from launch_agent.clients.parallel import CALLS_AT_ONCE
from launch_agent.errors import AwsRefused, AwsThrottled
from launch_agent.remedies import explained

CONFIG = Config(
    retries={"mode": "standard", "total_max_attempts": 3},
    connect_timeout=5,
    read_timeout=15,
    max_pool_connections=CALLS_AT_ONCE,
)

SERVICE_MODELS = Path(__file__).parents[1] / "service_models"
"""The models of the operations that are used here. Only the built layer has them: `service_models.py` writes them."""


class _Loader(Loader):
    """Reads service models. botocore looks through those of all services first, a twentieth of a cold start."""

    def list_available_services(self, type_name: str) -> list[str]:
        """Return the names of all services, also of those that have no file of the type."""
        return [name for path in self.search_paths if os.path.isdir(path) for name in os.listdir(path)]


def new_session(models: Path = SERVICE_MODELS) -> Session:
    """Return a session that looks for service models in a folder first, and then among botocore's own."""
    session = Session()
    session.register_component("data_loader", _Loader(extra_search_paths=[str(models)]))
    return session


session = cache(new_session)
"""The session of this process. Its clients share what it has read."""

if TYPE_CHECKING:
    import boto3

    aws_client = boto3.client  # its types say which client a service's name stands for
else:

    def aws_client(service: str, *, config: Config = CONFIG, **where: Any) -> Any:
        """Return a client for a service, as `boto3.client` does. Nothing is sent."""
        return session().create_client(service, config=config, **where)


_TRANSIENT = frozenset(
    {
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "InternalServerException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionConflictException",
        "TransactionInProgressException",
    }
)


def error_code(error: ClientError) -> str:
    """Return AWS's code of an error."""
    return str(error.response["Error"]["Code"])


def error_message(error: ClientError) -> str:
    """Return AWS's message of an error."""
    return str(error.response["Error"].get("Message", error))


@contextmanager
def throttled(*known: str) -> Iterator[None]:
    """Raise AwsThrottled for errors that may pass. Other errors, and those with a `known` code, are not changed."""
    try:
        yield
    except ClientError as error:
        may_work_later = error_code(error) in _TRANSIENT or error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500
        if may_work_later and error_code(error) not in known:
            raise AwsThrottled(f"{error.operation_name}: {error_message(error)}") from error
        raise
    except (AwsConnectionError, HTTPClientError) as error:
        raise AwsThrottled(f"AWS did not answer: {type(error).__name__}") from error


@contextmanager
def translated(*known: str) -> Iterator[None]:
    """Raise AwsThrottled for errors that may pass, and AwsRefused for others.

    Errors with a `known` code are not changed: the client handles them.
    """
    try:
        with throttled(*known):
            yield
    except ClientError as error:
        if error_code(error) in known:
            raise
        raise refused(error) from None


def refused(error: ClientError) -> AwsRefused:
    """Return AwsRefused for an error, with the operation, AWS's message and its code."""
    return AwsRefused(explained(f"{error.operation_name}: {error_message(error)} ({error_code(error)})"))
