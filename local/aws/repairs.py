"""What ministack does otherwise than AWS, mended. Each goes when upstream has mended it: a test says when."""

from typing import Any

from local.aws import seams

_HANDLERS = "ministack.services.cloudformation.provisioners:_RESOURCE_HANDLERS"
_SECRET = "AWS::SecretsManager::Secret"


def install() -> None:
    """Make `Ref` of a secret its ARN; ministack gives its name, which no policy matches."""
    handlers = seams.use(_HANDLERS)
    handlers[_SECRET] = _with_arn_as_ref(handlers[_SECRET])


def _with_arn_as_ref(theirs: dict[str, Any]) -> dict[str, Any]:
    def create(logical_id: str, props: dict[str, Any], stack_name: str) -> tuple[str, dict[str, Any]]:
        _, attributes = theirs["create"](logical_id, props, stack_name)
        return attributes["Id"], attributes

    def delete(physical_id: str, props: dict[str, Any]) -> None:
        theirs["delete"](physical_id.rpartition(":secret:")[2].rsplit("-", 1)[0], props)

    return {**theirs, "create": create, "delete": delete}
