"""The real wandb client, in its own environment, with a local server."""

import os
import subprocess
from pathlib import Path
from typing import NamedTuple

from local.stack import DEMO_KEY

TRAINING = Path(__file__).parent.parent.parent / ".venvs/training/bin"
API_KEY = DEMO_KEY


class Client(NamedTuple):
    """A user's machine: a home folder, and the server that it is logged in to."""

    home: Path
    base_url: str

    def run(self, *command: str, **environment: str) -> str:
        """Run a program in the training environment; return its output. Fails if the program fails."""
        folders = {
            name: str(self.home)
            for name in ("HOME", "WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_CONFIG_DIR")
        }
        finished = subprocess.run(
            [str(TRAINING / command[0]), *command[1:]],
            env={
                "PATH": f"{TRAINING}:{os.environ['PATH']}",
                "TMPDIR": str(self.home),
                "WANDB_BASE_URL": self.base_url,
                "WANDB_API_KEY": API_KEY,
                **folders,
                **environment,
            },
            cwd=self.home,
            capture_output=True,
            text=True,
            check=False,
        )
        assert finished.returncode == 0, finished.stdout + finished.stderr
        return finished.stdout
