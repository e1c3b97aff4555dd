"""The W&B Launch agent for Amazon SageMaker. The rooms of this package, in the order of a run's story:

- `errors`, `model`, `safe_text`: every failure we name; the two bases of every model; texts without secrets
- `deployment`: where this launch agent is deployed
- `run_queue`: what W&B hands out
- `image`: what an image is made of, and why there is none
- `training`: a SageMaker training job, and when it is retried
- `plan`: all that is decided about a run before anything is submitted
- `runs`: what is remembered of a run, and its life
- `outcome`: how a run ended, and what a user is told
- `operations`: what an operator needs
- `settings`: the environment of the functions, and launch-config.yaml
- `clients`: all that talks, one module for each service
- `wiring`: every setting and every client, made when it is first used
- `door`: the way into every function and out of it
- `steps`: the story, one module for each function, and what several of them do
- `builder`: builds one image, in AWS CodeBuild
- `dry_run`: plans a run spec on a laptop

A room imports only from rooms above it in this list; `make check` holds it to that.
"""

__version__ = "0.2.0"
