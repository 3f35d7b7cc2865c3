"""Agents with unusual environments, folders and programs: the build is the same, or ends with a reason."""

import shutil
from collections.abc import Awaitable, Callable

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from tests.support.agent_api import TOKENS, source_archive
from tests.support.serving import serving
from tests.unit.pipelines.agent import Agent, everything_under
from tests.unit.pipelines.builds import RUNNING, SCRIPT, shuttle

# Variables that programs read, with values that once made the step fail or changed the source.
UNUSUAL = {
    "TAR_OPTIONS": "--exclude=*.txt -v",
    "GZIP": "-v -k",
    "LS_BLOCK_SIZE": "human-readable",
    "BLOCK_SIZE": "1M",
    "QUOTING_STYLE": "shell-always",
    "GREP_OPTIONS": "--color=always -v",
    "SHELLOPTS": "xtrace:errexit:nounset:noclobber",
    "IFS": "/0123456789e",
    "CDPATH": "/tmp:/",
}


async def test_variables_of_the_agent_change_nothing(each_agent: Agent) -> None:
    each_agent.environment = UNUSUAL
    async with shuttle("cat a.txt; mkdir dist; echo x >dist/file\n", None, **{"a.txt": b"it is here\n"}) as api:
        each_agent.url = api.url
        run = await each_agent.run(SCRIPT)
    assert (run.status, api.ends) == (0, {"main": 0}), run.console
    assert api.log == RUNNING + "it is here\n-----> Uploading file\n"
    assert api.artifacts == {"file": b"x\n"}
    assert not [token for token in TOKENS if token in run.console]
    assert everything_under(each_agent.workspace) == []


@pytest.mark.parametrize("folder", ["", ".", "..", "bin", "./bin", "{workspace}", "{workspace}/bin"])
async def test_programs_that_an_earlier_build_left_in_the_workspace_are_not_run(each_agent: Agent, folder: str) -> None:
    done = each_agent.home / "done"
    for place in (each_agent.workspace, each_agent.workspace / "bin", each_agent.home):
        place.mkdir(exist_ok=True)
        (place / "curl").write_text(f"#!/bin/sh\ncat >{done}\n")
        (place / "curl").chmod(0o755)
    first = folder.format(workspace=each_agent.workspace)
    path = f"{first}:{each_agent.programs}:{first}"
    each_agent.environment, each_agent.limits = {"PATH": path}, {"retry_seconds": 0}
    async with shuttle('echo "$PATH"\n') as api:
        each_agent.url = api.url
        run = await each_agent.run(SCRIPT)
    assert run.status == 0, run.console
    assert api.log == RUNNING + f"{each_agent.programs}\n"
    assert not done.exists()


@pytest.mark.slow
async def test_build_whose_process_cannot_be_started_fails(agent: Agent) -> None:
    """`setsid` exits with 0 in any case, so the supervisor waits for the runner's first line, which does not come.

    Only one shell is tested: busybox has a setsid of its own and would not use this one.
    """
    setsid = shutil.which("setsid")
    agent.program("setsid", f'#!/bin/sh\ncase $* in *SHUTTLE_APP_ID*) exit 0 ;; esac\nexec {setsid} "$@"\n')
    async with shuttle("echo deaf\n") as api:
        agent.url = api.url
        agent.limits = {"start_seconds": 1}
        run = await agent.run(SCRIPT)
    assert (run.status, api.ends) == (126, {"main": 126})
    assert api.log == RUNNING + (
        "-----> The build's process could not be started on the agent.\n-----> build.sh ended with exit status 126.\n"
    )
    assert everything_under(agent.workspace) == []


# What old versions of curl do with the options of a call (seen): 7.29.0 lacks one of them, 7.54.1 sends no token.
OLD_CURLS = {
    "7.29.0": "exit 2",
    "7.54.1": 'for word; do shift; [ "$word" != @- ] || word=\'X-None:\'; set -- "$@" "$word"; done',
}


