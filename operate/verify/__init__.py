"""`make verify`: proves with one small job that a stack works with the real W&B and AWS.

- `verify`: the command, with its question and its report
- `stack`: the deployed stack
- `checks`: finds faults before anything is queued
- `queueing`, `queue_job`, `job/`: the job, and how the real wandb client queues it
- `following`, `history`: follows the execution; how long each step took, and what it cost
- `raw_events`: collects the events that AWS sends during the run
- `progress`: prints the current step every ten seconds
"""
