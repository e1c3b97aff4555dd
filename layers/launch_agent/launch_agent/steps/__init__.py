"""The steps: one module for each function, with a class of the same name.

`poll_queues`, `plan_run`, `start_training`, `resume_run`, `report_outcome`, `relaunch_run`, `sweep_runs`,
`check_setup`, `retire_agent`. Several steps use `ending` (ends a run), `resuming` (answers a task token) and `warning`
(puts a warning on a queue item). `setup_checks` are the checks of the setup.
"""
