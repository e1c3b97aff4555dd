"""References to secrets in a queue's `Environment`: `${secret:NAME}`, `${secret:NAME:json-key}`, or an ARN as the name.

The operator of the stack lists the secrets in the parameter RunSecretArns. Values are only in the container's channel.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from launch_agent.model import shown
from launch_agent.plan.fault import Fault

_REFERENCE = re.compile(r"\$\{secret:([^{}]*)\}")
_PARTS_OF_ARN = 7
_SUFFIX = len("-AbC123")
"""What Secrets Manager adds to the name of a secret in its ARN."""


class Reference(NamedTuple):
    """A secret, by its ARN, and the key of its JSON value; an empty key means the whole value."""

    arn: str
    key: str


def has_reference(value: object) -> bool:
    """Whether the value of a variable names a secret."""
    return isinstance(value, str) and _REFERENCE.search(value) is not None


def filled(value: str, allowed: str, read: Callable[[Reference], str]) -> str:
    """Return a value with its references replaced by what `read` returns.

    Raises LookupError for a secret that is not in `allowed`, the parameter RunSecretArns.
    """
    return _REFERENCE.sub(lambda found: read(_reference(found[1], allowed)), value)


def secret_faults(environment: Mapping[str, Any], allowed: str, *, can_deliver: bool) -> Iterator[Fault]:
    """Yield the references that do not work. `allowed` is the parameter RunSecretArns."""
    for name, value in environment.items():
        for text in _REFERENCE.findall(value) if isinstance(value, str) else ():
            at, says = f"Environment.{shown(name)}", f"Environment.{shown(name)} names the secret {shown(text)}, and"
            try:
                _reference(text, allowed)
            except LookupError:
                yield Fault(at, f"{says} the stack's parameter RunSecretArns does not list it.")
            else:
                if not can_deliver:
                    yield Fault(
                        at,
                        f"{says} this container gets no input channel for it: it runs one of SageMaker's algorithms, "
                        "or api_key_delivery in launch-config.yaml is environment.",
                    )


def build_secret_faults(secrets: Mapping[str, str], allowed: str) -> Iterator[str]:
    """Yield what is wrong with `builder.secrets` of a queue. `allowed` is the parameter RunSecretArns."""
    for name, value in secrets.items():
        if not has_reference(value):
            yield (
                f"builder.secrets.{shown(name)} has a value that everyone can read who can read the queue. Store it in "
                "AWS Secrets Manager, and write ${secret:NAME}."
            )
        for text in _REFERENCE.findall(value):
            try:
                _reference(text, allowed)
            except LookupError:
                yield (
                    f"builder.secrets.{shown(name)} names the secret {shown(text)}, and the stack's parameter "
                    "RunSecretArns does not list it."
                )


def _reference(text: str, allowed: str) -> Reference:
    """Raises LookupError if no secret that is allowed has this ARN or name."""
    parts = text.split(":")
    count = _PARTS_OF_ARN if parts[0] == "arn" else 1
    name, key = ":".join(parts[:count]), ":".join(parts[count:])
    for arn in filter(None, allowed.split(",")):
        if name in (arn, arn.split(":")[-1][:-_SUFFIX]):
            return Reference(arn, key)
    raise LookupError(text)
