"""What W&B hands out: run queue items, the jobs they name, and the configuration that says which queues are served."""
