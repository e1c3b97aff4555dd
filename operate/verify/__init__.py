"""`make verify`: one small job proves a stack against the real W&B and AWS.

- `verify`: what it says, asks, and shows at its end
- `stack`: the stack as it is deployed
- `checks`: what can be wrong before anything is queued
- `queueing`, `queue_job`, `job/`: the job, and how the real client queues it
- `following`, `history`: its execution, until it ends or cannot end; how long each step took, and what it cost
- `raw_events`: the events that AWS sent meanwhile
- `progress`: says what is being done, every ten seconds
"""
