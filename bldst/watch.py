"""bldst build watch: the states of a build as they come, until it ends."""

import json
import time
from typing import Any, Dict, Set

from bldst.errors import CommandError, UsageError
from bldst.run import Run, objects, require_object
from bldst.tables import shown

_INTERVAL_SECONDS = 5
_PATIENCE_SECONDS = 300
"""A service that restarts or is replaced answers again within this time."""


def watch(run: Run) -> int:
    """Print each state, and again when its status changes. Exit code 0 if the build is completed, 1 if it failed."""
    interval = run.fields.get("interval", _INTERVAL_SECONDS)
    if interval < 1:
        raise UsageError("--interval is at least 1 second")
    seen: Set[Any] = set()
    while True:
        build = _read(run, interval)
        for state in objects(build.get("states")):
            key = (state.get("id"), state.get("status"))
            if key not in seen:
                seen.add(key)
                _show(run, state)
        if build.get("status") in ("completed", "failed"):
            return _end(run, build)
        time.sleep(interval)


def _read(run: Run, interval: int) -> Dict[str, Any]:
    """Read the build; wait while the service does not answer.

    Raises:
        CommandError: The service refuses, or has not answered for 5 minutes.
    """
    since = time.monotonic()
    said = False
    while True:
        try:
            answer = run.client.send("GET", run.fill("/builds/{build}"))
        except CommandError as error:
            trouble = str(error)
        else:
            if answer.status < 500 and answer.status != 429:
                return require_object(answer.require_success())
            trouble = answer.refusal()
        if time.monotonic() - since > _PATIENCE_SECONDS:
            raise CommandError(trouble)
        if not said:
            run.say(trouble + "; waiting")
            said = True
        time.sleep(interval)


def _show(run: Run, state: Dict[str, Any]) -> None:
    if run.output.chosen == "json":
        run.output.line(json.dumps(state))
    else:
        run.output.line("{}  {:>3}  {}".format(*(shown(state.get(name)) for name in ("start_time", "state", "status"))))
    run.output.flush()


def _end(run: Run, build: Dict[str, Any]) -> int:
    failures = objects(build.get("failures"))
    message = failures[-1].get("error_message") if failures else None
    if build["status"] == "completed":
        run.say("the build is completed")
        return 0
    run.say("the build failed" + (": " + shown(message) if message else ""))
    return 1
