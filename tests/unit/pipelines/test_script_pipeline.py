"""The script pipeline, run by real shells against a fake shuttle: the user process and the supervisor's calls."""

import asyncio
import os
import signal

import pytest

from jenkins_pipelines.environment import AgentEnvironment
from tests.support.agent_api import BUILD_UUID, TOKENS, AgentApi, Cut, CutHeaders, source_archive
from tests.support.unchecked import unchecked
from tests.unit.pipelines.agent import SHELLS, WANTED_SHELLS, Agent, everything_under, only_step
from tests.unit.pipelines.builds import SCRIPT

HELLO = "#!/bin/sh\necho hello from $NAME\n"


def environment(**arguments: str) -> AgentEnvironment:
    return AgentEnvironment(app_id="an app", build_id="ünïcode 7", build_uuid=BUILD_UUID, arguments=arguments)


async def test_build_sh_runs_after_the_claim_and_nothing_is_left_behind(each_agent: Agent) -> None:
    async with AgentApi(environment(NAME="here"), source_archive({"build.sh": HELLO})) as api:
        each_agent.url = api.url
        run = await each_agent.run(SCRIPT)
    assert run.status == 0, run.console + api.log
    assert api.log == "-----> Running build.sh\nhello from here\n"
    assert api.ends == {"main": 0}
    calls = [path.rsplit("/", 1)[1].partition("?")[0] for _, path, _ in api.calls]
    order = ["claim", "environment", "source.tar.gz", "begin", "log"]
    assert [call for call in dict.fromkeys(calls) if call != "progress"] == order
    assert api.stages == [
        "fetch begin", "fetch end succeeded", "build begin", "build end succeeded", "artifacts begin",
        "artifacts end succeeded",
    ]  # fmt: skip
    assert api.claims == [1]
    assert list(each_agent.home.glob("workspace*")) == [each_agent.workspace]
    assert everything_under(each_agent.workspace) == []
    assert not any(token in run.console for token in TOKENS)


async def test_jenkins_console_has_one_line_per_stage_and_the_url_of_the_log(agent: Agent) -> None:
    async with AgentApi(environment(NAME="here"), source_archive({"build.sh": HELLO})) as api:
        agent.url = api.url
        run = await agent.run(SCRIPT)
    assert run.console.splitlines() == [
        "[shuttle] The log is at http://shuttle.example/app/1/log",
        "[shuttle] Fetching the environment and the source",
        "[shuttle] Running the build",
        "[shuttle] Uploading the artifacts",
        "-----> Succeeded.",
    ]


@pytest.mark.slow
async def test_full_console_has_the_log_once(each_agent: Agent) -> None:
    async with AgentApi(environment(NAME="here"), source_archive({"build.sh": HELLO})) as api:
        each_agent.url = api.url
        api.claim_answer = {"console": "full"}
        api.faults["log"].extend([503, CutHeaders])
        run = await each_agent.run(SCRIPT)
    assert run.console.count("hello from here\n") == 1
    assert run.console.count("-----> Running build.sh\n") == 1


async def test_refused_claim_changes_nothing(each_agent: Agent) -> None:
    kept = each_agent.workspace / "source"
    kept.mkdir()
    (kept / "file").write_text("of the run that has the build")
    async with AgentApi(source=source_archive({"build.sh": HELLO})) as api:
        each_agent.url = api.url
        api.claims.append(7)
        run = await each_agent.run(SCRIPT)
    assert run.status == 1
    assert "Refused: this build was claimed by another run or has begun. Nothing was done." in run.console
    assert [status for _, _, status in api.calls] == [409]
    assert everything_under(each_agent.workspace) == ["source/file"]


async def test_token_that_does_not_belong_to_the_build_is_refused(agent: Agent) -> None:
    async with AgentApi(source=source_archive({"build.sh": HELLO})) as api:
        agent.url = api.url
        api.token = "another"
        run = await agent.run(SCRIPT)
    assert run.status == 1
    assert "Refused: the token does not belong to this build" in run.console
    assert everything_under(agent.workspace) == []


