"""The account and region of an operator's commands."""

from launch_agent.clients.aws import aws_client
from operate.account import Account


def test_the_packages_clients_use_the_region_of_the_stack() -> None:
    account = Account("eu-west-1")
    assert aws_client("secretsmanager").meta.region_name == account.client("sts").meta.region_name == "eu-west-1"
