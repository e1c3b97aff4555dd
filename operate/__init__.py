"""The operator's commands: `make deploy`, `make verify`, `make logs`, `make destroy`.

    deploy    asks what it needs the first time, builds, deploys, and prints what to paste into W&B
    verify    proves a deployed stack with one small job
    logs      shows what the functions logged about a run
    destroy   deletes a stack, and lists what it leaves behind

They run on the operator's machine, with the operator's AWS credentials. The application does not depend on them.
"""
