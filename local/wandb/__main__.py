"""`python -m local.wandb`: runs only the W&B server."""

import argparse
import json
import secrets
import signal
import threading
from pathlib import Path

from local.wandb import Behaviour, WandbServer


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="local.wandb", description="A W&B server for a laptop.")
    parser.add_argument("--port", type=int, default=0, help="the port (default: a free one)")
    parser.add_argument("--entity", default="team")
    parser.add_argument("--api-key", default=secrets.token_hex(20), help="the API key (default: a new one)")
    parser.add_argument("--queue", default="sagemaker")
    parser.add_argument("--queue-config", type=Path, help="a JSON file with the queue's SageMaker block")
    parser.add_argument("--lease-seconds", type=float, default=60.0)
    arguments = parser.parse_args()
    behaviour = Behaviour(lease_seconds=arguments.lease_seconds)
    server = WandbServer(entity=arguments.entity, api_key=arguments.api_key, behaviour=behaviour)
    config = json.loads(arguments.queue_config.read_text()) if arguments.queue_config else {}
    server.create_queue(arguments.queue, config=config)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with server.running(arguments.port) as base_url:
        page = f"{base_url}/#{arguments.api_key}"
        print(f"W&B for {arguments.entity} at {page}, queue {arguments.queue}. Ctrl-C stops it.", flush=True)
        stop.wait()


if __name__ == "__main__":
    main()
