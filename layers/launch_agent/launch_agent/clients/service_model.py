"""AWS's service models, from botocore: the shape of requests. Nothing is sent."""

from functools import cache
from typing import cast

from botocore.model import StructureShape

from launch_agent.clients.aws import session


@cache
def create_training_job_shape() -> StructureShape:
    """Return the shape of a CreateTrainingJob request."""
    model = session().get_service_model("sagemaker")
    return cast(StructureShape, model.operation_model("CreateTrainingJob").input_shape)
