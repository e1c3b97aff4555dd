"""What the groups that compare both agents say about how they are compared."""

from tests.simulation.functions import Latency

LATENCY = Latency()
"""How long a request takes on average, in the simulated world and for the stock agent."""
_WANDB, _AWS = (f"{seconds * 1000:.0f} ms" for seconds in LATENCY)

REQUESTS = f"A request to W&B takes {_WANDB} on average, and one to AWS {_AWS}."
ABOUT = (
    f"{REQUESTS} That is so for both agents, and nothing is throttled. The real `wandb launch-agent` runs in real time "
    "against the W&B server and the SageMaker of the simulated world. This application runs in that world in virtual "
    "time, in process: its functions are warm, as many run at a time as are invoked, and each starts after 20 ms on "
    "average."
)
