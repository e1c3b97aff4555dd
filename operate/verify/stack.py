"""A deployed stack: AWS is asked for everything, and no local file is read."""

import io
import zipfile
from collections.abc import Mapping
from typing import NamedTuple, Self

import urllib3

from launch_agent.run_queue.launch_config import FILE_NAME, LaunchConfig, parse_launch_config
from operate.account import Account
from operate.errors import CannotOperate


class Stack(NamedTuple):
    """A deployed stack."""

    name: str
    account: Account
    outputs: Mapping[str, str]
    parameters: Mapping[str, str]

    @classmethod
    def deployed(cls, name: str, account: Account) -> Self:
        """Return a stack. Raises CannotOperate if it does not exist or is not ready, and botocore's errors."""
        found = account.deployed(name)
        outputs = {each["OutputKey"]: each["OutputValue"] for each in found.get("Outputs", [])}
        if not outputs:
            status = found["StackStatus"]
            raise CannotOperate(f"The stack {name} is {status}. Deploy it first: make deploy STACK={name}")
        parameters = {each["ParameterKey"]: each.get("ParameterValue", "") for each in found.get("Parameters", [])}
        return cls(name, account, outputs, parameters)

    def launch_config(self) -> LaunchConfig:
        """Return the launch-config.yaml that the stack was deployed with. Raises botocore's and urllib3's errors."""
        lambdas = self.account.client("lambda")
        function = lambdas.get_function_configuration(FunctionName=self.outputs["PollQueuesFunctionName"])
        # The last layer contains the configuration.
        layer = lambdas.get_layer_version_by_arn(Arn=function["Layers"][-1]["Arn"])
        content = urllib3.request("GET", layer["Content"]["Location"], timeout=30.0).data
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return parse_launch_config(archive.read(f"python/{FILE_NAME}"))
