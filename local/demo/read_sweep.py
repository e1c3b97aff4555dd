"""Reads the runs of the demo's sweep through the public API. Runs in the training environment.

Arguments: entity, project. stdout: a JSON list with {"state", "learning_rate", "accuracy"} for each run of a sweep.
"""

import json
import sys

import wandb


def main() -> None:
    """Print the runs with parameters from the sweep."""
    entity, project = sys.argv[1:]
    found = [
        {
            "state": run.state,
            "learning_rate": run.config["learning_rate"],
            "accuracy": run.summary.get("accuracy"),
        }
        for run in wandb.Api().runs(f"{entity}/{project}")
        if "learning_rate" in run.config
    ]
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
