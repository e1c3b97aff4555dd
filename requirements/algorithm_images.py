"""Write the table of images that hold one of SageMaker's algorithms, from the registry lists in AWS's sagemaker-core.

`make lock` runs it, with the folder that has the version that algorithm_images.txt pins. Of the training images of an
algorithm the lists say only where they are; images of frameworks have processors and Python versions. XGBoost is both.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TABLE = Path(__file__).parent.parent / "layers/launch_agent/launch_agent/plan/algorithm_images.json"
LISTS = "sagemaker/core/image_uri_config"
BOTH = "xgboost"


def images(name: str, content: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the repository and the account of each image of an algorithm in one of the lists."""
    training = content.get("training", content if "training" in content.get("scope", []) else {})
    for version in training.get("versions", {}).values():
        if name == BOTH or set(version) == {"registries", "repository"}:
            yield from ((version["repository"], account) for account in version["registries"].values())


def main() -> None:
    """Write the table: the accounts of each repository, sorted, so that a renewed one shows its changes."""
    table: dict[str, set[str]] = {}
    for path in sorted(Path(sys.argv[1], LISTS).glob("*.json")):
        for repository, account in images(path.stem, json.loads(path.read_text())):
            table.setdefault(repository, set()).add(account)
    lines = (f"  {json.dumps(repository)}: {json.dumps(sorted(table[repository]))}" for repository in sorted(table))
    TABLE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