async def test_files_in_dist_are_uploaded_under_their_relative_names(each_agent: Agent) -> None:
    each_agent.give("ln")
    build = """#!/bin/sh -e
mkdir -p 'dist/sub folder' dist/.hidden dist/empty
printf one >dist/plain.txt
printf two >'dist/sub folder/ä+b%c?d#e&[f]{g}.txt'
printf three >dist/.hidden/...
printf four >'dist/"quoted\\name"'
printf five >dist/-dash
ln -s /etc/passwd dist/link
ln -s / dist/root
"""
    async with AgentApi(environment(), source_archive({"build.sh": build})) as api:
        each_agent.url = api.url
        run = await each_agent.run(SCRIPT)
    assert run.status == 0, run.console + api.log
    assert api.artifacts == {
        "plain.txt": b"one",
        "sub folder/ä+b%c?d#e&[f]{g}.txt": b"two",
        ".hidden/...": b"three",
        '"quoted\\name"': b"four",
        "-dash": b"five",
    }
    assert "Not uploaded, because it is a link: link\n" in api.log


async def test_dist_that_is_a_link_is_not_followed_and_logged(agent: Agent) -> None:
    agent.give("ln")
    async with AgentApi(environment(), source_archive({"build.sh": "#!/bin/sh\nln -s /etc dist\n"})) as api:
        agent.url = api.url
        run = await agent.run(SCRIPT)
    assert run.status == 0, run.console + api.log
    assert api.artifacts == {}
    assert "-----> Not uploaded, because it is a link: dist\n" in api.log


@pytest.mark.slow
async def test_artifact_that_is_stored_for_longer_than_other_calls_may_stall_is_sent_once(agent: Agent) -> None:
    """No byte flows while the shuttle copies a file to its object store. This one is empty: its speed is 0 at once."""
    agent.limits = {"stall_seconds": 1}
    source = source_archive({"build.sh": "#!/bin/sh\nmkdir dist; : >dist/large\n"})
    async with AgentApi(environment(), source) as api:
        agent.url = api.url
        api.held["large"] = asyncio.Event()
        step = await agent.start(SCRIPT)
        await api.until(lambda: "large" in api.waiting)
        asyncio.get_running_loop().call_later(3, api.held["large"].set)
        run = await step.ended()
    assert (run.status, api.ends) == (0, {"main": 0}), run.console
    assert [status for method, _, status in api.calls if method == "PUT"] == [200]


async def test_artifact_refused_by_the_shuttle_fails_the_build_with_a_reason(agent: Agent) -> None:
    build = "#!/bin/sh\nmkdir dist; echo >dist/big.iso\n"
    async with AgentApi(environment(), source_archive({"build.sh": build})) as api:
        agent.url = api.url
        api.faults["big.iso"].append(413)
        run = await agent.run(SCRIPT)
    assert (run.status, api.stages[-1]) == (1, "artifacts end failed")
    report = api.reports["failure"]
    assert (report["state"], report["reason"]) == ("failed", "artifact_refused")
    assert report["message"] == "The shuttle refused the artifact big.iso (HTTP status 413)."


