"""Recorded scenarios: how parameters are passed, how builds end, and what their logs contain."""

import pytest

from tests.contract.jenkins.coverage import covers
from tests.contract.jenkins.job_xml import job_xml, sh, step
from tests.contract.jenkins.situations import build_and_look, create, left_with_a_number, parameters_of

pytestmark = pytest.mark.needs("token")


@covers("E-misc-005", "E-misc-006", "E-misc-007", "E-misc-008", "E-misc-009", "E-misc-010")
async def test_parameters_are_accepted_by_form_query_and_multipart_but_not_json(replay):
    await create(replay, "cq0", quiet=0)
    expected = {
        5: (48, {"WHO": "žluť\nline2 \"q\" 's' & <b> %", "SECS": "0"}),
        6: (49, {"WHO": "žluť €", "SECS": "0"}),
        7: (50, {"WHO": "multipart", "SECS": "0"}),
        8: (51, {"WHO": "world", "SECS": "5"}),
        9: (52, {"WHO": "tok", "SECS": "0"}),
        10: (53, {"WHO": "cause", "SECS": "0"}),
    }
    for exchange, (item, parameters) in expected.items():
        await replay(f"E-misc-0{exchange:02}")
        assert await parameters_of(replay, item) == parameters


@covers("E-misc-016", "E-misc-017", "E-misc-036", "E-misc-037")
async def test_failing_script_fails_the_build(replay):
    script = step(sh("echo boom; exit 3"))
    await build_and_look(replay, "E-misc-016", "E-misc-017", script, recorded_queue_id=65)
    await replay("E-misc-036")
    log = await replay("E-misc-037")
    assert log.text.endswith("ERROR: script returned exit code 3\r\nFinished: FAILURE\r\n")


@covers("E-misc-018", "E-misc-019", "E-misc-038", "E-misc-039")
async def test_unstable_build_has_its_result(replay):
    await build_and_look(replay, "E-misc-018", "E-misc-019", step("unstable('meh')"), recorded_queue_id=66)
    await replay("E-misc-038")
    log = await replay("E-misc-039")
    assert "\r\nWARNING: meh\r\n" in log.text
    assert log.text.endswith("Finished: UNSTABLE\r\n")


@covers("E-misc-022", "E-misc-023", "E-misc-042", "E-misc-043")
async def test_script_that_does_not_compile_fails_the_build(replay):
    await build_and_look(replay, "E-misc-022", "E-misc-023", "pipeline { nope", recorded_queue_id=69)
    await replay("E-misc-042")
    log = await replay("E-misc-043")
    assert "MultipleCompilationErrorsException: startup failed:" in log.text
    assert log.text.endswith("Finished: FAILURE\r\n")


@covers("E-misc-026", "E-misc-027", "E-misc-046", "E-misc-047")
async def test_timeout_aborts_the_build(replay):
    script = step("timeout(time: 2, unit: 'SECONDS') {\n sh 'sleep 30'\n }")
    await build_and_look(replay, "E-misc-026", "E-misc-027", script, recorded_queue_id=72)
    await replay("E-misc-046")
    log = await replay("E-misc-047")
    assert "Timeout set to expire in 2 sec\r\n" in log.text
    assert "Cancelling nested steps due to timeout\r\n" in log.text
    assert log.text.endswith("Finished: ABORTED\r\n")


@covers("E-misc-030", "E-misc-031")
async def test_long_log_is_returned_completely(replay):
    await build_and_look(replay, "E-misc-030", "E-misc-031", step(sh("seq 1 60000")), recorded_queue_id=74)
    log = await replay.ask("GET", f"/job/{replay.job('pbig')}/1/logText/progressiveText?start=0")
    lines = log.text.split("\r\n")
    assert lines[lines.index("1") : lines.index("60000") + 1] == [str(number) for number in range(1, 60001)]
    assert int(log.headers["X-Text-Size"]) > 0


@covers("E-misc-032", "E-misc-033", "E-misc-050", "E-misc-051")
async def test_escape_sequences_and_unicode_are_unchanged(replay):
    script = step(
        sh(r"printf '\033[31mred\033[0m <script>alert(1)</script>\n\305\276lu\305\245 \342\202\254 \360\237\230\200\n'")
    )
    await build_and_look(replay, "E-misc-032", "E-misc-033", script, recorded_queue_id=76)
    # This response was recorded just before the executor was released; the comparison does not depend on that.
    await replay("E-misc-050")
    log = await replay("E-misc-051")
    assert "\r\n\x1b[31mred\x1b[0m <script>alert(1)</script>\r\nžluť € 😀\r\n" in log.text


@covers("E-misc-034", "E-misc-035")
async def test_line_is_shown_when_it_is_complete(replay):
    """C-partial-line.txt: text without a newline is not shown yet."""
    script = step(sh("exec 2> /dev/null; printf abc; sleep 0.5; printf 'def\\n'"))
    await replay("E-misc-034", body=job_xml(script, parameters=False, quiet=0))
    await replay("E-misc-035")
    await replay.server.until(lambda: left_with_a_number(replay, 78))
    path = f"/job/{replay.job('pnonl')}/1/logText/progressiveText"
    seen, start = "", 0
    while True:
        answer = await replay.ask("GET", f"{path}?start={start}")
        seen += answer.text
        assert seen == "" or seen.endswith("\r\n")
        start = int(answer.headers["X-Text-Size"])
        if "X-More-Data" not in answer.headers:
            break
        await replay.server.until(lambda start=start: grown(replay, path, start))
    assert "abcdef\r\n" in seen


async def grown(replay, path, start):
    answer = await replay.ask("GET", f"{path}?start={start}")
    return bool(answer.body) or "X-More-Data" not in answer.headers
