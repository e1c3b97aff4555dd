"""Converts build plans that version 0.1.0 stored. Delete with tests/upgrade/0.1.0.

Its recipes had other fields, so their tags were different.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def current_build_plan(given: Any) -> Any:
    """Return a stored build plan with the fields of this version. A plan of this version does not change."""
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