@pytest.mark.parametrize(
    ("lock", "what"),
    [("dist", "folder dist/"), ("dist/folder", "folder folder in dist/"), ("dist/file", "file file in dist/")],
)
async def test_unreadable_artifact_fails_the_build(each_agent: Agent, lock: str, what: str) -> None:
    each_agent.obeys_permissions = True
    async with AgentApi(
        environment(),
        source_archive(
            {
                "build.sh": f"""#!/bin/sh
mkdir -p dist/folder; echo x >dist/file; echo x >dist/folder/inner; chmod 0 {lock}
"""
            }
        ),
    ) as api:
        each_agent.url = api.url
        run = await each_agent.run(SCRIPT)
    assert (run.status, api.ends) == (1, {"main": 1}), run.console
    assert api.reports["failure"]["reason"] == "artifact_refused"
    assert api.reports["failure"]["message"] == f"The {what} cannot be read; change its permissions."
    assert list(each_agent.home.glob("workspace*")) == [each_agent.workspace]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (r"grün a\nb", "The name grün a?b in dist/ has a control character; rename it."),
        (r"d/a\tb", "The name d/a?b in dist/ has a control character; rename it."),
        (r"a\177", "The name a? in dist/ has a control character; rename it."),
        (r"caf\351.txt", "The name caf?.txt in dist/ is not UTF-8; rename it."),
        (r"gr\303\274n \355\240\200\n", "The name gr??n ???? in dist/ is not UTF-8; rename it."),
    ],
)
async def test_invalid_artifact_name_is_readable_in_the_message(each_agent: Agent, name: str, message: str) -> None:
    build = f"#!/bin/sh\nmkdir -p dist/d; echo >dist/\"$(printf '{name}.')\"\n"
    async with AgentApi(environment(), source_archive({"build.sh": build})) as api:
        each_agent.url = api.url
        run = await each_agent.run(SCRIPT)
    assert (run.status, api.ends) == (1, {"main": 1})
    assert api.reports["failure"]["message"] == message.replace(" in dist/", ". in dist/")


async def test_reason_for_a_refused_artifact_is_in_the_message(each_agent: Agent) -> None:
    name = 'grün "it" a\\b'
    build = f"#!/bin/sh\nmkdir dist; echo >'dist/{name}'\n"
    async with AgentApi(environment(), source_archive({"build.sh": build})) as api:
        each_agent.url = api.url
        api.artifact_refusals[name] = "Give the artifact a shorter name, or pack the files into one."
        await each_agent.run(SCRIPT)
    assert api.reports["failure"]["message"] == (
        f"The shuttle refused the artifact {name} (HTTP status 400): "
        "Give the artifact a shorter name, or pack the files into one."
    )


async def test_make_runs_if_there_is_no_build_sh(agent: Agent) -> None:
    agent.give("make")
    makefile = 'all:\n\t@echo "made by $(WHO)"\n'
    async with AgentApi(environment(WHO="make"), source_archive({"Makefile": makefile})) as api:
        agent.url = api.url
        run = await agent.run(SCRIPT)
    assert run.status == 0, run.console + api.log
    assert "made by make\n" in api.log


@pytest.mark.parametrize(
    ("first_line", "expected"),
    [
        ("#! \tSHOW \t ", "<./build.sh>"),
        ("#!SHOW \t one  argument\t", "<one  argument> <./build.sh>"),
        ("#!/usr/bin/env -S SHOW 'a b' c", "<a b> <c> <./build.sh>"),
        ("#!./tools/show x", "<x> <./build.sh>"),
    ],
)
async def test_build_sh_that_is_not_executable_is_run_by_its_interpreter(
    each_agent: Agent, first_line: str, expected: str
) -> None:
    show = "#!/bin/sh\nfor word; do printf '<%s> ' \"$word\"; done; echo\n"
    each_agent.program("show", show)
    script = first_line.replace("SHOW", str(each_agent.programs / "show")) + "\nexit 1\n"
    source = source_archive({"build.sh": script, "tools/show": show}, executable=("tools/show",))
    async with AgentApi(environment(), source) as api:
        each_agent.url = api.url
        run = await each_agent.run(SCRIPT)
    assert run.status == 0, run.console + api.log
    assert api.log == f"-----> Running build.sh\n{expected} \n"


@pytest.mark.parametrize("first_line", ["#! \t", "#" * 600])
async def test_build_sh_without_an_interpreter_is_run_by_sh(each_agent: Agent, first_line: str) -> None:
    source = source_archive({"build.sh": f"{first_line}\necho hello\n"}, executable=())
    async with AgentApi(environment(), source) as api:
        each_agent.url = api.url
        run = await each_agent.run(SCRIPT)
    assert run.status == 0, run.console + api.log
    assert api.log.endswith("\nhello\n")


