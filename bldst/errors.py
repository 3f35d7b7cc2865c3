"""The two ways in which a command ends without success."""


class UsageError(Exception):
    """The command line is wrong; nothing was sent. Exit code 2."""


class CommandError(Exception):
    """Refused, not found, not reachable or not configured. Exit code 1."""
