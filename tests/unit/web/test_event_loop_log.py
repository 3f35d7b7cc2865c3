"""Reports of the event loop become lines of the service's log."""

import asyncio
import errno
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from shuttle.web.server_log import EventLoopLog


class Loop(asyncio.SelectorEventLoop):
    """An event loop whose clock the test sets."""

    at = 100.0

    def time(self) -> float:
        return self.at


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    made.set_exception_handler(EventLoopLog())
    yield made
    made.close()


def reported(loop: Loop, error: Exception, times: int = 1) -> list[EventDict]:
    with capture_logs() as lines:
        for _ in range(times):
            loop.call_exception_handler({"message": "socket.accept() out of system resource", "exception": error})
    return lines


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_lack_of_file_descriptors_is_logged_once_a_second_without_traceback(loop: Loop, number: int):
    [line] = reported(loop, OSError(number, "Too many open files"), times=1000)
    assert "limit of open files" in line["event"]
    assert "exc_info" not in line
    loop.at += 0.9
    assert reported(loop, OSError(number, "Too many open files")) == []
    loop.at += 0.1
    assert len(reported(loop, OSError(number, "Too many open files"), times=2)) == 1


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("a bug")])
def test_any_other_event_loop_error_is_logged_each_time_with_its_exception(loop: Loop, error: Exception):
    lines = reported(loop, error, times=3)
    assert [line["exc_info"] for line in lines] == [error] * 3
