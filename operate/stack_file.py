"""A stack's file, `stacks/<stack>.yaml`: the answers given at its first deployment. Git ignores it.

It contains no secret. The operator may edit it: later deployments read it and never overwrite it.
"""

import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml
from pydantic import Field, ValidationError

from launch_agent.model import Model, faults_of
from operate.errors import CannotOperate
from operate.template import ROOT, Parameter

RENAMED = {"TrainingRoleArn": "TrainingRoleArns"}
"""The parameters of earlier versions, and their current names."""

_WIDTH = 110


class StackFile(Model):
    """A stack's account and region, and the settings to deploy it with."""

    account: str
    region: str
    launch_config: str
    """The path of its launch-config.yaml, relative to the root of the repository."""
    parameters: dict[str, str] = Field(default_factory=dict)


def path_of(stack: str) -> Path:
    """Return the path of a stack's file, which need not exist."""
    return ROOT / "stacks" / f"{stack}.yaml"


def read(path: Path, known: Mapping[str, Parameter]) -> StackFile | None:
    """Read a stack's file; None if it does not exist. Raises CannotOperate if it is invalid."""
    if not path.exists():
        return None
    where = f"{path.parent.name}/{path.name}"
    try:
        found = StackFile.model_validate(_as_text(yaml.safe_load(path.read_text())))
    except yaml.YAMLError as error:
        raise CannotOperate(f"{where} is not YAML: {error}") from None
    except ValidationError as error:
        raise CannotOperate("\n".join(f"{where}: {fault}" for fault in faults_of(error))) from None
    faults = [f"{where}: {fault}" for fault in _parameter_faults(found.parameters, known)]
    if faults:
        raise CannotOperate("\n".join(faults))
    return found


def _parameter_faults(values: Mapping[str, str], known: Mapping[str, Parameter]) -> Iterator[str]:
    for name, value in values.items():
        if name in RENAMED:
            yield f"{name} is now called {RENAMED[name]}. Rename it."
        elif name not in known:
            yield f"{name} is not a parameter of the template. docs/configuration.md lists them."
        elif (value or known[name].default is not None) and (fault := known[name].fault(value)):
            yield f'{name} cannot be "{value}". {fault}'


def write(path: Path, content: StackFile, known: Mapping[str, Parameter]) -> None:
    """Write a stack's file, with every parameter and its description."""
    lines = [
        f"# The stack {path.stem}. To change it, edit this file and run `make deploy STACK={path.stem}`.",
        *yaml.safe_dump(content.model_dump(exclude={"parameters"}), sort_keys=False).splitlines(),
        "",
        "# Parameters of template.yaml. Those behind a # have their default values. To change one, remove its #.",
        "parameters:",
    ]
    for name, parameter in known.items():
        default = parameter.default or ""
        value = content.parameters.get(name, default)
        lines += ["", *textwrap.wrap(parameter.description, _WIDTH, initial_indent="  # ", subsequent_indent="  # ")]
        lines.append(f"  {'# ' if value == default else ''}{yaml.safe_dump({name: value}, width=10_000).strip()}")
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def _as_text(loaded: object) -> object:
    """Turn numbers, booleans, lists and empty values into text, as CloudFormation requires."""
    if not isinstance(loaded, dict):
        return loaded
    parameters = loaded.get("parameters") or {}
    texts = {name: _text(value) for name, value in parameters.items()} if isinstance(parameters, dict) else parameters
    return {**loaded, "account": _text(loaded.get("account")), "parameters": texts}


def _text(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ",".join(map(str, value))
    return "" if value is None else str(value) if isinstance(value, int | float) else value
