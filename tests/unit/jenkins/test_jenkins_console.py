"""What is left of a console for people: Jenkins' own words, from recordings of both generations."""

from pathlib import Path

import pytest

from shuttle.jenkins.console import words_for_people
from tests.unit.jenkins.fake_jenkins import answers
from tests.unit.jenkins.recorded import recorded, recorded_2568

LIMIT = 65536
TERMINATING = b"Sending interrupt signal to process\nTerminating sh\n"
DECLARATIVE = Path("tests/recordings/declarative")


def words(console: bytes, *, cut: bool = False, limit: int = LIMIT) -> bytes:
    return words_for_people(console, cut=cut, limit_bytes=limit)


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
def test_recorded_consoles(name, shown):
    assert words(recorded_2568(name).body) == shown


def test_lines_about_a_restart_go_and_the_pause_stays():
    shown = words(recorded_2568("J-restart-012-console_at_its_end").body)
    assert shown.startswith(b"up\ntick 0\ntick 1\ntick 2\nPausing (shutting down)\ntick 3\n")
    assert shown.endswith(b"tick 44\n")


def test_an_older_console_loses_its_durability_and_repeated_causes():
    shown = words(recorded("C-build-044-consoleText_done").body)
    assert shown.startswith("hello alice & b <b>&é\n+ i=0\n".encode())
    assert shown.endswith(b"+ [ 4 -lt 4 ]\n")


def test_a_pipeline_that_does_not_compile_says_so_first():
    for console in (
        recorded_2568("I-log-008-console_of_a_pipeline_that_does_not_compile").body,
        (DECLARATIVE / "console-of-blocks-on-one-line.txt").read_bytes(),
    ):
        shown = words(console)
        assert shown.startswith(b"org.codehaus.groovy.control.MultipleCompilationErrorsException: startup failed:\n")
        assert b"Finished" not in shown


def test_both_forms_of_one_console_come_to_the_same():
    """With hidden notes and CRLF, and without."""
    with_notes = recorded_2568("K-declarative-005-console_as_progressiveText").body
    assert b"\x1b[8mha:" in with_notes
    shown = words(with_notes)
    assert shown == words(recorded_2568("K-declarative-004-console_raw_as_consoleText").body)
    assert b"ha:" not in shown
    assert b"[Pipeline]" not in shown


def test_a_lost_agent_is_told():
    lost = "ag1 has been removed or offline for 5 min 0 sec; assuming it is not coming back"
    console = f"Started by user ci\n[Pipeline] node\nRunning on ag1 in C:\\work\\app\n{lost}\nFinished: ABORTED\n"
    assert words(console.encode()) == f"{lost}\n".encode()


def test_times_before_every_line_hide_nothing_of_the_engine():
    time = "[2026-11-26T15:27:16.123Z] "
    console = "".join(
        time + line + "\n" for line in ("Started by user ci", "[Pipeline] sh", "ERROR: no", "Finished: X")
    )
    assert words(console.encode()) == f"{time}ERROR: no\n{time}Finished: X\n".encode()


def test_started_by_counts_at_the_beginning_only():
    assert words(b"Started by user ci\nERROR: x\nStarted by hand\n") == b"ERROR: x\nStarted by hand\n"
    assert words(b"half a line\nStarted by hand\n", cut=True) == b"Started by hand\n"


def test_the_first_line_of_a_cut_text_goes():
    assert words(b"alf a line\nwhole\n", cut=True) == b"whole\n"
    assert words(b"no line ends here", cut=True) == b""


def test_an_unfinished_last_line_is_ended():
    assert words(b"ERROR: it") == b"ERROR: it\n"


def test_invalid_bytes_are_replaced_within_the_limit():
    assert words(b"a\xffb\n") == "a\ufffdb\n".encode()
    shown = words(b"\xff" * 40 + b"\nlast\n", limit=46)
    assert shown == b"last\n"


def test_blank_lines_alone_are_nothing():
    assert words(b"Started by user ci\n\n\nFinished: SUCCESS\n") == b""


async def test_the_end_of_a_long_console_in_whole_lines(fake, connect):
    console = b"".join(b"line %d\n" % number for number in range(20_000))
    fake.on("GET", "/job/app/1/consoleText", answers(200, console))
    words_at_the_end = await connect().console_tail("app", 1, 30)
    assert words_at_the_end == b"line 19998\nline 19999\n"


def test_the_supervisors_stages_are_left_out_and_its_troubles_are_not():
    console = b"[shuttle] The log is at http://s/a/1/logs\n-----> The agent has no curl; install it there.\n"
    assert words(console) == b"-----> The agent has no curl; install it there.\n"
