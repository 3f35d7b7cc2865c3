"""The end of a build's Jenkins console without the lines of the pipeline engine.

It explains builds whose end no supervisor reported. The patterns match recorded consoles of Jenkins 2.263.4 and
2.568.1. They may be broad, because a console with the build's own output (SHUTTLE_JENKINS_CONSOLE=full) is not read.
"""

import re

import aiohttp

from shuttle.jenkins.session import unavailable
from shuttle.storable import storable

# Jenkins hides serialized objects between these two escape sequences; consoleText of most versions omits them already.
_HIDDEN_NOTE = re.compile(rb"\x1b\[8mha:[^\x1b\n]*\x1b\[0m")
_DATE = r"[A-Z][a-z]{2} [A-Z][a-z]{2} \d\d \d\d:\d\d:\d\d \S+ \d{4}"
# A plugin may put the time of day before every line.
_TIME = r"(?:\[\d{4}-\d\d-\d\dT[\d:.]+Z\] )?"
_HEADER_LINE = re.compile(_TIME + r"(?:Started by .*|Started from .*|Running in Durability level: .*)")
_ENGINE_LINE = re.compile(
    _TIME
    + r"(?:\[(?:Pipeline|shuttle)\] .*"
    + r"|Running in Durability level: .*"
    + r"|Running on .+ in (?:/|[A-Za-z]:\\).*"
    + rf"|Resuming build at {_DATE} after Jenkins restart"
    + rf"|Ready to run at {_DATE}"
    + r"|Waiting to resume part of .+ #\d+: Finished waiting"
    + r"|org\.jenkinsci\.plugins\.workflow\.actions\.ErrorAction\$ErrorId: \S+"
    + r"|Finished: (?:SUCCESS|UNSTABLE|FAILURE|NOT_BUILT|ABORTED))"
)


async def last_bytes(response: aiohttp.ClientResponse, limit_bytes: int) -> tuple[bytes, bool]:
    """The last `limit_bytes` of a body of any length, and whether earlier bytes were dropped.

    Raises JenkinsUnavailableError if the connection breaks before the body's end.
    """
    kept = bytearray()
    dropped = False
    try:
        async for chunk in response.content.iter_any():
            kept += chunk
            if len(kept) > limit_bytes:
                dropped = True
                del kept[: len(kept) - limit_bytes]
    except (aiohttp.ClientError, OSError) as error:
        raise unavailable(error) from None
    return bytes(kept), dropped


def without_engine_lines(console: bytes, *, cut: bool, limit_bytes: int) -> bytes:
    """The lines of `console` that are not of the engine, each ended by LF, at most `limit_bytes`.

    `cut`: `console` is the end of a longer text, so its first line is dropped as incomplete. A database stores the
    result. After a power cut, Jenkins' file of a console may have blocks of NUL.
    """
    text = storable(_HIDDEN_NOTE.sub(b"", console).replace(b"\r\n", b"\n").decode(errors="replace"))
    if cut:
        _, _, text = text.partition("\n")
    lines = text.removesuffix("\n").split("\n") if text else []
    in_header = not cut
    kept: list[str] = []
    for line in lines:
        in_header = in_header and _HEADER_LINE.fullmatch(line) is not None
        if not in_header and not _ENGINE_LINE.fullmatch(line):
            kept.append(line + "\n")
    shown = "".join(kept).encode()
    if not shown.strip():
        return b""
    if len(shown) <= limit_bytes:
        return shown
    # Replacing invalid bytes made the text longer.
    return shown[-limit_bytes:].partition(b"\n")[2]
