"""CodeBuild, ECR and S3, as needed for images of jobs: a build takes some time, and pushes or fails."""

import hashlib
import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from launch_agent.image.recipe import BuildPlan, ImageNote
from tests.simulation.clock import Clock
from tests.simulation.dynamodb import Refused
from tests.simulation.machine import Done, TaskFailed

REPOSITORY = "123456789012.dkr.ecr.us-east-1.amazonaws.com/launch"
IMAGE_CONFIG = "ecr/image-config"
"""The address of the configuration of every image that is not built here."""


@dataclass
class Build:
    """A build, and the callback for its end."""

    id: str
    plan: BuildPlan
    plan_key: str
    done: Done
    status: str = "IN_PROGRESS"


class Builds:
    """The account's builds, images and bucket."""

    def __init__(self, clock: Clock, *, seconds: float, fails: Callable[[], bool]) -> None:
        """Let each build take this many seconds, and fail if `fails` returns true."""
        self._clock, self._seconds, self._fails = clock, seconds, fails
        self.builds: dict[str, Build] = {}
        self.images: dict[str, str] = {}
        self.objects: dict[str, bytes] = {}
        self.reported: dict[str, Any] = {}
        """Values that builds report instead of the real ones."""

    def start(self, arguments: dict[str, Any], done: Done) -> str:
        """Start a build as the state machine does; call `done` at its end."""
        variables = {each["Name"]: each["Value"] for each in arguments["EnvironmentVariablesOverride"]}
        key = variables["BUILD_PLAN_KEY"]
        plan = BuildPlan.model_validate_json(self.objects[f"/{key}"])
        bytes_of_id = self._clock.random.randbytes(16)
        build = Build(f"launch:{uuid.UUID(bytes=bytes_of_id)}", plan, key, done)
        self.builds[build.id] = build
        self._clock.after(self._seconds, lambda: self._end(build))
        return build.id

    def stop(self, build_id: str) -> None:
        """Stop a build, without calling its `done`."""
        if self.builds[build_id].status == "IN_PROGRESS":
            self.builds[build_id].status = "STOPPED"

    def answer(self, operation: str, asked: dict[str, Any]) -> dict[str, Any]:
        """Answer one request. Raises Refused."""
        if operation == "BatchGetBuilds":
            found = [self.builds[each] for each in asked["ids"] if each in self.builds]
            return {"builds": [{"id": build.id, "buildStatus": build.status} for build in found]}
        if operation == "BatchGetImage":
            return {"images": [{"imageManifest": json.dumps({"config": {"digest": "sha256:c0ffee"}})}]}
        if operation == "GetDownloadUrlForLayer":
            return {"downloadUrl": f"http://{IMAGE_CONFIG}", "layerDigest": asked["layerDigest"]}
        (image,) = asked["imageIds"]
        digest = image.get("imageDigest") or self.images.get(image["imageTag"])
        if digest not in self.images.values():
            raise Refused("ImageNotFoundException")
        return {"imageDetails": [{"imageDigest": digest}]}

    def restore(self, build_id: str, plan_key: str, left: Mapping[str, Any], done: Done) -> None:
        """Continue a build of an earlier version; at its end, it leaves the objects and images in `left`."""
        plan = BuildPlan.model_validate_json(self.objects[f"/{plan_key}"])
        build = self.builds[build_id] = Build(build_id, plan, plan_key, done)

        def end() -> None:
            if build.status == "IN_PROGRESS":
                build.status = "SUCCEEDED"
                self.objects.update({key: text.encode() for key, text in left["objects"].items()})
                self.images.update(left["images"])
                done({"Build": {"Id": build_id, "BuildStatus": "SUCCEEDED"}}, None)

        self._clock.after(self._seconds, end)

    def _end(self, build: Build) -> None:
        if build.status != "IN_PROGRESS":
            return
        if self._fails():
            build.status = "FAILED"
            build.done(None, TaskFailed("States.TaskFailed", json.dumps({"Build": {"Id": build.id}})))
            return
        build.status = "SUCCEEDED"
        digest = f"sha256:{hashlib.sha256(build.id.encode()).hexdigest()}"
        self.images[f"{build.plan.tag}-{build.id}"] = digest
        note = ImageNote(digest=digest, dockerfile="generated", entry_point=build.plan.recipe.entry_point)
        reported = note.model_dump(mode="json") | self.reported
        place = f"{build.plan.item.id}/{build.plan.token or build.plan.tag}"
        self.objects[f"/notes/{place}.json"] = json.dumps(reported).encode()
        build.done({"Build": {"Id": build.id, "BuildStatus": "SUCCEEDED"}}, None)
