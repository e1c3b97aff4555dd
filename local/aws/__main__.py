"""`python -m local.aws`: boots the embedded AWS and serves it until it is stopped or its parent process ends.

`local.stack` starts it.
"""

import argparse
import asyncio
import configparser
import os
import socket
import tempfile
from pathlib import Path

from local import ACCOUNT_ID, REGION

_SECRETIVE = ("AWS_", "WANDB_", "SM_", "LOCALSTACK_", "MINISTACK_")
_SECRET_WORDS = ("TOKEN", "SECRET", "API_KEY", "PASSWORD")


def main() -> None:
    """Read the command line, then boot. ministack reads its settings from the environment when it is imported."""
    parser = argparse.ArgumentParser(prog="local.aws", description="The embedded AWS.")
    parser.add_argument("--socket", type=int, help="the file descriptor of a socket that listens on loopback")
    parser.add_argument("--owner", type=Path, help="the AWS config file with the key of its owner")
    parser.add_argument("--data", type=Path, help="the folder for all its files")
    parser.add_argument("--lambda-python", type=Path)
    parser.add_argument("--speed", type=float, default=1.0, help="how many times faster waiting times pass")
    parser.add_argument("--container-tool", choices=["auto", "buildah", "podman", "docker", "none"], default="auto")
    parser.add_argument("--trust-ca", type=Path, help="a certificate that git trusts in builds")
    arguments = parser.parse_args()
    arguments.data.mkdir(parents=True, exist_ok=True)
    listener = socket.socket(fileno=arguments.socket)
    port = listener.getsockname()[1]
    _set_environment(port, arguments.data)
    from local.aws.cloud import Cloud, Keys  # not earlier: they import ministack
    from local.aws.server import serve

    owner = configparser.ConfigParser()
    owner.read(arguments.owner)
    (profile,) = owner.sections()
    cloud = Cloud(
        port=port,
        data=arguments.data,
        lambda_python=arguments.lambda_python,
        owner=Keys(owner[profile]["aws_access_key_id"], owner[profile]["aws_secret_access_key"]),
        speed=arguments.speed,
        container_tool=arguments.container_tool,
        trust_ca=arguments.trust_ca,
    )
    asyncio.run(serve(cloud, listener))


def _set_environment(port: int, data: Path) -> None:
    """Remove secrets and AWS settings from the environment, and add ministack's settings."""
    for name in list(os.environ):
        if name.startswith(_SECRETIVE) or any(word in name for word in _SECRET_WORDS):
            del os.environ[name]
    os.environ.update(
        {
            "AUTH": "true",
            "AWS_EC2_METADATA_DISABLED": "true",
            "DOCKER_HOST": "unix:///nonexistent.sock",  # or ministack stops containers that it mistakes for its own
            "GATEWAY_PORT": str(port),
            "IOT_MTLS_ENABLED": "0",
            "LAMBDA_ASYNC_RETRY_BASE_SECONDS": "0.5",
            "LOG_LEVEL": "ERROR",
            "MINISTACK_ACCOUNT_ID": ACCOUNT_ID,
            "MINISTACK_HOST": "127.0.0.1",
            "MINISTACK_REGION": REGION,
            "PERSIST_STATE": "0",
            "SFTP_ENABLED": "0",
            "STATE_DIR": str(data / "state"),
            "TMPDIR": str(data),
        }
    )
    tempfile.tempdir = str(data)


if __name__ == "__main__":
    main()
