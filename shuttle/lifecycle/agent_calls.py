"""Pauses between pushes, so that all supervisors together stay within SHUTTLE_AGENT_CALLS_PER_SECOND."""

import asyncio
from collections import Counter, OrderedDict

# A call takes 40 ms on an agent (measured), so with this pause a supervisor makes five calls a second. The median delay
# of a line is half of the pause plus the time of a call.
SHORTEST_PAUSE_SECONDS = 0.16
SILENT_SECONDS = 30.0
# How often a silent supervisor calls while a stop is wanted, or in the last SILENT_SECONDS of its time limit.
ALERT_SECONDS = 5.0
# A push of at least this size means that the agent has more to send.
_BACKLOG_BYTES = 1024 * 1024
# A supervisor counts as sending for this long after its newest bytes.
_SENDING_SECONDS = 10.0
_SLOWEST_SECONDS = 60.0


class AgentCalls:
    """Gives each sending build an equal share, however many supervisors it has. Used from one event loop."""

    def __init__(self, calls_per_second: float) -> None:
        self.calls_per_second = calls_per_second
        # The time of the newest bytes of each sending supervisor (build_uuid, claim_id), the oldest first.
        self._sending: OrderedDict[tuple[str, int], float] = OrderedDict()
        # How many sending supervisors a build has.
        self._of_build: Counter[str] = Counter()

    def pause_seconds(self, build_uuid: str, claim_id: int, received_bytes: int) -> float:
        """The pause before this supervisor's next call, after a call with `received_bytes` of new bytes."""
        now = asyncio.get_running_loop().time()
        if received_bytes:
            self._of_build[build_uuid] += (build_uuid, claim_id) not in self._sending
            self._sending[build_uuid, claim_id] = now
            self._sending.move_to_end((build_uuid, claim_id))
        while self._sending and next(iter(self._sending.values())) < now - _SENDING_SECONDS:
            self.remove(*next(iter(self._sending)))
        calls = len(self._of_build) * max(1, self._of_build.get(build_uuid, 0))
        fair = min(calls / self.calls_per_second, _SLOWEST_SECONDS)
        if received_bytes >= _BACKLOG_BYTES:
            return fair if calls > 1 else 0.0
        return max(SHORTEST_PAUSE_SECONDS, fair)

    def remove(self, build_uuid: str, claim_id: int) -> None:
        """Remove a supervisor that sends nothing more."""
        if self._sending.pop((build_uuid, claim_id), None) is not None:
            self._of_build[build_uuid] -= 1
            if not self._of_build[build_uuid]:
                del self._of_build[build_uuid]
