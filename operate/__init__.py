"""The operator's commands: `make deploy`, `make doctor`, `make verify` and others.

    deploy    asks what it needs the first time, builds, deploys, and prints what to paste into W&B
    doctor    checks what a deployed stack needs before it can launch runs
    watch     shows the runs while they work
    queue     prints the configuration for the run queues, or creates the queues that do not exist
    verify    proves a deployed stack with one small job
    logs      shows what the functions logged about a run
    destroy   deletes a stack, and lists what it leaves behind

They run on the operator's machine, with the operator's AWS credentials. The application does not depend on them.
"""
