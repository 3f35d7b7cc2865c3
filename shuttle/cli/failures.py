"""How a command ends when it cannot do what it was asked: one sentence on stderr and an exit code.

Exit codes: 0 done, 1 the build did not succeed or the service refused, 2 wrong usage or settings,
3 the service cannot be reached, 130 interrupted.
"""

from typing import ClassVar

from shuttle.errors import ShuttleError


class CommandError(ShuttleError):
    """The command ends here; the message is the one sentence that its user reads."""

    exit_code: ClassVar[int] = 1
    code = "command_failed"


class UsageError(CommandError):
    """What was typed cannot be used."""

    exit_code = 2
    code = "usage"


class ServiceRefusedError(CommandError):
    """The service answered, and said no; the message is its own."""

    exit_code = 1
    code = "refused"


class ServiceUnreachableError(CommandError):
    """No answer, a broken one, or one of something that is no shuttle."""

    exit_code = 3
    code = "unreachable"


def exit_code_of(error: ShuttleError) -> int:
    """Commands name their own; anything else that the product raises is settings (2) or a failure (1)."""
    if isinstance(error, CommandError):
        return error.exit_code
    return 2 if error.code == "bad_settings" else 1
