"""A fault of a request, with the key it is about."""

from typing import NamedTuple


class Fault(NamedTuple):
    """What is wrong and what to do, in a sentence. It replaces what SageMaker's model says of the key `at`."""

    at: str
    says: str
