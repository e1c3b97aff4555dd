"""The W&B Launch agent for Amazon SageMaker. The subpackages and modules, in the order of a run's life:

- `errors`, `model`, `remedies`, `safe_text`: every error; the two bases of every model; what to do about AWS's errors;
  texts without secrets
- `deployment`: the account, region and stack
- `run_queue`: run queue items, run specs, jobs and launch-config.yaml
- `image`: what goes into an image, and why a build failed
- `training`: a SageMaker training job, and when it is retried
- `plan`: everything that is decided about a run before anything is submitted
- `sweeps`: the scheduler of a sweep: what it queues and stops, and when it ends
- `runs`: the record of a run, and its states
- `outcome`: how a run ended, what the user sees, and the events of this application
- `operations`: what a sweep repairs, what is checked before there are runs, and the metrics
- `settings`: the environment of the functions
- `clients`: one module for each service
- `wiring`: every setting and every client, created on first use
- `door`: wraps every function
- `steps`: one module for each function, and what several of them share
- `builder`: builds one image, in AWS CodeBuild
- `dry_run`: plans a run spec on a laptop

A module imports only from those above it in this list; `make check` enforces that.
"""

__version__ = "0.2.0"
