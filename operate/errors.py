"""What keeps a command from doing its work."""


class CannotOperate(Exception):
    """The command cannot go on; the message says why, and what to do."""
