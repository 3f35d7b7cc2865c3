"""The errors that end a command: one sentence on stderr and an exit code.

Exit codes: 0 done, 1 the build did not succeed or the service refused, 2 wrong usage or settings,
3 the service cannot be reached, 130 interrupted.
"""

from typing import ClassVar

from shuttle.errors import ShuttleError


class CommandError(ShuttleError):
    """Ends the command; the message is the sentence that the user reads."""

    exit_code: ClassVar[int] = 1
    code = "command_failed"


class UsageError(CommandError):
    """The arguments or options are invalid."""

    exit_code = 2
    code = "usage"


class ServiceRefusedError(CommandError):
    """The service refused the request; the message is the service's."""

    exit_code = 1
    code = "refused"


class ServiceUnreachableError(CommandError):
    """There was no response, a broken one, or one from something other than a shuttle."""

    exit_code = 3
    code = "unreachable"


def exit_code_of(error: ShuttleError) -> int:
    """The exit code: a command's own, 2 for settings, 1 for any other error of the product."""
    if isinstance(error, CommandError):
        return error.exit_code
    return 2 if error.code == "bad_settings" else 1
