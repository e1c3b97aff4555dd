"""Prints the actions that AWS's resource schemas name for each kind of resource. Runs in SAM's own environment.

cfn-lint brings the schemas, whose handlers list the permissions that CloudFormation needs.
"""

import json
import sys
from pathlib import Path

import cfnlint

_SCHEMAS = Path(cfnlint.__file__).parent / "data/schemas"


def main() -> None:
    """Print the actions for creating, reading, updating and deleting each kind that is named in standard input."""
    files = json.loads((_SCHEMAS / "providers/us-east-1.json").read_text())
    found = {}
    for kind in json.load(sys.stdin):
        name = f"{files[kind].removesuffix('.json')}.json"
        handlers = json.loads((_SCHEMAS / "resources" / name).read_text()).get("handlers", {})
        verbs = (handlers.get(verb, {}) for verb in ("create", "read", "update", "delete"))
        found[kind] = sorted({action for verb in verbs for action in verb.get("permissions", [])})
    print(json.dumps(found))


main()
