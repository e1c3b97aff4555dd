"""A training script with a fault: it reads missing data before it starts a W&B run."""

from pathlib import Path

rows = Path("/opt/ml/input/data/train/rows.csv").read_text()
