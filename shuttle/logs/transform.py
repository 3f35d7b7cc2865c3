"""Composes a build's log from the text of its streams: branch prefixes, the shuttle's own lines, the byte cap."""

import asyncio
from collections.abc import Mapping

from shuttle.logs import LogRules
from shuttle.logs.mask import Masker
from shuttle.logs.stream_transform import StreamTransform
from shuttle.logs.utf8 import character_start

LOG_CUT = b"-----> The log ends here: it has reached SHUTTLE_MAX_LOG_BYTES. The build continues.\n"

# A state's key of this form names the stream that the log's unfinished last line belongs to.
_LINE_OF = "line_of:"


class LogComposer:
    """Continues one build's log at an earlier `state()`, or after its first `written_bytes`.

    The log depends only on the texts and their order: joining or dividing consecutive texts of one stream makes no
    difference. Therefore the byte cap ignores lines: the log is cut before the first character that does not fit, and
    a notice follows on a line of its own.
    """

    def __init__(
        self,
        rules: LogRules,
        state: Mapping[str, int] | None = None,
        *,
        written_bytes: int = 0,
        ends_in_line: bool = False,
        masker: Masker | None = None,
    ) -> None:
        """`written_bytes` and `ends_in_line` are used only without `state`; `masker` must find `rules.secrets`."""
        state = state or {}
        self._rules = rules
        self._masker = masker or Masker(rules.secrets)
        # The space for text; the notice, and the LF that may be needed before it, must fit as well.
        self._room_until = max(0, rules.max_log_bytes - len(LOG_CUT) - 1)
        self._written_bytes = state.get("written_bytes", written_bytes)
        self._capped = bool(state.get("capped", False))
        default_line_of = "" if ends_in_line else None
        self._line_of = next((key.removeprefix(_LINE_OF) for key in state if key.startswith(_LINE_OF)), default_line_of)

    @property
    def written_bytes(self) -> int:
        """The length of the log so far."""
        return self._written_bytes

    @property
    def capped(self) -> bool:
        """Whether the log has reached its byte cap, after which nothing is added."""
        return self._capped

    @property
    def ends_in_line(self) -> bool:
        """Whether the log's last line is unfinished."""
        return self._line_of is not None

    def begins_new_line(self, stream: str) -> bool:
        """Whether text of `stream` ends a line that another stream has left unfinished."""
        return not self._capped and self._line_of not in {None, stream}

    def state(self) -> dict[str, int]:
        """The state from which a new object continues; JSON values."""
        line_of = {} if self._line_of is None else {_LINE_OF + self._line_of: 1}
        return {"written_bytes": self._written_bytes, "capped": int(self._capped), **line_of}

    def stream(self, branch: str = "", state: Mapping[str, int] | None = None) -> StreamTransform:
        """A transform for a stream of this branch. The branch's prefix counts for the line cap."""
        max_line_bytes = max(0, self._rules.max_line_bytes - len(_prefix(branch)))
        return StreamTransform(self._masker, max_line_bytes, state, whole_lines=bool(branch))

    def add(self, text: bytes, stream: str = "", branch: str = "") -> bytes:
        """The bytes to append to the log for this text of `stream`.

        Text of another stream begins a new line if the last line is unfinished.
        """
        if self._capped or not text:
            return b""
        prefix = _prefix(branch)
        continues = self._line_of == stream
        if prefix:
            line_end = b"\n" if text.endswith(b"\n") else b""
            lines = text.removesuffix(b"\n").replace(b"\n", b"\n" + prefix)
            text = (b"" if continues else prefix) + lines + line_end
        return self._append(text if continues else self._line_end() + text, stream)

    def own_lines(self, text: str) -> bytes:
        """The bytes to append for the shuttle's own lines, which are masked, cut and counted like all others."""
        stream = self.stream()
        lines = stream.feed(text.encode(errors="surrogatepass")) + stream.finish()
        return self._append(self._line_end() + lines.removesuffix(b"\n") + b"\n", "")

    def _line_end(self) -> bytes:
        return b"" if self._line_of is None else b"\n"

    def _append(self, text: bytes, stream: str) -> bytes:
        if self._capped:
            return b""
        room = max(0, self._room_until - self._written_bytes)
        if len(text) > room:
            text = self._cut(text[: character_start(text, room)])
        self._written_bytes += len(text)
        self._line_of = None if text.endswith(b"\n") else stream
        return text

    def _cut(self, text: bytes) -> bytes:
        self._capped = True
        in_line = not text.endswith(b"\n") if text else self.ends_in_line
        return text + (b"\n" if in_line else b"") + LOG_CUT


def transform_line(text: str, rules: LogRules, *, written_bytes: int = 0) -> str:
    """The shuttle's own lines in their form in the log; `written_bytes` is the log's length before them."""
    return LogComposer(rules, written_bytes=written_bytes).own_lines(text).decode()


async def transform_in_thread(text: str, rules: LogRules, *, written_bytes: int = 0) -> str:
    """Run `transform_line` in a thread: preparing the search for a thousand secrets takes a second."""
    return await asyncio.to_thread(transform_line, text, rules, written_bytes=written_bytes)


def _prefix(branch: str) -> bytes:
    return f"[{branch}] ".encode() if branch else b""
