"""The one embedded AWS of this process: its settings, and boto3 clients that speak to it as this or that role."""

import hashlib
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from local import ACCOUNT_ID, REGION
from local.aws import seams


@dataclass
class Cloud:
    """What was asked for on the command line, and the clients made so far."""

    port: int
    data: Path
    lambda_python: Path
    speed: float = 1.0
    iam: bool = False
    container_tool: str = "auto"
    trust_ca: Path | None = None
    """A certificate that git trusts in builds."""
    _clients: dict[tuple[str, str, str], Any] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _session: Any = field(default_factory=boto3.Session, repr=False)

    @property
    def url(self) -> str:
        """Where it is served."""
        return f"http://127.0.0.1:{self.port}"

    def scaled(self, seconds: float) -> float:
        """Return how long a wait of so many seconds takes at this speed."""
        return seconds / self.speed

    def credentials(self, role_arn: str, session: str) -> dict[str, str]:
        """Return credentials of a role, as an environment: without enforcement the account's, else a session's."""
        if not self.iam:
            return {"AWS_ACCESS_KEY_ID": ACCOUNT_ID, "AWS_SECRET_ACCESS_KEY": "test"}
        name = role_arn.rsplit("/", 1)[-1]
        digest = hashlib.sha256(f"{role_arn}:{session}".encode()).hexdigest()
        key, secret, token = f"ASIA{digest[:16].upper()}", digest[16:56], digest
        arn = f"arn:aws:sts::{ACCOUNT_ID}:assumed-role/{name}/{session[:64]}"
        register = seams.use("ministack.services.sts:register_session")
        register(
            key,
            {"Arn": arn, "UserId": f"{name}:{session[:64]}", "SecretAccessKey": secret, "SessionToken": token},
        )
        return {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret, "AWS_SESSION_TOKEN": token}

    def client(self, service: str, role_arn: str = "", session: str = "local") -> Any:
        """Return a client of this AWS for a role or, without one, for its owner. It is kept: making one is slow."""
        known = (service, role_arn, session if self.iam else "")
        with self._lock:
            if known not in self._clients:
                owner = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
                keys = self.credentials(role_arn, session) if role_arn else owner
                client = self._session.client(
                    service,
                    region_name=REGION,
                    endpoint_url=self.url,
                    config=Config(
                        retries={"total_max_attempts": 1},
                        read_timeout=900,
                        max_pool_connections=64,
                        parameter_validation=False,
                        s3={"addressing_style": "path"},
                    ),
                    **{name.lower(): value for name, value in keys.items()},
                )
                client.meta.events.register("after-call", _identify)
                self._clients[known] = client
            return self._clients[known]


def _identify(parsed: dict[str, Any], **_: Any) -> None:
    """Give an answer the request id that the interpreter writes into an error, where the emulator has sent none."""
    parsed.setdefault("ResponseMetadata", {}).setdefault("RequestId", "local")