@pytest.mark.parametrize("interpreter", ["/no/such/program", "sh"])
async def test_build_sh_with_a_missing_interpreter_fails_as_if_executable(each_agent: Agent, interpreter: str) -> None:
    async with AgentApi(environment(), source_archive({"build.sh": f"#!{interpreter}\n"}, executable=())) as api:
        each_agent.url = api.url
        run = await each_agent.run(SCRIPT)
    assert run.status == 127, run.console + api.log
    assert "No such file" in api.log


BOM = "build.sh begins with a byte order mark (BOM); save it as UTF-8 without one."
CRLF = "The first line of build.sh ends with CR LF, as Windows writes it; save it with LF."


@pytest.mark.parametrize(
    ("script", "executable", "message"),
    [
        (b"#!/bin/sh\r\necho hello\r\n", True, CRLF),
        (b"#!/usr/bin/env python3\r", False, CRLF),
        (b"echo hello\r\n", False, CRLF),
        (b"\xef\xbb\xbf#!/bin/sh\necho hello\n", True, BOM),
        (b"\xef\xbb\xbfecho hello\r\n", False, BOM),
        ("#!/bin/sh\n".encode("utf-16"), True, BOM),
        (b"\xfe\xff" + "#!/bin/sh\n".encode("utf-16-be"), False, BOM),
    ],
)
async def test_build_sh_in_windows_format_fails_with_a_reason(
    each_agent: Agent, script: bytes, executable: bool, message: str
) -> None:
    source = source_archive({"build.sh": script}, executable=("build.sh",) if executable else ())
    async with AgentApi(environment(), source) as api:
        each_agent.url = api.url
        run = await each_agent.run(SCRIPT)
    assert run.status == 1
    report = api.reports["failure"]
    assert (report["reason"], report["message"]) == ("build_script_encoding", message)
    assert f"-----> {message}\n" in api.log


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("build.sh", "OUT"),
        ("build.sh", "d/../l2"),
        ("build.sh", "d/e/out"),
        ("build.sh", "loop"),
        ("Makefile", "../../out"),
    ],
)
async def test_build_script_that_is_a_link_out_of_the_source_is_not_read(
    each_agent: Agent, name: str, target: str
) -> None:
    out = each_agent.home / "out"
    out.write_text("#!/bin/sh\r\necho secret\n")
    out.chmod(0o755)
    links = {name: target.replace("OUT", str(out)), "l2": "l3", "l3": f"{each_agent.home}/./out"}
    links |= {"d/e": str(each_agent.home), "loop": "loop"}
    each_agent.give("make")
    async with AgentApi(environment(), source_archive({"d/f": ""}, links=links)) as api:
        each_agent.url = api.url
        run = await each_agent.run(SCRIPT)
    assert run.status == 1
    report = api.reports["failure"]
    assert report["reason"] == "no_build_script"
    if target != "loop":
        message = f"The source's {name} is a link that leads out of the source; replace it by its target."
        assert report["message"] == message
    assert "secret" not in api.log


@pytest.mark.parametrize("target", ["./d/../d/l", "/WORKSPACE/source/d/run"])
async def test_build_script_that_is_a_link_within_the_source_runs(each_agent: Agent, target: str) -> None:
    links = {"build.sh": target.replace("/WORKSPACE", str(each_agent.workspace)), "d/l": "../e/run", "e": "d"}
    source = source_archive({"d/run": HELLO}, executable=("d/run",), links=links)
    async with AgentApi(environment(NAME="x"), source) as api:
        each_agent.url = api.url
        run = await each_agent.run(SCRIPT)
    assert run.status == 0, run.console + api.log
    assert "hello from x" in api.log


