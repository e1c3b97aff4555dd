"""The demo: three runs queued with the real wandb client, and what became of them, read back from W&B."""
