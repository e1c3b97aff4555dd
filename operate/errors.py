"""The error of the operator's commands."""


class CannotOperate(Exception):
    """The command cannot continue; the message says why, and what to do."""
