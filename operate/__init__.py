"""What an operator types: `make deploy`, `make verify`, `make logs`, `make destroy`.

    deploy    asks what it needs the first time, builds, deploys, and prints what to paste into W&B
    verify    proves a deployed stack with one small job
    logs      what the functions logged of a run
    destroy   deletes a stack, and says what stays

It runs on the operator's machine, with the operator's AWS credentials. The application does not know that it exists.
"""
