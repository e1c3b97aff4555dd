"""Model artifacts in W&B: a reference to the model that a training job left in S3, as an output of its run.

The requests and the digests are those of the wandb client for `Artifact.add_reference(uri, checksum=False)`.
"""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from launch_agent.clients import wandb_operations as operations
from launch_agent.clients.artifact_answers import ManifestUpload, NewArtifact
from launch_agent.clients.graphql import GraphqlClient
from launch_agent.clients.wandb_answers import at, parsed
from launch_agent.run_queue.items import RunPath

_LONGEST_NAME = 128
_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"


class ModelArtifacts:
    """The model artifacts of runs. A call may raise WandbUnavailable, WandbKeyRejected and WandbRefused."""

    def __init__(self, graphql: GraphqlClient) -> None:
        """Nothing is sent yet."""
        self._graphql = graphql

    def log(self, path: RunPath, uri: str, metadata: Mapping[str, Any]) -> None:
        """Log the object at an S3 URI as the model of a run. If it is logged already, nothing changes."""
        name = uri.rpartition("/")[2]
        manifest = json.dumps(_manifest(name, uri)).encode()
        created = self._graphql.execute(operations.create_artifact(_artifact(path, name, uri, metadata)))
        artifact = parsed(NewArtifact, at(created, "createArtifact", "artifact"))
        if artifact.state == "COMMITTED":
            return
        md5 = hashlib.md5(manifest, usedforsecurity=False).digest()
        added = self._graphql.execute(
            operations.create_artifact_manifest(artifact.id, base64.b64encode(md5).decode(), *path)
        )
        upload = parsed(ManifestUpload, at(added, "createArtifactManifest", "artifactManifest", "file"))
        self._graphql.upload(upload.url, manifest, upload.header_values)
        self._graphql.execute(operations.commit_artifact(artifact.id))


def model_artifact_name(run_id: str) -> str:
    """Return the name of a run's model artifact. W&B accepts letters, digits, - _ and . in it."""
    return f"{re.sub(r'[^A-Za-z0-9_.-]', '-', f'run-{run_id}')[: _LONGEST_NAME - 6]}-model"


def _artifact(path: RunPath, name: str, uri: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
    collection = model_artifact_name(path.run_id)
    return {
        "entityName": path.entity,
        "projectName": path.project,
        "runName": path.run_id,
        "artifactTypeName": "model",
        "artifactCollectionName": collection,
        "description": "The model that the run's SageMaker training job left in Amazon S3.",
        "metadata": json.dumps(metadata),
        "digest": hashlib.md5(
            f"wandb-artifact-manifest-v1\n{name}:{uri}\n".encode(), usedforsecurity=False
        ).hexdigest(),
        "digestAlgorithm": "MANIFEST_MD5",
        "enableDigestDeduplication": True,
        "aliases": [{"artifactCollectionName": collection, "alias": "latest"}],
        # The same at every try, so that a repeated request finds the artifact of the first.
        "clientID": _client_id(f"{'/'.join(path)} {uri}"),
        "sequenceClientID": _client_id("/".join(path)),
    }


def _manifest(name: str, uri: str) -> dict[str, Any]:
    return {
        "version": 1,
        "storagePolicy": "wandb-storage-policy-v1",
        "storagePolicyConfig": {"storageLayout": "V2"},
        "contents": {name: {"digest": uri, "ref": uri, "size": 0, "skip_cache": False}},
    }


def _client_id(text: str) -> str:
    """Return an id in the form of the wandb client's: 128 lower-case letters and digits."""
    number = int.from_bytes(hashlib.shake_256(text.encode()).digest(84))
    return "".join(_ALPHABET[number // 36**place % 36] for place in range(128))
