"""Rules for a container's environment that SageMaker's model does not have."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from launch_agent.plan.fault import Fault
from launch_agent.plan.run_environment import API_KEY, ARTIFACTS, BASE_URL, CONFIG, FILES, MAX_VALUE, MOST_VARIABLES

_A_KEY = "x" * 40
_PIECES = {"overrides.run_config": CONFIG, "overrides.files": FILES}
_WITH_SH = "A container that starts through sh has no such limit: docs/configuration.md says when it does."
_LEADS_ASIDE = frozenset(
    {
        BASE_URL,
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "WANDB_HTTP_PROXY", "WANDB_HTTPS_PROXY", "WANDB_X_PROXIES"),
        *("WANDB__PROXIES", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
        *("WANDB_INSECURE_DISABLE_SSL", "WANDB_IDENTITY_TOKEN_FILE", "NETRC"),
    }
)
"""Variables, in capitals, that make the wandb SDK send its requests, with the API key, to another server or without
checking TLS."""


def environment_faults(
    variables: Mapping[str, Any], *, own: Mapping[str, Any], computed: Mapping[str, str], has_own_key: bool
) -> Iterator[Fault]:
    """Yield the faults of the final `variables`: `own` are the queue's, `computed` the launch agent's.

    `has_own_key` is whether the queue sets the API key, or the container gets none.
    """
    yield from _too_many(variables, own)
    artifacts = variables.get(ARTIFACTS)
    if isinstance(artifacts, str) and len(artifacts) > MAX_VALUE:
        yield Fault(
            f"Environment.{ARTIFACTS}",
            f"overrides.artifacts makes {ARTIFACTS} {len(artifacts)} characters long. A variable can have at most "
            f"{MAX_VALUE}, and the wandb SDK cannot read this one in pieces. Override fewer artifacts, or name them "
            f"in the code with run.use_artifact. {_WITH_SH}",
        )
    if not has_own_key:
        yield from _leading_aside(own, computed)


def _too_many(variables: Mapping[str, Any], own: Mapping[str, Any]) -> Iterator[Fault]:
    if len(variables) <= MOST_VARIABLES:
        return
    takes = {
        what: sum(bool(re.fullmatch(rf"{name}(_\d+)?", variable)) for variable in variables if variable not in own)
        for what, name in _PIECES.items()
    }
    takes["the queue's Environment"] = len(own.keys() & variables.keys())
    takes["the launch agent, with the API key,"] = len(variables) - sum(takes.values())
    parts = sorted(((count, what) for what, count in takes.items() if count), reverse=True)
    most = f"{parts[0][1]} takes {parts[0][0]} of them"
    yield Fault(
        "Environment",
        f"Environment would have {len(variables)} variables, and SageMaker allows {MOST_VARIABLES}: "
        f"{', '.join([most, *(f'{what} {count}' for count, what in parts[1:])])}. Override less, put the rest into a "
        f"file or an artifact that the code reads, or remove variables from the queue's Environment. {_WITH_SH}",
    )


def _leading_aside(own: Mapping[str, Any], computed: Mapping[str, str]) -> Iterator[Fault]:
    for name, value in own.items():
        is_ours = name == BASE_URL and isinstance(value, str) and value.rstrip("/") == computed[BASE_URL].rstrip("/")
        if name.upper() in _LEADS_ASIDE and not is_ours:
            instead = "Leave it out" if name == BASE_URL else "Set it in the image"
            yield Fault(
                f"Environment.{name}",
                f"Environment.{name} is not allowed: it could send the container's W&B API key to another server. "
                f"{instead}, or add a {API_KEY} to the queue's Environment.",
            )
