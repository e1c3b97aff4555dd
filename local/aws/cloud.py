"""This process's embedded AWS: its settings, and boto3 clients for it with the credentials of any role."""

import secrets
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import boto3
from botocore.config import Config

from local import ACCOUNT_ID, REGION
from local.aws import seams


class Keys(NamedTuple):
    """The keys that a caller signs with. Only a role's session has a token."""

    access_key: str
    secret_key: str
    token: str = ""


@dataclass
class Cloud:
    """The settings from the command line, and a cache of sessions and clients."""

    port: int
    data: Path
    lambda_python: Path
    owner: Keys
    speed: float = 1.0
    container_tool: str = "auto"
    trust_ca: Path | None = None
    """A certificate that git trusts in builds."""
    _sessions: dict[tuple[str, str], Keys] = field(default_factory=dict, repr=False)
    _clients: dict[tuple[str, str, str], Any] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _boto3: Any = field(default_factory=boto3.Session, repr=False)

    @property
    def url(self) -> str:
        """The URL of this AWS."""
        return f"http://127.0.0.1:{self.port}"

    def scaled(self, seconds: float) -> float:
        """Return how long a wait of this many seconds takes at this AWS's speed."""
        return seconds / self.speed

    def register_owner(self) -> None:
        """Make the owner's keys those of the account's root user."""
        arn = f"arn:aws:iam::{ACCOUNT_ID}:root"
        session = {"Arn": arn, "UserId": ACCOUNT_ID, "PrincipalType": "Root", "SecretAccessKey": self.owner.secret_key}
        seams.use("ministack.services.sts:register_session")(self.owner.access_key, session)

    def knows(self, access_key: str) -> bool:
        """Return whether a key is valid here: the owner's, or a session's."""
        return access_key in seams.use("ministack.services.sts:_sessions")

    def credentials(self, role_arn: str, session: str) -> dict[str, str]:
        """Return the credentials of a role's session, as environment variables."""
        keys = self._keys(role_arn, session)
        return {
            "AWS_ACCESS_KEY_ID": keys.access_key,
            "AWS_SECRET_ACCESS_KEY": keys.secret_key,
            "AWS_SESSION_TOKEN": keys.token,
        }

    def _keys(self, role_arn: str, session: str) -> Keys:
        known = self._sessions.get((role_arn, session))
        if known:
            return known
        name = role_arn.rsplit("/", 1)[-1]
        keys = Keys(f"ASIA{secrets.token_hex(8).upper()}", secrets.token_hex(20), secrets.token_hex(32))
        described = {
            "Arn": f"arn:aws:sts::{ACCOUNT_ID}:assumed-role/{name}/{session[:64]}",
            "UserId": f"{name}:{session[:64]}",
            "SecretAccessKey": keys.secret_key,
            "SessionToken": keys.token,
        }
        seams.use("ministack.services.sts:register_session")(keys.access_key, described)
        self._sessions[role_arn, session] = keys
        return keys

    def client(self, service: str, role_arn: str = "", session: str = "local") -> Any:
        """Return a cached client for this AWS, with the keys of a role's session or, without a role, the owner's."""
        known = (service, role_arn, session)
        with self._lock:
            if known not in self._clients:
                keys = self._keys(role_arn, session) if role_arn else self.owner
                client = self._boto3.client(
                    service,
                    region_name=REGION,
                    endpoint_url=self.url,
                    aws_access_key_id=keys.access_key,
                    aws_secret_access_key=keys.secret_key,
                    aws_session_token=keys.token or None,
                    config=Config(
                        retries={"total_max_attempts": 1},
                        read_timeout=900,
                        max_pool_connections=64,
                        parameter_validation=False,
                        s3={"addressing_style": "path"},
                    ),
                )
                client.meta.events.register("after-call", _identify)
                self._clients[known] = client
            return self._clients[known]


def _identify(parsed: dict[str, Any], **_: Any) -> None:
    """Add a request id to an answer without one; the interpreter needs it for its errors."""
    parsed.setdefault("ResponseMetadata", {}).setdefault("RequestId", "local")