@pytest.mark.parametrize(
    ("files", "reason", "message", "status"),
    [
        ({"README": ""}, "no_build_script", "The source has neither build.sh nor a Makefile at its top; add one.", 1),
        ({"Makefile": "all:"}, "no_make", "The source has a Makefile, but the agent has no make; install it there.", 1),
        ({"build.sh": "#!/bin/sh\nexit 42\n"}, "build_failed", "build.sh ended with exit status 42.", 42),
        ({"build.sh": "#!/no/such/program\n"}, "build_failed", "build.sh ended with exit status 127.", 127),
    ],
)
async def test_build_that_cannot_start_reports_the_reason(
    each_agent: Agent, files, reason: str, message: str, status: int
) -> None:
    async with AgentApi(environment(), source_archive(files)) as api:
        each_agent.url = api.url
        run = await each_agent.run(SCRIPT)
    assert (run.status, api.ends) == (status, {"main": status})
    assert api.stages[-1] == "build end failed"
    assert api.reports["failure"] == {"id": "failure", "state": "failed", "reason": reason, "message": message}
    assert f"-----> {message}\n" in api.log
    # The message may quote the build's output, which the console does not show.
    assert f"-----> Failed: {reason}\n" in run.console
    assert message not in run.console
    assert everything_under(each_agent.workspace) == []


async def test_stop_that_ends_a_program_first_is_not_reported_as_its_failure(agent: Agent) -> None:
    """Jenkins sends TERM to the programs of a step before it sends it to the step's shell."""
    agent.program("tar", "#!/bin/sh\n(sleep 0.02; kill -TERM $PPID) &\nkill -TERM $$\n")
    async with AgentApi(environment(), source_archive({"build.sh": HELLO})) as api:
        agent.url = api.url
        await agent.run(SCRIPT)
    assert api.ends == {"main": 143}
    assert {name: report["reason"] for name, report in api.reports.items()} == {"end": "aborted_in_jenkins"}


@pytest.mark.slow
async def test_every_call_is_retried_while_the_shuttle_fails(each_agent: Agent) -> None:
    build = "#!/bin/sh\nmkdir dist; echo artifact >dist/file\n"
    async with AgentApi(environment(), source_archive({"build.sh": build})) as api:
        each_agent.url = api.url
        api.faults["claim"].append(503)
        api.faults["environment"].append(429)
        api.faults["source.tar.gz"].append(Cut)
        api.faults["file"].append(500)
        api.faults["begin"].extend([CutHeaders, 503])
        api.faults["progress"].append(500)
        api.faults["log"].extend([500, CutHeaders])
        run = await each_agent.run(SCRIPT)
    assert run.status == 0, run.console + api.log
    assert api.claims == [1]
    assert api.log == "-----> Running build.sh\n-----> Uploading file\n"
    assert api.artifacts == {"file": b"artifact\n"}


@pytest.mark.slow
async def test_report_of_the_reason_is_retried_while_the_shuttle_fails(agent: Agent) -> None:
    async with AgentApi(environment(), source_archive({"build.sh": "#!/bin/sh\nexit 42\n"})) as api:
        agent.url = api.url
        api.faults["report"].extend([502, Cut, CutHeaders])
        run = await agent.run(SCRIPT)
    assert (run.status, api.ends) == (42, {"main": 42})
    assert api.reports["failure"]["reason"] == "build_failed"


@pytest.mark.parametrize("call", ["environment", "source.tar.gz"])
async def test_response_cut_within_its_headers_is_not_read_as_an_empty_one(agent: Agent, call: str) -> None:
    async with AgentApi(environment(), source_archive({"build.sh": "#!/bin/sh\necho built\n"})) as api:
        agent.url = api.url
        api.faults[call].append(CutHeaders)
        run = await agent.run(SCRIPT)
    assert run.status == 0, run.console + api.log
    assert "built" in api.log


async def test_calls_are_retried_until_the_shuttle_is_back(agent: Agent) -> None:
    attempts = agent.home / "attempts"
    agent.program("curl", f'#!/bin/sh\necho >>"{attempts}"\nexec /usr/bin/curl "$@"\n')
    api = AgentApi(environment(NAME="you"), source_archive({"build.sh": HELLO}))
    await api.start()
    await api.stop()
    agent.url = api.url
    running = asyncio.create_task(agent.run(SCRIPT))
    while not attempts.exists() or len(attempts.read_bytes()) < 2:
        assert not running.done()
        await asyncio.sleep(0.01)
    await api.start()
    run = await running
    await api.stop()
    assert run.status == 0, run.console + api.log
    assert "hello from you" in api.log


