"""What the agent gets from W&B: run queue items, run specs and jobs; and launch-config.yaml, which names the queues."""
