"""AWS's service models, from botocore: the shape of requests. Nothing is sent."""

from functools import cache
from typing import cast

import botocore.session
from botocore.model import StructureShape


@cache
def create_training_job_shape() -> StructureShape:
    """Return the shape of a CreateTrainingJob request."""
    model = botocore.session.get_session().get_service_model("sagemaker")
    return cast(StructureShape, model.operation_model("CreateTrainingJob").input_shape)
