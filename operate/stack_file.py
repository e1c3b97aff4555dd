"""A stack's file, `stacks/<stack>.yaml`: what was answered when it was deployed first. Git ignores it.

It has no secret in it, can be edited, and is never written over: a later deployment takes what it says.
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
"""Parameters of earlier versions, and what they are called now."""

_WIDTH = 110


class StackFile(Model):
    """Where a stack is, and with what it is deployed."""

    account: str
    region: str
    launch_config: str
    """The path of its launch-config.yaml, from the root of the repository."""
    parameters: dict[str, str] = Field(default_factory=dict)


def path_of(stack: str) -> Path:
    """Return where a stack's file is, or would be."""
    return ROOT / "stacks" / f"{stack}.yaml"


def read(path: Path, known: Mapping[str, Parameter]) -> StackFile | None:
    """Return what a stack's file says; None when there is none. Raises CannotOperate for what it may not say."""
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
            yield f"{name} is called {RENAMED[name]} now. Rename it."
        elif name not in known:
            yield f"{name} is not a parameter of the template. docs/configuration.md lists them."
        elif (value or known[name].default is not None) and (fault := known[name].fault(value)):
            yield f'{name} cannot be "{value}". {fault}'


def write(path: Path, content: StackFile, known: Mapping[str, Parameter]) -> None:
    """Write a stack's file, with every parameter and what it means."""
    lines = [
        f"# The stack {path.stem}. To change it, edit this file and run `make deploy STACK={path.stem}`.",
        *yaml.safe_dump(content.model_dump(exclude={"parameters"}), sort_keys=False).splitlines(),
        "",
        "# Parameters of template.yaml. Those behind a # have their defaults: remove the # to change one.",
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
    """Take numbers and truth values for the texts that CloudFormation takes, and an empty value for an empty text."""
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
