"""The embedded AWS: the real template, its functions and its state machine run in one process, without an account.

ministack is the control plane: it answers the APIs and keeps what they store. What it does not do faithfully enough
for this application is replaced: executions are evaluated by the interpreter in moto (`machine`), functions run in an
interpreter of their own (`functions`), asynchronous calls are delivered with retries (`delivery`), training jobs run
for real (`training`), and roles are enforced where AWS enforces them by itself (`iam`). Every reach into ministack or
moto goes through `seams`.
"""
