"""A W&B server for a laptop: run queues, launch agents, runs, files, artifacts and sweeps, for the real wandb client.

It executes the GraphQL schema in `schema.graphql` over a state in memory. What nobody outside W&B knows of the real
server's behaviour is a switch: see `Behaviour`.
"""

from local.wandb.server import WandbServer
from local.wandb.state import Behaviour

__all__ = ["Behaviour", "WandbServer"]
