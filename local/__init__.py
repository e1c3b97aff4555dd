"""Runs the application on a laptop: an embedded AWS, a W&B server, and the commands of `python -m local`."""

import sys
from pathlib import Path

# For `python -m local`: the launch_agent package is not installed into the environment.
sys.path.append(str(Path(__file__).parents[1] / "layers/launch_agent"))

ACCOUNT_ID = "000000000000"
REGION = "us-east-1"
"""The account and region of the embedded AWS."""
