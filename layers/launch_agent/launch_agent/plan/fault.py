"""A fault of a request, with its key."""

from typing import NamedTuple


class Fault(NamedTuple):
    """What is wrong and what to do. It replaces the faults that SageMaker's model reports for the key `at`."""

    at: str
    says: str
