"""CodeBuild, ECR and S3, as far as images of jobs are made there: a build takes its time, and pushes or fails."""

import hashlib
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from launch_agent.image.recipe import BuildPlan, ImageNote
from tests.simulation.clock import Clock
from tests.simulation.dynamodb import Refused
from tests.simulation.machine import Done, TaskFailed

REPOSITORY = "123456789012.dkr.ecr.us-east-1.amazonaws.com/launch"


@dataclass
class Build:
    """A build, and who waits for it."""

    id: str
    plan: BuildPlan
    done: Done
    status: str = "IN_PROGRESS"


class Builds:
    """The builds of the account, its images, and its bucket."""

    def __init__(self, clock: Clock, *, seconds: float, fails: Callable[[], bool]) -> None:
        """Take how long a build takes, and which ones fail."""
        self._clock, self._seconds, self._fails = clock, seconds, fails
        self.builds: dict[str, Build] = {}
        self.images: dict[str, str] = {}
        self.objects: dict[str, bytes] = {}

    def start(self, arguments: dict[str, Any], done: Done) -> str:
        """Start a build as the state machine does; `done` hears of its end."""
        variables = {each["Name"]: each["Value"] for each in arguments["EnvironmentVariablesOverride"]}
        plan = BuildPlan.model_validate_json(self.objects[f"/{variables['BUILD_PLAN_KEY']}"])
        bytes_of_id = self._clock.random.randbytes(16)
        build = Build(f"launch:{uuid.UUID(bytes=bytes_of_id)}", plan, done)
        self.builds[build.id] = build
        self._clock.after(self._seconds, lambda: self._end(build))
        return build.id

    def stop(self, build_id: str) -> None:
        """Stop a build; nobody waits for it any more."""
        if self.builds[build_id].status == "IN_PROGRESS":
            self.builds[build_id].status = "STOPPED"

    def answer(self, operation: str, asked: dict[str, Any]) -> dict[str, Any]:
        """Answer one request. Raises Refused."""
        if operation == "BatchGetBuilds":
            found = [self.builds[each] for each in asked["ids"] if each in self.builds]
            return {"builds": [{"id": build.id, "buildStatus": build.status} for build in found]}
        tag = asked["imageIds"][0]["imageTag"]
        if tag not in self.images:
            raise Refused("ImageNotFoundException")
        return {"imageDetails": [{"imageDigest": self.images[tag]}]}

    def _end(self, build: Build) -> None:
        if build.status != "IN_PROGRESS":
            return
        if self._fails():
            build.status = "FAILED"
            build.done(None, TaskFailed("States.TaskFailed", json.dumps({"Build": {"Id": build.id}})))
            return
        build.status = "SUCCEEDED"
        tag = build.plan.recipe.tag
        self.images[tag] = f"sha256:{hashlib.sha256(tag.encode()).hexdigest()}"
        note = ImageNote(dockerfile="generated", entry_point=build.plan.recipe.entry_point)
        self.objects[f"/images/{tag}.json"] = note.model_dump_json().encode()
        build.done({"Build": {"Id": build.id, "BuildStatus": "SUCCEEDED"}}, None)
