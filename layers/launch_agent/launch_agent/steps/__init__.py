"""The story: one module for each function, with a class of its name.

`poll_queues`, `plan_run`, `start_training`, `resume_run`, `report_outcome`, `relaunch_run`, `sweep_runs`,
`retire_agent`. What several of them do is in `ending` (ends a run), `resuming` (answers a task token) and `warning`
(warns a queue item once).
"""
