"""What every AWS client shares: how it is made, and how AWS's error codes become our errors."""

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.config import Config
from botocore.exceptions import ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as AwsConnectionError

from launch_agent.errors import AwsThrottled

CONFIG = Config(retries={"mode": "standard", "total_max_attempts": 3}, connect_timeout=5, read_timeout=15)

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
    """Return the code AWS gave an error."""
    return str(error.response["Error"]["Code"])


def error_message(error: ClientError) -> str:
    """Return AWS's own words for an error."""
    return str(error.response["Error"].get("Message", error))


@contextmanager
def translated() -> Iterator[None]:
    """Raise AwsThrottled for what may work later; other errors pass, for the client that knows what they mean."""
    try:
        yield
    except ClientError as error:
        if error_code(error) in _TRANSIENT or error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500:
            raise AwsThrottled(f"{error.operation_name}: {error_message(error)}") from error
        raise
    except (AwsConnectionError, HTTPClientError) as error:
        raise AwsThrottled(f"AWS did not answer: {type(error).__name__}") from error
