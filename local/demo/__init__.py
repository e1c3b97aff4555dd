"""The demo: queues runs with the real wandb client, and reads their outcomes from W&B."""
