"""Build plans that version 0.1.0 stored, read as this version has them. Delete with tests/upgrade/0.1.0.

Its recipes had other fields, so that the tags made of them are others.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def current_build_plan(given: Any) -> Any:
    """Return a stored build plan with the fields that it has now; one of this version as it is."""
    if not isinstance(given, Mapping) or "job_artifact_id" not in given:
        return given
    kept = {name: value for name, value in given.items() if name != "job_artifact_id"}
    recipe = json.dumps(given["recipe"], separators=(",", ":"), ensure_ascii=False)
    return {
        **kept,
        "entity": given["item"]["entity"],
        "recipe": {**given["recipe"], "job_artifact_id": given["job_artifact_id"]},
        "tag": hashlib.sha256(recipe.encode()).hexdigest(),
    }
