"""The stack is deleted: report its launch agent as killed. W&B would list it as polling for ever."""

from aws_lambda_powertools import Logger

from launch_agent.clients.cloudformation import answer
from launch_agent.operations.stack_change import StackChange
from launch_agent.wiring import Clients

logger = Logger(child=True)


class RetireAgent:
    """Takes one change of the stack at a time. Repeated, it changes nothing."""

    def __init__(self, clients: Clients) -> None:
        """Take the clients. launch-config.yaml is not read yet: one with faults keeps no stack from being deleted."""
        self._clients, self._runs, self._wandb = clients, clients.runs, clients.wandb

    def change(self, change: StackChange) -> None:
        """Answer CloudFormation, whatever comes of the report: Lambda tries that again, and the stack does not wait.

        Raises what went wrong.
        """
        try:
            if change.is_deletion:
                self._retire()
        except Exception:
            answer(change)
            raise
        answer(change)

    def _retire(self) -> None:
        """Report the launch agent that is registered, if one is."""
        entity = self._clients.config.entity or self._wandb.default_entity()
        agent = self._runs.agents.find(entity)
        if agent:
            self._wandb.report_status(agent.launch_agent_id, "KILLED")
            logger.info("launch agent retired", launch_agent_id=agent.launch_agent_id)
