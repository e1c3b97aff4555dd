"""`python -m local.aws`: boots the embedded AWS and serves it on loopback until it is told to end."""

import argparse
import asyncio
import os
import tempfile
from pathlib import Path

from local import ACCOUNT_ID, REGION
from local.aws import seams

_SECRETIVE = ("AWS_", "WANDB_", "SM_", "LOCALSTACK_", "MINISTACK_")
_SECRET_WORDS = ("TOKEN", "SECRET", "API_KEY", "PASSWORD")


def main() -> None:
    """Read the command line, then boot: ministack reads its settings from the environment when it is imported."""
    parser = argparse.ArgumentParser(prog="local.aws", description="The embedded AWS.")
    parser.add_argument("--port", type=int, default=4566)
    parser.add_argument("--data", type=Path, default=Path(".local/aws"), help="folder for everything it writes")
    parser.add_argument("--lambda-python", type=Path, default=Path(".venvs/lambda/bin/python"))
    parser.add_argument("--speed", type=float, default=1.0, help="how many times faster what only waits passes")
    parser.add_argument("--iam", action="store_true", help="enforce IAM")
    parser.add_argument("--container-tool", choices=["auto", "buildah", "podman", "docker", "none"], default="auto")
    parser.add_argument("--trust-ca", type=Path, help="a certificate that git trusts in builds")
    parser.add_argument(
        "--check-seams", action="store_true", help="check what it reaches for in its libraries, and end"
    )
    arguments = parser.parse_args()
    if arguments.check_seams:
        seams.check()
        print(*seams.TABLE, sep="\n")
        return
    arguments.data.mkdir(parents=True, exist_ok=True)
    _set_environment(arguments.port, arguments.data.absolute(), iam=arguments.iam)
    from local.aws.cloud import Cloud  # only now: they import ministack
    from local.aws.server import serve

    cloud = Cloud(
        port=arguments.port,
        data=arguments.data.absolute(),
        lambda_python=arguments.lambda_python.absolute(),
        speed=arguments.speed,
        iam=arguments.iam,
        container_tool=arguments.container_tool,
        trust_ca=arguments.trust_ca and arguments.trust_ca.absolute(),
    )
    asyncio.run(serve(cloud))


def _set_environment(port: int, data: Path, *, iam: bool) -> None:
    """Take everything that looks like a secret or a setting of AWS's out of the environment, and put ministack's in."""
    for name in list(os.environ):
        if name.startswith(_SECRETIVE) or any(word in name for word in _SECRET_WORDS):
            del os.environ[name]
    os.environ.update(
        {
            "AUTH": "true" if iam else "false",
            "AWS_EC2_METADATA_DISABLED": "true",
            "DOCKER_HOST": "unix:///nonexistent.sock",  # or it ends containers that it takes for its own
            "GATEWAY_PORT": str(port),
            "IOT_MTLS_ENABLED": "0",
            "LAMBDA_ASYNC_RETRY_BASE_SECONDS": "0.5",
            "LOG_LEVEL": "ERROR",
            "MINISTACK_ACCOUNT_ID": ACCOUNT_ID,
            "MINISTACK_HOST": "localhost",
            "MINISTACK_REGION": REGION,
            "PERSIST_STATE": "0",
            "SFTP_ENABLED": "0",
            "TMPDIR": str(data),
        }
    )
    tempfile.tempdir = str(data)


if __name__ == "__main__":
    main()
