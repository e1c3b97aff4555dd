"""What the builder says: in the build's log, in its one line of error, and on the queue item, without credentials."""

import re
from collections.abc import Iterable
from urllib.parse import quote

LONGEST_LINE = 4_000

_SIGNED_IN = re.compile(r"(?<=//)[^\s/]*@")
_IN_QUERY = re.compile(
    r"(?P<name>[?&](?:X-Amz-(?:Credential|Security-Token|Signature)|(?:access_|auth_|private_)?token|password|sig)=)[^\s&]+",
    re.IGNORECASE,
)
_SHORTEST_SECRET = 8
"""Shorter ones are words that occur by chance."""


class Log:
    """Says lines without what has to stay secret: the secrets it was told, and credentials in addresses."""

    def __init__(self) -> None:
        """Begin with no secrets known."""
        self._secrets: set[str] = set()

    def keep_out(self, secrets: Iterable[str]) -> None:
        """Learn secrets: their lines, for one of several such as a key, and their forms in an address."""
        for secret in secrets:
            for line in secret.splitlines():
                self._secrets |= {each for each in (line, quote(line, safe="")) if len(each) >= _SHORTEST_SECRET}

    def say(self, line: str) -> None:
        """Write a line into the build's log."""
        print(self.cleaned(line), flush=True)  # noqa: T201 - what a build prints is its log

    def cleaned(self, text: str, *, at_most: int = LONGEST_LINE) -> str:
        """Return a text as it may be shown: without secrets and control characters, and not too long."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, "[removed]")
        text = _IN_QUERY.sub(r"\g<name>[removed]", _SIGNED_IN.sub("", text))
        # Characters that are no text cannot be printed, and a return would begin a line of somebody else's making.
        text = text.encode(errors="backslashreplace").decode()
        text = "".join(each if each.isprintable() or each in "\n\t" else " " for each in text)
        return text if len(text) <= at_most else f"{text[: at_most - 4]} ..."
