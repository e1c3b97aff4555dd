"""The embedded AWS: runs the real template, its functions and its state machine in one process, without an account.

ministack is the control plane: it answers the APIs and stores their data. These modules replace the parts that are not
faithful enough for this application: moto's interpreter evaluates executions (`machine`), functions run in separate
interpreters (`functions`), asynchronous calls are delivered with retries (`delivery`), training jobs really run
(`training`), and roles are enforced where AWS itself uses them (`iam`). All access to the internals of ministack and
moto goes through `seams`.
"""
