"""The W&B Launch agent for Amazon SageMaker: queue item, plan, training job, outcome.

The order in which data flows, and in which modules may know each other:
`errors` and `model`, then `launch_config`, `run_queue`, `job_artifact` and `macros`, then `request_shape` and
`training_job`, then `launch_plan`, then `outcome`. `settings` and `clients` stand at the edge.
"""

__version__ = "0.1.0"