@pytest.mark.parametrize("version", OLD_CURLS)
async def test_curl_that_is_too_old_is_named(each_agent: Agent, version: str) -> None:
    each_agent.program(
        "curl",
        f"#!/bin/sh\n[ \"$2\" != --version ] || {{ echo 'curl {version} (Linux) libcurl/{version}'; exit; }}\n"
        f'{OLD_CURLS[version]}\nexec {shutil.which("curl")} "$@"\n',
    )
    async with shuttle("") as api:
        each_agent.url = api.url
        run = await each_agent.run(SCRIPT)
    assert run.status == 1
    assert run.console.splitlines()[-1] == (
        f"-----> The agent has curl {version}; install curl 7.55 or newer there. Nothing was done."
    )


def any_request(handler: Callable[[web.Request], Awaitable[web.Response]]) -> web.Application:
    """A server, for example a proxy, that handles all requests alike."""
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_route("*", "/{path:.*}", handler)
    return app


# Variables of the agent by which curl chooses a proxy for `http:` URLs, and whether the calls use it.
PROXIES = {
    "http_proxy": ({"http_proxy": "{proxy}"}, True),
    "HTTP_PROXY, which curl ignores": ({"HTTP_PROXY": "{proxy}"}, False),
    "all_proxy": ({"all_proxy": "{proxy}"}, True),
    "ALL_PROXY": ({"ALL_PROXY": "{proxy}"}, True),
    "https_proxy": ({"https_proxy": "{proxy}"}, False),
    "no_proxy": ({"http_proxy": "{proxy}", "no_proxy": "localhost,127.0.0.1"}, False),
    "NO_PROXY": ({"ALL_PROXY": "{proxy}", "NO_PROXY": "*"}, False),
}


@pytest.mark.parametrize("variables", PROXIES)
async def test_calls_use_the_proxy_of_the_agents_environment(agent: Agent, variables: str) -> None:
    environment, is_used = PROXIES[variables]
    asked: list[str] = []

    async def forward(request: web.Request) -> web.Response:
        asked.append(request.raw_path)
        headers = {name: request.headers[name] for name in ("Authorization", "Content-Type") if name in request.headers}
        async with session.request(
            request.method, URL(request.raw_path, encoded=True), headers=headers, data=await request.read()
        ) as response:
            kept = {name: value for name, value in response.headers.items() if name.startswith("Shuttle-")}
            return web.Response(status=response.status, headers=kept, body=await response.read())

    async with (
        shuttle("env; seq 1 30000; mkdir dist; echo x >'dist/a b'\n") as api,
        aiohttp.ClientSession() as session,
        serving(any_request(forward)) as proxy,
    ):
        agent.give("seq")
        agent.url = api.url
        agent.environment = {name: value.format(proxy=proxy) for name, value in environment.items()}
        run = await agent.run(SCRIPT)
    assert (run.status, api.ends) == (0, {"main": 0}), run.console
    assert "_proxy=" not in api.log.lower(), "the build has an environment of its own"
    assert api.log.endswith("\n30000\n-----> Uploading a b\n")
    assert api.artifacts == {"a b": b"x\n"}
    assert len(asked) == (len(api.calls) if is_used else 0)


@pytest.mark.parametrize("answer", [407, 403, 502])
async def test_refusal_of_a_proxy_is_on_the_console(agent: Agent, answer: int) -> None:
    async def refuse(_: web.Request) -> web.Response:
        return web.Response(status=answer)

    async with serving(any_request(refuse)) as proxy:
        agent.environment = {"http_proxy": proxy.replace("://", "://user:s3cr3t@")}
        agent.limits = {"retry_seconds": 0}
        run = await agent.run(SCRIPT)
    assert run.status == 1
    assert f"-----> The build could not be claimed (HTTP status {answer}). Nothing was done." in run.console
    assert "s3cr3t" not in run.console


async def test_link_with_a_name_that_is_not_ascii_is_read(each_agent: Agent) -> None:
    """The `ls` of busybox shows `?` for such characters, so the target of a link cannot be read from it."""
    each_agent.give("readlink")
    async with shuttle("") as api:
        api.source = source_archive({"bäu/run.sh": "echo built\n"}, links={"build.sh": "bäu/run.sh"})
        each_agent.url = api.url
        run = await each_agent.run(SCRIPT)
    assert run.status == 0, run.console
    assert api.log == RUNNING + "built\n"