async def test_giving_up_names_the_error_without_secrets(agent: Agent) -> None:
    agent.limits = {"retry_seconds": 0}
    run = await agent.run(SCRIPT)
    assert run.status == 1
    assert "The call to the shuttle failed (HTTP status 000, curl status 7)." in run.console
    assert not any(token in run.console for token in TOKENS)


async def test_agent_without_curl_fails_at_once_with_a_message(agent: Agent) -> None:
    (agent.programs / "curl").unlink()
    run = await agent.run(SCRIPT)
    assert run.status == 1
    assert run.console == "-----> The agent has no curl; install it there. Nothing was done.\n"


async def test_stop_at_the_start_of_the_shell_is_not_reported_as_a_missing_program(each_agent: Agent) -> None:
    """Jenkins signals the deepest process first; in this test it is the process that searches for a program."""
    script = only_step(SCRIPT).script
    look = 'path=`command -v "$program"`'
    assert look in script
    killed = script.replace(
        look, 'path=$([ "$program" != sed ] || sh -c \'kill "$PPID"; sleep 1\'; command -v "$program")'
    )
    step = await each_agent.start_script(killed)
    run = await step.ended()
    assert "The agent has no" not in run.console
    assert run.status != 0


async def test_call_answered_with_4xx_is_not_retried(agent: Agent) -> None:
    async with AgentApi(environment(), source_archive({"build.sh": HELLO})) as api:
        agent.url = api.url
        api.faults["source.tar.gz"].append(410)
        await agent.run(SCRIPT)
    assert api.stages == ["fetch begin", "fetch end failed"]
    assert api.reports["failure"]["reason"] == "source_refused"
    assert sum(path.endswith("source.tar.gz") for _, path, _ in api.calls) == 1


@pytest.mark.slow
async def test_leftovers_of_a_build_whose_agent_died_are_removed(each_agent: Agent) -> None:
    locked = each_agent.workspace / "source" / "locked"
    locked.mkdir(parents=True)
    (locked / "file").write_text("old")
    locked.chmod(0)
    left = each_agent.home / "workspace@shuttle-main-0123"
    left.mkdir()
    (left / "marker").write_text("0123abcd\n")
    running = await asyncio.create_subprocess_exec("sleep", "60", env={**os.environ, "SHUTTLE_RUN": "0123abcd"})
    build = "#!/bin/sh\n[ ! -e locked ]\n"
    async with AgentApi(environment(), source_archive({"build.sh": build})) as api:
        each_agent.url = api.url
        run = await each_agent.run(SCRIPT)
    assert run.status == 0, run.console + api.log
    assert list(each_agent.home.glob("workspace*")) == [each_agent.workspace]
    assert await running.wait() == -signal.SIGTERM


@pytest.mark.slow
async def test_settings_of_curl_that_an_earlier_build_left_at_home_are_not_read(agent: Agent) -> None:
    (agent.home / ".config").mkdir()
    for name in (".curlrc", ".config/curlrc"):
        (agent.home / name).write_text('proxy = "http://127.0.0.1:1"\nnetrc\n')
    (agent.home / ".netrc").write_text("default login earlier password build\n")
    async with AgentApi(environment(NAME="x"), source_archive({"build.sh": HELLO})) as api:
        agent.url = api.url
        agent.limits = {"retry_seconds": 0}
        agent.environment = {"CURL_HOME": str(agent.home), "NETRC": str(agent.home / ".netrc")}
        run = await agent.run(SCRIPT)
    assert run.status == 0, run.console + api.log


@pytest.mark.parametrize("shell", WANTED_SHELLS)
def test_shell_that_these_tests_want_is_installed(shell: str) -> None:
    assert os.access("/bin/sh", os.X_OK)
    if shell not in SHELLS:
        unchecked(f"{shell} is not installed, so it is not tested; tests/real/install installs busybox.")
