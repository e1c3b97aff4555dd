"""A training script with a fault: it looks for its data before it says a word to W&B."""

from pathlib import Path

rows = Path("/opt/ml/input/data/train/rows.csv").read_text()
