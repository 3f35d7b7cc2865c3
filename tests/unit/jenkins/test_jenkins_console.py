"""The console without the lines of the pipeline engine, from recordings of both generations."""

from pathlib import Path

import pytest

from shuttle.jenkins.console import without_engine_lines
from tests.unit.jenkins.fake_jenkins import answers
from tests.unit.jenkins.recorded import recorded, recorded_2568

LIMIT = 65536
TERMINATING = b"Sending interrupt signal to process\nTerminating sh\n"
DECLARATIVE = Path("tests/recordings/declarative")


def shown_of(console: bytes, *, cut: bool = False, limit: int = LIMIT) -> bytes:
    return without_engine_lines(console, cut=cut, limit_bytes=limit)


RECORDED = {
    "nothing but the engine": ("F-queue-005-console_then", b""),
    "aborted": (
        "G-stop-005-console_after_stop",
        b"up\nAborted by shuttle\nSending interrupt signal to process\nTerminated\n",
    ),
    "terminated": (
        "G-stop-019-console_after_term",
        b"up\nSending interrupt signal to process\n" + b"Aborted by shuttle\n" * 2 + TERMINATING,
    ),
    "killed": ("G-stop-021-console_after_kill", b"up\nHard kill!\n"),
    "finished": ("I-log-024-consoleText_finished", b"one\nabcdef\nlast, no newline\n"),
}


@pytest.mark.parametrize(("name", "shown"), RECORDED.values(), ids=RECORDED.keys())
def test_recorded_consoles_are_shown_without_engine_lines(name, shown):
    assert shown_of(recorded_2568(name).body) == shown


def test_nul_in_a_damaged_console_is_replaced():
    """PostgreSQL refuses it, and so the build could not end."""
    assert shown_of(b"before\n\0\0\nafter\n") == "before\n\ufffd\ufffd\nafter\n".encode()


def test_lines_about_a_restart_are_removed_except_the_pause():
    shown = shown_of(recorded_2568("J-restart-012-console_at_its_end").body)
    assert shown.startswith(b"up\ntick 0\ntick 1\ntick 2\nPausing (shutting down)\ntick 3\n")
    assert shown.endswith(b"tick 44\n")


def test_durability_and_repeated_causes_of_an_older_console_are_removed():
    shown = shown_of(recorded("C-build-044-consoleText_done").body)
    assert shown.startswith("hello alice & b <b>&é\n+ i=0\n".encode())
    assert shown.endswith(b"+ [ 4 -lt 4 ]\n")


def test_the_error_of_a_pipeline_that_does_not_compile_comes_first():
    for console in (
        recorded_2568("I-log-008-console_of_a_pipeline_that_does_not_compile").body,
        (DECLARATIVE / "console-of-blocks-on-one-line.txt").read_bytes(),
    ):
        shown = shown_of(console)
        assert shown.startswith(b"org.codehaus.groovy.control.MultipleCompilationErrorsException: startup failed:\n")
        assert b"Finished" not in shown


def test_hidden_notes_and_crlf_do_not_change_the_result():
    with_notes = recorded_2568("K-declarative-005-console_as_progressiveText").body
    assert b"\x1b[8mha:" in with_notes
    shown = shown_of(with_notes)
    assert shown == shown_of(recorded_2568("K-declarative-004-console_raw_as_consoleText").body)
    assert b"ha:" not in shown
    assert b"[Pipeline]" not in shown


def test_the_line_about_a_lost_agent_is_kept():
    lost = "ag1 has been removed or offline for 5 min 0 sec; assuming it is not coming back"
    console = f"Started by user ci\n[Pipeline] node\nRunning on ag1 in C:\\work\\app\n{lost}\nFinished: ABORTED\n"
    assert shown_of(console.encode()) == f"{lost}\n".encode()


def test_engine_lines_with_timestamps_are_removed():
    time = "[2026-11-26T15:27:16.123Z] "
    console = "".join(
        time + line + "\n" for line in ("Started by user ci", "[Pipeline] sh", "ERROR: no", "Finished: X")
    )
    assert shown_of(console.encode()) == f"{time}ERROR: no\n{time}Finished: X\n".encode()


def test_started_by_lines_are_removed_only_at_the_beginning():
    assert shown_of(b"Started by user ci\nERROR: x\nStarted by hand\n") == b"ERROR: x\nStarted by hand\n"
    assert shown_of(b"half a line\nStarted by hand\n", cut=True) == b"Started by hand\n"


def test_the_first_line_of_a_cut_text_is_dropped():
    assert shown_of(b"alf a line\nwhole\n", cut=True) == b"whole\n"
    assert shown_of(b"no line ends here", cut=True) == b""


def test_an_unfinished_last_line_gets_a_line_feed():
    assert shown_of(b"ERROR: it") == b"ERROR: it\n"


def test_invalid_bytes_are_replaced_within_the_limit():
    assert shown_of(b"a\xffb\n") == "a\ufffdb\n".encode()
    shown = shown_of(b"\xff" * 40 + b"\nlast\n", limit=46)
    assert shown == b"last\n"


def test_blank_lines_without_other_text_are_dropped():
    assert shown_of(b"Started by user ci\n\n\nFinished: SUCCESS\n") == b""


async def test_console_tail_returns_whole_lines(fake, connect):
    console = b"".join(b"line %d\n" % number for number in range(20_000))
    fake.on("GET", "/job/app/1/consoleText", answers(200, console))
    tail = await connect().console_tail("app", 1, 30)
    assert tail == b"line 19998\nline 19999\n"


def test_lines_about_stages_are_removed_and_errors_of_the_supervisor_kept():
    console = b"[shuttle] The log is at http://s/a/1/logs\n-----> The agent has no curl; install it there.\n"
    assert shown_of(console) == b"-----> The agent has no curl; install it there.\n"
