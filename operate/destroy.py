"""`make destroy`: deletes a stack, and lists what it leaves behind."""

from operate import sam
from operate.account import Account
from operate.api_key import delete_secret, find_secret, secret_name
from operate.dialogue import confirm, in_terminal, say
from operate.errors import CannotOperate


def destroy(stack: str, region: str | None, *, sure: bool) -> None:
    """Delete a stack, after asking unless `sure`. Raises CannotOperate and botocore's errors."""
    account = Account(region)
    stack_id = account.deployed(stack)["StackId"]
    if not sure and not in_terminal():
        raise CannotOperate("There is no terminal to ask in. Confirm with ARGS=--yes.")
    question = f"Delete the stack {stack} of account {account.id}, region {account.region}?"
    if not sure and not confirm(question, default=False):
        raise CannotOperate("Nothing was deleted.")
    sam.delete(stack, account.region)
    kept = account.kept(stack_id)
    secrets, name = account.client("secretsmanager"), secret_name(stack)
    if find_secret(secrets, name):
        if not sure and confirm(f"Delete the secret {name} with the W&B API key too?", default=False):
            delete_secret(secrets, stack)
        else:
            kept[name] = "SecretsManager::Secret"
    if kept:
        say("\nThese resources were kept, with their contents. Delete them by hand when you no longer need them:")
    for physical_id, kind in sorted(kept.items(), key=lambda each: each[1]):
        print(f"  {kind}  {physical_id}")
