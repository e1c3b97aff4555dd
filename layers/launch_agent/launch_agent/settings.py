"""The environment of the functions, and the configuration file beside the package. Only this module reads them."""

import os
import sys
from pathlib import Path
from typing import Self

from launch_agent.errors import InvalidLaunchConfig
from launch_agent.model import Model
from launch_agent.run_queue.launch_config import FILE_NAME, LaunchConfig, parse_launch_config


class Settings(Model):
    """A function's environment variables: each field is one, in capitals."""

    @classmethod
    def from_environment(cls) -> Self:
        """Read the fields from the environment. Raises ValidationError when one is missing or wrong."""
        names = {name: name.upper() for name in cls.model_fields}
        return cls.model_validate({name: os.environ[key] for name, key in names.items() if key in os.environ})


def read_launch_config() -> LaunchConfig:
    """Read launch-config.yaml, which its own layer puts on the import path. Raises InvalidLaunchConfig."""
    for folder in sys.path:
        path = Path(folder, FILE_NAME)
        if path.is_file():
            return parse_launch_config(path.read_text())
    raise InvalidLaunchConfig(f"{FILE_NAME} is not on the import path. The stack's configuration layer brings it.")
