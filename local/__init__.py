"""What runs the application on a laptop: an embedded AWS, a W&B server, and the commands of `python -m local`."""

import sys
from pathlib import Path

# `python -m local` is typed as it stands; the package is not installed into the environment.
sys.path.append(str(Path(__file__).parents[1] / "layers/launch_agent"))

ACCOUNT_ID = "000000000000"
REGION = "us-east-1"
"""Of the embedded AWS."""
