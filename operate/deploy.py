"""`make deploy`: asks for parameters the first time, builds, deploys, and prints what to paste into W&B."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from launch_agent.clients.graphql import GraphqlClient
from launch_agent.clients.wandb import Wandb
from launch_agent.errors import LaunchError, WandbKeyRejected
from launch_agent.run_queue.launch_config import LaunchConfig
from operate import sam, stack_file
from operate.account import Account
from operate.api_key import find_secret, secret_name, store_api_key
from operate.dialogue import ask, ask_secret, confirm, in_terminal, say
from operate.errors import CannotOperate
from operate.queue import create_queues
from operate.report import report
from operate.stack_file import RENAMED, StackFile
from operate.template import ROOT, Parameter, parameters

if TYPE_CHECKING:
    from mypy_boto3_cloudformation.type_defs import StackTypeDef

DEFAULT_LAUNCH_CONFIG = "layers/config/launch-config.yaml"
_SECRET = "WandbApiKeySecretArn"  # noqa: S105 - the name of a parameter
_ASKED = ("WandbBaseUrl", "AlarmEmail")


def deploy(stack: str, launch_config: str) -> None:
    """Deploy a stack from its file; without a file, ask and write one. Raises CannotOperate and botocore's errors.

    `launch_config` is the path of the launch-config.yaml; if empty, the stack's file names it.
    """
    known = parameters()
    launch_config = _in_repository(launch_config)
    content = stack_file.read(stack_file.path_of(stack), known)
    account = Account(content.region if content else None)
    deployed = _deployed(stack, content, account)
    content = content or _first_file(stack, account, deployed, launch_config, known)
    config_path = ROOT / (launch_config or content.launch_config)
    if config_path != ROOT / content.launch_config:
        say(f"stacks/{stack}.yaml names {content.launch_config}; this deployment uses {launch_config}.")
    config = sam.read_launch_config(config_path)
    values = {name: content.parameters.get(name, each.default or "") for name, each in known.items()}
    values[_SECRET] = _secret(stack, account, values, known[_SECRET])
    values["CreateQueues"] = create_queues(stack, config, values)
    sam.build(config_path, values["PythonRuntime"])
    sam.deploy(stack, account.region, values)
    report(stack, account)


def _in_repository(path: str) -> str:
    """Return a path relative to the root of the repository, if it is inside it."""
    return str(Path(path).relative_to(ROOT)) if Path(path).is_relative_to(ROOT) else path


def _deployed(stack: str, content: StackFile | None, account: Account) -> "StackTypeDef | None":
    """Return the deployed stack, if it exists. Raises CannotOperate if the deployment cannot proceed."""
    if content and content.account != account.id:
        raise CannotOperate(
            f"stacks/{stack}.yaml is for account {content.account}, but these credentials are for account {account.id} "
            f"({account.caller['Arn']}). Use other credentials, or deploy another stack with STACK=."
        )
    deployed = account.stack(stack)
    if deployed and deployed["StackStatus"] == "ROLLBACK_COMPLETE":
        raise CannotOperate(
            f"The first deployment of {stack} failed and was rolled back; its events in the CloudFormation console say "
            f"why. Remove it with `make destroy STACK={stack}`, and deploy again."
        )
    return deployed


def _first_file(
    stack: str, account: Account, deployed: "StackTypeDef | None", launch_config: str, known: Mapping[str, Parameter]
) -> StackFile:
    """Write a missing stack file: from the deployed stack if there is one, else from the operator's answers."""
    if deployed is None and not in_terminal():
        raise CannotOperate(
            f"stacks/{stack}.yaml does not exist, and there is no terminal to ask in. Run `make deploy STACK={stack}` "
            "once in a terminal, or copy the file here."
        )
    if deployed:
        launch_config = launch_config or _ask_launch_config(stack)
        answers = _parameters_of(
            deployed, known, own_secret=find_secret(account.client("secretsmanager"), secret_name(stack))
        )
    else:
        launch_config = launch_config or DEFAULT_LAUNCH_CONFIG
        answers = _ask_all(stack, account, sam.read_launch_config(ROOT / launch_config), launch_config, known)
    content = StackFile(account=account.id, region=account.region, launch_config=launch_config, parameters=answers)
    path = stack_file.path_of(stack)
    stack_file.write(path, content, known)
    say(f"\nstacks/{stack}.yaml contains your answers and all other parameters. Edit it to change them.")
    if not deployed and not confirm(f"Deploy {stack} now?", default=True):
        raise CannotOperate("Nothing was deployed.")
    return stack_file.read(path, known) or content


