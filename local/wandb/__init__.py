"""A W&B server for a laptop: run queues, launch agents, runs, files, artifacts and sweeps, for the real wandb client.

It executes the GraphQL schema in `schema.graphql` on a state in memory. Unknown behaviour of the real server is a
switch: see `Behaviour`.
"""

from local.wandb.server import WandbServer
from local.wandb.state import Behaviour

__all__ = ["Behaviour", "WandbServer"]
