"""The bucket from which training jobs download their credentials, with a folder for each run."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from launch_agent.clients.aws import aws_client, translated

if TYPE_CHECKING:
    from concurrent.futures import Executor


class CredentialsBucket:
    """The credentials bucket. Every method may raise AwsThrottled and AwsRefused.

    All training jobs have the same role. It may read the objects in a folder, and list them, if it knows the folder's
    name, which is random.
    """

    def __init__(self, name: str) -> None:
        """`name` is the bucket's."""
        self._name = name
        self._s3 = aws_client("s3")

    def uri(self, folder: str) -> str:
        """Return the address of a folder, for an input channel."""
        return f"s3://{self._name}/{folder}/"

    def store(self, folder: str, files: Mapping[str, str], pool: "Executor") -> None:
        """Store files in a folder at the same time, and replace those of an earlier call."""
        keys = [f"{folder}/{name}" for name in files]
        for _ in pool.map(self._put, keys, files.values()):
            pass

    def _put(self, key: str, text: str) -> None:
        with translated():
            self._s3.put_object(Bucket=self._name, Key=key, Body=text.encode())

    def delete(self, folder: str) -> None:
        """Delete a folder with everything in it."""
        with translated():
            listed = self._s3.list_objects_v2(Bucket=self._name, Prefix=f"{folder}/").get("Contents", [])
            for each in listed:
                self._s3.delete_object(Bucket=self._name, Key=each["Key"])
