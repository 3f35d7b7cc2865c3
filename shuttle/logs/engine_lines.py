"""Tells the lines that Jenkins' pipeline engine writes about itself from those of the build.

The forms are those of recorded consoles (Jenkins 2.263.4 with workflow-job 2.40) and of the engine's own sources.
"""

import re
from collections.abc import Mapping

_STEP = b"[Pipeline] "
_NODE = b"[Pipeline] node"
_HEADER = (b"Started by ", b"Running in Durability level: ")
_RESUMING = b"Resuming build at "
_CANDIDATE = re.compile(
    rb"^(?:\[Pipeline\] |Started by |Running |Resuming build at |Ready to run at |Waiting to resume part of )",
    re.MULTILINE,
)
_USUAL_CANDIDATE = re.compile(rb"\n(?:\[Pipeline\] |Resuming build at )")
_DATE = rb"[A-Z][a-z]{2} [A-Z][a-z]{2} \d\d \d\d:\d\d:\d\d \S+ \d{4}"
_RUNNING_ON = re.compile(rb"Running on .+ in (?:/|[A-Za-z]:\\).*")
_RESUMED = re.compile(rb"Resuming build at " + _DATE + rb" after Jenkins restart")
_RESUMING_DETAIL = re.compile(rb"Ready to run at " + _DATE + rb"|Waiting to resume part of .+ #\d+: .*")


class EngineLines:
    """Follows one console from its first line; what it remembers is its `state`.

    `Started by …` and `Running in Durability level …` are the engine's before the first `[Pipeline]` line only;
    `Running on X in /…` once for every `[Pipeline] node` (lines why it waits may come between, and stay);
    `Ready to run …` and `Waiting to resume …` only after `Resuming build at …`. So a build's own "Started by …" stays.
    """

    def __init__(self, state: Mapping[str, int] | None = None) -> None:
        state = state or {}
        self._in_header = bool(state.get("in_header", True))
        self._nodes_awaited = state.get("nodes_awaited", 0)
        self._resuming = bool(state.get("resuming", False))

    def state(self) -> dict[str, int]:
        """What `__init__` takes to go on from here, as JSON values."""
        return {
            "in_header": int(self._in_header),
            "nodes_awaited": self._nodes_awaited,
            "resuming": int(self._resuming),
        }

    def removed_from(self, lines: bytes) -> bytes:
        """`lines`, each ending in LF, without the engine's; text without any passes at the speed of one search."""
        kept: list[bytes] = []
        shown = 0
        start = self._next_candidate(lines, 0)
        while start >= 0:
            end = lines.index(b"\n", start)
            if self.owns(lines[start:end]):
                kept.append(lines[shown:start])
                shown = end + 1
            start = self._next_candidate(lines, end + 1)
        return b"".join((*kept, lines[shown:])) if shown else lines

    def _next_candidate(self, lines: bytes, at: int) -> int:
        """Where the next line starts, from the line at `at` on, that `owns` may claim; -1 = there is none."""
        if self._in_header or self._nodes_awaited or self._resuming:
            candidate = _CANDIDATE.search(lines, at)
            return candidate.start() if candidate else -1
        # Nearly every log is nearly always here: an expression that begins with the LF is 10 times as fast.
        if lines.startswith((_STEP, _RESUMING), at):
            return at
        before = _USUAL_CANDIDATE.search(lines, at)
        return before.start() + 1 if before else -1

    def owns(self, line: bytes) -> bool:
        """Whether `line`, the next one and without its LF, is the engine's."""
        if line.startswith(_STEP):
            self._in_header = self._resuming = False
            self._nodes_awaited += line == _NODE
            return True
        if self._in_header:
            return line.startswith(_HEADER)
        if self._nodes_awaited and _RUNNING_ON.fullmatch(line):
            self._nodes_awaited -= 1
            return True
        if _RESUMED.fullmatch(line):
            self._resuming = True
            return True
        return self._resuming and bool(_RESUMING_DETAIL.fullmatch(line))
