"""The steps: one module for each function, with a class of the same name.

`poll_queues`, `plan_run`, `start_training`, `resume_run`, `advance_sweeps`, `report_outcome`, `relaunch_run`,
`sweep_runs`, `check_setup`, `retire_agent`. Polls use `opening` (opens runs). Several steps use `ending` (ends a run),
`results` (shows a training job on the run in W&B), `ending_sweeps` (ends a sweep's scheduler), `planning_sweeps` (plans
one), `resuming` (answers a task token), `warning` (puts a warning on a queue item) and `announcing` (sends an event).
`waiting` tells items in the queues which limit they wait for. `setup_checks` are the checks of the setup.
"""
