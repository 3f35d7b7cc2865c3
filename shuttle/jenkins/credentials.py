"""Decides when a 401 means wrong credentials, and remembers the permissions that commands lacked.

A starting Jenkins answers 401 to a valid API token for up to 3 seconds, between two periods of 503 (recorded).
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from shuttle.errors import JenkinsRefusedError, JenkinsUnavailableError

# Three times the longest period of 401s that was seen while a Jenkins started.
STEADY_SECONDS: Final = 10.0
# A refusal is forgotten after this time. A success would clear it, too, but the command is rarely sent again once its
# build is over.
REMEMBERED_SECONDS: Final = 600.0

_GROUPS = {"Item": "Job", "Hudson": "Overall", "Computer": "Agent"}


class CredentialsCheck:
    """Tracks the statuses of all answers: a 401 is believed after all answers of STEADY_SECONDS have been 401."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._refused_since: float | None = None

    def no_answer(self) -> None:
        """Jenkins did not answer: a later 401 starts a new period."""
        self._refused_since = None

    def answered(self, status: int) -> None:
        """Evaluate the status of an answer.

        Raises:
            JenkinsUnavailableError: 401, but not for long enough. JenkinsRefusedError: a steady 401.
        """
        if status != 401:
            self._refused_since = None
            return
        now = self._clock()
        if self._refused_since is None:
            self._refused_since = now
        if now - self._refused_since < STEADY_SECONDS:
            raise JenkinsUnavailableError(
                "Jenkins answers 401: it is still starting, or the user or API token in JENKINS_URL is wrong."
            )
        raise JenkinsRefusedError("Jenkins does not know the user and API token in JENKINS_URL: correct them.")


class RefusedCommands:
    """The permissions that commands lacked, by kind of command.

    A permission is forgotten after REMEMBERED_SECONDS, or once a command of its kind succeeds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._errors: dict[str, tuple[float, JenkinsRefusedError]] = {}

    @contextmanager
    def watch(self, kind: str) -> Iterator[None]:
        """Wrap a command: a missing permission is remembered, and a success forgets it."""
        try:
            yield
        except JenkinsRefusedError as error:
            if error.permission is not None:
                self._errors[kind] = (self._clock() + REMEMBERED_SECONDS, error)
            raise
        self._errors.pop(kind, None)

    def raise_known_refusal(self) -> None:
        """Raise JenkinsRefusedError for the first refusal that is still remembered, if any."""
        now = self._clock()
        for until, error in self._errors.values():
            if now < until:
                raise JenkinsRefusedError(error.message, permission=error.permission)


def permission_name(permission: str) -> str:
    """`Job/Cancel` for `hudson.model.Item.Cancel`: the name in Jenkins' pages and in our documentation."""
    *_, group, name = ("", *permission.rsplit(".", 2))
    return f"{_GROUPS.get(group, group)}/{name}" if group else permission
