"""The examples of docs/state-api.md: every call below `/-/state`."""

from pathlib import Path

from tests.recorded.recorder import Recorder
from tests.support.inprocess import running_shuttle

_CONTROLLER, _READER = "controller-token-0001", "reader-token-0000001"
_TOKENS = {"SHUTTLE_TOKENS": f"controller:{_CONTROLLER},reader:{_READER}"}

_FORM = {"Content-Type": "application/x-www-form-urlencoded"}
# The uptime differs from run to run.
_STATUS = """{
  "status": "operational",
  "uptime": "3 days, 4:05:06",
  "version": "0.1.0",
  "database": {"type": "postgresql", "status": "connected", "builds_count": 1204},
  "cache": {"status": "disabled"},
  "timestamp": "2030-01-01T10:00:00.000Z"
}"""


async def record(folder: Path) -> dict[str, str]:
    """Make every call to a service whose Jenkins is down: no build of it has to run."""
    async with running_shuttle(folder, **_TOKENS) as shuttle:
        shuttle.headers = {"X-API-Key": _CONTROLLER}
        calls = _Calls(shuttle, indents_long_json=True)
        await calls.health()
        await calls.login()
        return calls.examples


class _Calls(Recorder):
    async def health(self) -> None:
        """The probes."""
        await self.call("health", "GET", "/-/state/health")
        await self.call("ready", "GET", "/-/state/ready")
        await self.call("status", "GET", "/-/state/status", show_answer=_STATUS)

    async def login(self) -> None:
        """A login, and what a token may do."""
        await self.call(
            "login", "POST", "/-/state/token", f"username=ci&password={_CONTROLLER}".encode(), headers=_FORM
        )
        await self.call("login-refused", "POST", "/-/state/auth/idm", {"username": "ci", "password": "wrong"})
        await self.call("me", "GET", "/-/state/users/me")