def _ask_launch_config(stack: str) -> str:
    if not in_terminal():
        raise CannotOperate(f"stacks/{stack}.yaml does not exist. Name the stack's launch-config.yaml with CONFIG=.")
    say(f"The stack {stack} is deployed, but its file is not here. Its parameters stay unchanged.")
    return input(f"  Path of its launch-config.yaml [{DEFAULT_LAUNCH_CONFIG}]: ").strip() or DEFAULT_LAUNCH_CONFIG


def _parameters_of(deployed: "StackTypeDef", known: Mapping[str, Parameter], own_secret: str | None) -> dict[str, str]:
    """Return a deployed stack's parameters that differ from their defaults, by current name, without its own secret."""
    values = {each["ParameterKey"]: each.get("ParameterValue", "") for each in deployed.get("Parameters", [])}
    renamed = {RENAMED.get(name, name): value for name, value in values.items()}
    defaults = {name: each.default or "" for name, each in known.items()}
    return {
        name: value for name, value in renamed.items() if name in known and value not in (defaults[name], own_secret)
    }


def _ask_all(
    stack: str, account: Account, config: LaunchConfig, launch_config: str, known: Mapping[str, Parameter]
) -> dict[str, str]:
    say(f"The new stack {stack} will be in account {account.id}, region {account.region} ({account.caller['Arn']}).")
    queues = ", ".join(config.queues)
    say(f"It will serve the run queues in {launch_config}: {queues}, of {config.entity or 'your default entity'}.")
    say("Press Enter to use the value in brackets, Ctrl-C to stop.")
    answers = {name: ask(known[name]) for name in _ASKED}
    if find_secret(account.client("secretsmanager"), secret_name(stack)) is None:
        answers[_SECRET] = ask(_or_nothing(known[_SECRET]))
    return {name: answer for name, answer in answers.items() if answer}


def _or_nothing(parameter: Parameter) -> Parameter:
    more = " Leave empty to enter the key itself."
    return parameter.model_copy(
        update={"pattern": f"^$|{parameter.pattern}", "description": parameter.description + more}
    )


def _secret(stack: str, account: Account, values: Mapping[str, str], parameter: Parameter) -> str:
    """Return the ARN of the secret with the API key: the named one, or the stack's own, which is created once."""
    secrets, named = account.client("secretsmanager"), values[_SECRET]
    found = find_secret(secrets, named or secret_name(stack))
    if found:
        return found
    if named:
        raise CannotOperate(
            f"stacks/{stack}.yaml names the secret {named}, which does not exist. {parameter.description}"
        )
    if not in_terminal():
        raise CannotOperate(
            f"The secret {secret_name(stack)} does not exist, and there is no terminal to ask for the W&B API key. "
            f"Create a secret with the key, and set {_SECRET} to its ARN in stacks/{stack}.yaml."
        )
    say(f"\nThe W&B API key is stored only in Secrets Manager, as {secret_name(stack)}.", indent="  ")
    base_url = values["WandbBaseUrl"]
    key = ask_secret("W&B API key (hidden)", lambda key: _key_fault(key, base_url))
    return store_api_key(secrets, stack, key)


def _key_fault(key: str, base_url: str) -> str | None:
    """Return what is wrong with an API key; None if W&B accepts it or cannot be reached from here."""
    if not key:
        return "Enter the key. W&B shows it under User settings."
    try:
        entity = Wandb(GraphqlClient(base_url, lambda: key)).default_entity()
    except WandbKeyRejected:
        return f"W&B at {base_url} rejects this key. Enter another one."
    except LaunchError as error:
        say(f"The key could not be checked: {error}", indent="  ")
    else:
        say(f"W&B accepts the key; its default entity is {entity}.", indent="  ")
    return None
