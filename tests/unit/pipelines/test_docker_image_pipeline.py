"""The decisions of the docker-image pipeline, with fake builders that record their arguments.

tests/real has tests with real builders.
"""

import asyncio
import json

import pytest
from pydantic import ValidationError

from jenkins_pipelines.catalogue import PIPELINES
from jenkins_pipelines.environment import AgentEnvironment
from jenkins_pipelines.shell_scripts import with_programs
from tests.support.agent_api import BUILD_UUID, TOKENS, AgentApi, source_archive
from tests.support.image_builder import DIGEST, Notes, builder_program
from tests.unit.pipelines.agent import Agent, everything_under, is_running, long_time
from tests.unit.pipelines.hostile_names import HOSTILE_NAMES

IMAGE = PIPELINES["docker-image"].build(PIPELINES["docker-image"].Options())
SOURCE = {"Dockerfile": "FROM scratch\nARG MINE\nCOPY . /\n"}
LOCAL = f"localhost/build-shuttle:{BUILD_UUID}"


def with_builder(agent: Agent, name: str = "buildah") -> Notes:
    agent.program(name, builder_program(name, f"{agent.home}/notes"))
    return Notes(agent.home / "notes")


def environment(**changes) -> AgentEnvironment:
    defaults = {
        "app_id": "app",
        "build_id": "1",
        "build_uuid": BUILD_UUID,
        "destinations": ["registry.example/org/app:1.0"],
    }
    return AgentEnvironment.model_validate(defaults | changes)


async def run(agent: Agent, wanted: AgentEnvironment, files=None, links=None):
    async with AgentApi(wanted, source_archive(SOURCE if files is None else files, links=links)) as api:
        agent.url = api.url
        return await agent.run(IMAGE), api


@pytest.mark.parametrize("builder", ["docker", "buildah", "podman"])
async def test_image_is_built_pushed_to_every_destination_and_reported(each_agent: Agent, builder: str) -> None:
    notes = with_builder(each_agent, builder)
    destinations = ["registry.example/org/app:1.0", "registry.example/org/app:latest", "127.0.0.1:5000/app:1"]
    ended, api = await run(each_agent, environment(destinations=destinations))
    assert ended.status == 0, ended.console + api.log
    assert api.reports["image"] == {
        "id": "image",
        "state": "succeeded",
        "image": "registry.example/org/app:1.0",
        "digest": DIGEST,
    }
    pushes = [call for call in notes.calls if call[1] == "push"]
    assert [call[-1].removeprefix("docker://") for call in pushes] == destinations
    removed = [call[-1] for call in notes.calls if call[1] == "rmi"]
    assert removed == ([LOCAL, *destinations] if builder == "docker" else [LOCAL])
    insecure = [call for call in pushes if "--tls-verify=false" in call]
    assert [call[-1] for call in insecure] == ([] if builder == "docker" else ["docker://127.0.0.1:5000/app:1"])
    assert everything_under(each_agent.workspace) == []


async def test_arguments_are_passed_by_environment_and_declared_after_every_from(each_agent: Agent) -> None:
    notes = with_builder(each_agent)
    arguments = {"MINE": "va lue\n", "folder": "$(id)", "DOCKER_HOST": "tcp://evil", "PATH": "/evil", "UID": "7"}
    ended, api = await run(each_agent, environment(arguments=arguments))
    assert ended.status == 0, ended.console + api.log
    build = notes.call("build")
    passed = [build[position + 1] for position, word in enumerate(build) if word == "--build-arg"]
    assert passed == ["MINE", "folder", "DOCKER_HOST=tcp://evil", "PATH=/evil", "UID=7"]
    seen = notes.environment
    assert (seen["MINE"], seen["folder"]) == ("va lue\n", "$(id)")
    assert seen["PATH"] == str(each_agent.programs)
    assert "DOCKER_HOST" not in seen
    assert not {"SHUTTLE_TOKEN", "JENKINS_SERVER_COOKIE"} & set(seen)
    inserted = "".join(f"ARG {name}\n" for name in arguments)
    assert notes.text("dockerfile") == f"FROM scratch\n{inserted}ARG MINE\nCOPY . /\n"


async def test_hostile_arguments_reach_the_build_unchanged_without_side_effects(each_agent: Agent) -> None:
    notes = with_builder(each_agent)
    arguments = {name: f"/hostile '{name}'\n$(id)" for name in HOSTILE_NAMES}
    ended, api = await run(each_agent, environment(arguments=arguments))
    assert ended.status == 0, ended.console + api.log
    build = notes.call("build")
    passed = [build[position + 1] for position, word in enumerate(build) if word == "--build-arg"]
    by_name = [name for name in passed if "=" not in name]
    assert {*by_name, *(pair.split("=", 1)[0] for pair in passed)} == set(HOSTILE_NAMES)
    seen = notes.environment
    given = {name: seen[name] for name in by_name} | dict(pair.split("=", 1) for pair in passed if "=" in pair)
    assert given == arguments
    steering = set(arguments) - set(by_name)
    assert steering & set(seen) <= {"PATH", "HOME", "PWD", "OLDPWD", "_", "SHLVL"}
    assert (seen["PATH"], seen["HOME"]) == (str(each_agent.programs), str(each_agent.home))
    assert api.reports["image"]["digest"] == DIGEST


async def test_secret_arguments_are_not_in_the_image_history_if_the_builder_supports_it(agent: Agent) -> None:
    notes = with_builder(agent)
    secret = environment(arguments={"TOKEN": "s3cr3t"}, secret_arguments=["TOKEN"])
    ended, api = await run(agent, secret)
    assert "--omit-history" in notes.call("build")
    assert "s3cr3t" not in str(notes.calls)
    assert "s3cr3t" not in ended.console + api.log


async def test_docker_warns_that_secret_arguments_are_in_the_image_history(agent: Agent) -> None:
    with_builder(agent, "docker")
    _ended, api = await run(agent, environment(arguments={"TOKEN": "s3cr3t"}, secret_arguments=["TOKEN"]))
    assert "docker keeps the values of build arguments, secret ones too, in the history of the image." in api.log


async def test_labels_and_no_cache_reach_the_builder_unchanged(each_agent: Agent) -> None:
    notes = with_builder(each_agent)
    await run(each_agent, environment(labels={"a b": "c=d\n'\"$x"}, no_cache=True))
    build = notes.call("build")
    assert "--no-cache" in build
    assert build[build.index("--label") + 1] == "a b=c=d\n'\"$x"


async def test_dockerfile_option_names_another_file(agent: Agent) -> None:
    notes = with_builder(agent)
    ended, api = await run(agent, environment(options={"dockerfile": "a b/-f"}), {"a b/-f": "FROM b\n"})
    assert ended.status == 0, ended.console + api.log
    assert notes.text("dockerfile") == "FROM b\n"


async def test_each_destination_has_its_own_credentials_file(agent: Agent) -> None:
    notes = with_builder(agent)
    one, two = "registry.example/one:1", "registry.example/two:1"
    registries = {one: ("user-one", "pass-one"), two: ("user-two", "pass-two"), "base.example": ("b", "p")}
    dockerfile = "FROM base.example/image:1 AS base\nFROM base\nFROM else.example/image\n"
    ended, api = await run(
        agent, environment(destinations=[one, two], registries=registries), {"Dockerfile": dockerfile}
    )
    assert ended.status == 0, ended.console + api.log
    pushed = [json.loads(text + "}}}")["auths"] for text in notes.text("auth.push").split("}}}")[:-1]]
    assert pushed == [
        {"registry.example": {"auth": "dXNlci1vbmU6cGFzcy1vbmU="}},
        {"registry.example": {"auth": "dXNlci10d286cGFzcy10d28="}},
    ]
    assert [call[2:] for call in notes.calls if call[1] == "pull"] == [["base.example/image:1"]]
    assert set(json.loads(notes.text("auth.pull"))["auths"]) == {"registry.example", "base.example"}
    assert notes.text("auth") == "", "the builder and its RUNs have no credentials"
    assert "pass-" not in str(notes.calls)


@pytest.mark.parametrize(("builder", "isolates"), [("docker", True), ("buildah", False), ("podman", False)])
async def test_only_docker_has_credentials_while_user_code_runs(agent: Agent, builder: str, isolates: bool) -> None:
    notes = with_builder(agent, builder)
    registries = {"base.example": ("b", "p")}
    ended, api = await run(agent, environment(registries=registries), {"Dockerfile": "FROM base.example/image:1\n"})
    assert ended.status == 0, ended.console + api.log
    assert set(json.loads(notes.text("auth.pull"))["auths"]) == {"base.example"}
    assert bool(notes.text("auth")) is isolates


async def test_only_base_images_of_insecure_registries_are_pulled_without_tls(agent: Agent) -> None:
    notes = with_builder(agent)
    dockerfile = "FROM 127.0.0.1:5000/base:1\nFROM lab.example:5000/x\nFROM docker.io/library/y\n"
    ended, api = await run(agent, environment(insecure_registries=["lab.example:5000"]), {"Dockerfile": dockerfile})
    assert ended.status == 0, ended.console + api.log
    pulled = [call[2:] for call in notes.calls if call[1] == "pull"]
    assert pulled == [
        ["--tls-verify=false", "127.0.0.1:5000/base:1"],
        ["--tls-verify=false", "lab.example:5000/x"],
    ]
    assert "--tls-verify=false" not in notes.call("build")


async def test_images_in_arguments_and_in_copy_from_are_pulled_without_tls_too(each_agent: Agent) -> None:
    notes = with_builder(each_agent)
    dockerfile = (
        "ARG REGISTRY=docker.io/library\nARG TOOLS=127.0.0.1:5000\nFROM ${REGISTRY}/base:1 AS base\n"
        "FROM base\nCOPY --from=${TOOLS}/tools:2 /x /x\nrun --mount=type=bind,from=lab.example:5000/data true\n"
    )
    arguments = {"REGISTRY": "lab.example:5000", "PATH": "x"}
    wanted = environment(insecure_registries=["lab.example:5000"], arguments=arguments)
    ended, api = await run(each_agent, wanted, {"Dockerfile": dockerfile})
    assert ended.status == 0, ended.console + api.log
    assert [call[3:] for call in notes.calls if call[1] == "pull"] == [
        ["lab.example:5000/base:1"],
        ["127.0.0.1:5000/tools:2"],
        ["lab.example:5000/data"],
    ]
    assert notes.environment["REGISTRY"] == "lab.example:5000", "the pulls leave the arguments to the build"


async def test_build_stage_is_not_pulled_as_an_image(agent: Agent) -> None:
    notes = with_builder(agent)
    dockerfile = "FROM docker.io/library/a AS build\nFROM build\nFROM scratch\nCOPY --from=build /x /x\n"
    ended, api = await run(agent, environment(registries={"docker.io": ("u", "p")}), {"Dockerfile": dockerfile})
    assert ended.status == 0, ended.console + api.log
    assert [call[2:] for call in notes.calls if call[1] == "pull"] == [["docker.io/library/a"]]


@pytest.mark.parametrize(
    ("options", "built", "context"),
    [
        ({"context": "services/api"}, "FROM api\n", "services/api"),
        ({"context": "services/api/"}, "FROM api\n", "services/api"),
        ({"context": "./services"}, "FROM top\n", "./services"),
        ({"context": "services", "dockerfile": "docker/f"}, "FROM elsewhere\n", "services"),
        ({"context": "services/api", "dockerfile": "Dockerfile"}, "FROM top\n", "services/api"),
        ({"context": "."}, "FROM top\n", ""),
        ({"context": "./"}, "FROM top\n", ""),
        ({"context": "to the api"}, "FROM api\n", "to the api"),
        ({"dockerfile": "./services/api/Dockerfile"}, "FROM api\n", ""),
    ],
)
async def test_context_option_is_a_folder_of_the_source(
    agent: Agent, options: dict[str, str], built: str, context: str
) -> None:
    notes = with_builder(agent)
    files = {"Dockerfile": "FROM top\n", "services/api/Dockerfile": "FROM api\n", "docker/f": "FROM elsewhere\n"}
    chosen = PIPELINES["docker-image"].Options.model_validate(options).model_dump(mode="json")
    ended, api = await run(agent, environment(options=chosen), files, links={"to the api": "services/../services/api"})
    assert ended.status == 0, ended.console + api.log
    assert notes.text("dockerfile") == built
    assert notes.call("build")[-1] == str(agent.workspace / "source") + (f"/{context}" if context else "")


@pytest.mark.parametrize("path", ["/etc", "..", "a/../b", "", "a\nb", "x" * 501])
@pytest.mark.parametrize("option", ["context", "dockerfile"])
def test_option_with_a_path_outside_of_the_source_is_refused(option: str, path: str) -> None:
    with pytest.raises(ValidationError):
        PIPELINES["docker-image"].Options.model_validate({option: path})


async def test_missing_context_fails_with_a_reason(agent: Agent) -> None:
    with_builder(agent)
    _ended, api = await run(agent, environment(options={"context": "services/web"}))
    assert api.reports["failure"]["reason"] == "no_context"
    assert api.reports["failure"]["message"] == (
        "The source has no folder services/web; name another one as the context."
    )


@pytest.mark.parametrize(
    ("link", "reason", "what"),
    [
        ("Dockerfile", "no_dockerfile", "file Dockerfile"),
        ("Dockerfile.dockerignore", "no_dockerfile", "file Dockerfile.dockerignore"),
        ("Dockerfile.containerignore", "no_dockerfile", "file Dockerfile.containerignore"),
        (".dockerignore", "no_dockerfile", "file .dockerignore"),
        ("folder", "no_context", "folder folder"),
    ],
)
async def test_link_out_of_the_source_is_not_given_to_the_builder(
    each_agent: Agent, link: str, reason: str, what: str
) -> None:
    notes = with_builder(each_agent)
    out = each_agent.home / "out"
    out.mkdir()
    (out / "Dockerfile").write_text("FROM secret\n")
    files = {} if link == "Dockerfile" else {"Dockerfile": "FROM a\n"}
    target = out if link == "folder" else out / "Dockerfile"
    options = {"context": "folder"} if link == "folder" else {}
    ended, api = await run(each_agent, environment(options=options), {"x": "", **files}, links={link: str(target)})
    assert ended.status == 1
    report = api.reports["failure"]
    message = f"The source's {what} is a link that leads out of the source; replace it by its target."
    assert (report["reason"], report["message"]) == (reason, message)
    assert not notes.calls or "build" not in [call[1] for call in notes.calls]


MOUNTS = {
    "type=bind,source=out,target=/m": "out",
    "target=/m,src=/out/file,rw": "out/file",
    "source=../out/file,target=/m": "out/file",
    "source=./within/out,target=/m": "within/out",
    '"type=bind,source=a blank",target=/m': "a blank",
    "source=elsewhere/../out,target=/m": "out",
    "type=bind,from=,\\source=out,target=/m": "out",
}
# Each begins where RUN does.
MOUNT_INSTRUCTIONS = {
    "option in quotes": 'RUN --m"ount=source=out,target=/m" cat /m\n',
    "ONBUILD": "ONBUILD run --mount=source=out,target=/m cat /m\n",
    "next line": "RUN\\\n  --mount=source=out,target=/m cat /m\n",
    "text of a heredoc": "RUN cat <<END\nRUN --mount=source=out,target=/m cat /m\nEND\n",
    "end of the file": "RUN --mount=source=out,target=/m cat /m \\\n",
    "after an escape and another blank": "RUN : \\\v\nRUN --mount=source=out,target=/m cat /m\n",
    "after a blank of Unicode": "\u00a0RUN --mount=source=out,target=/m cat /m\n",
    "after a blank line of Unicode": "RUN \\\n\u2003\n --mount=source=out,target=/m cat /m\n",
    "option after a blank of Unicode": "RUN \u3000--mount=source=out,target=/m cat /m\n",
    "option after a long blank": f"RUN {' ' * 5000} --mount=source=out,target=/m cat /m\n",
    "other blanks": "RUN\v--mount=type=cache,target=/c\f--mount=source=out,target=/m cat /m\n",
}
HIDDEN_MOUNTS = {
    "value of ARG": "ARG WHERE=out\nRUN --mount=source=$WHERE,target=/m cat /m\n",
    "name of the option": "ARG A=mount=source=out,target=/m\nRUN --${A} cat /m\n",
    "quotes that are read twice": "RUN --mount=\\'source=out\\',target=/m cat /m\n",
    "long name": f"RUN --mount=source=${'x' * 300_000},target=/m cat /m\n",
    "blanks after an option": f"RUN --mount=type=cache,target=/c {' ' * 5000} --mount=source=out,target=/m cat /m\n",
    "limit between two hyphens": f"RUN --x={'x' * 4090} --mount=source=out,target=/m cat /m\n",
    "delimiter of a heredoc": "RUN <<'E/'\nE/\\\nE/\nRUN --mount=source=out,target=/m cat /m\n",
    "space of Unicode": "RUN --mount=type=cache,id=x\u00a0--mount=type=bind,source=out,target=/m cat /m\n",
}


async def test_bind_mount_of_a_link_out_of_the_source_is_refused(each_agent: Agent) -> None:
    """buildah and podman would mount the target of the link, a file of the agent."""
    notes = with_builder(each_agent)
    dockerfile = "FROM scratch\nRUN --mount=source=out,target=/m cat /m\n"
    ended, api = await run(each_agent, environment(), {"Dockerfile": dockerfile}, links={"out": "/etc"})
    assert ended.status == 1
    assert [call[1] for call in notes.calls] == ["--version"]
    message = "The source's path ./out is a link that leads out of the source; replace it by its target."
    assert api.reports["failure"] == {"id": "failure", "state": "failed", "reason": "no_context", "message": message}


async def failure_of_the_check(
    agent: Agent, dockerfile: str, links: dict[str, str] | None = None, context: str = "."
) -> tuple[str, str]:
    """Reason and message with which the check before the build refuses this Dockerfile. A whole build would take ten
    times as long. By default the source has the link `out`, which leads out of it.
    """
    source = agent.workspace / "source"
    for name, target in (links or {"out": "/etc"}).items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).symlink_to(target)
    (source / context / "Dockerfile").write_text(dockerfile)
    (agent.workspace / "environment" / "options").mkdir(parents=True)
    (agent.workspace / "environment" / "options" / "context").write_text(context)
    parts = "".join(map(with_programs, ("links", "dockerfile", "mounts", "image_options", "build_image")))
    status, output = await agent.script(
        f"#!/bin/sh\nnewline='\n'\nfail() {{ printf '%s\\n' \"$1\" \"$2\"; exit 1; }}\n{parts}"
        "work=$PWD sources=$PWD/source builder=buildah builder_path=true\nchoose_files\ncopy_dockerfile\n"
    )
    reason, message, *more = output.decode().splitlines()
    assert (status, more) == (1, [])
    return reason, message


@pytest.mark.parametrize("mount", MOUNTS)
async def test_bind_mount_of_a_link_is_refused_however_its_source_is_named(each_agent: Agent, mount: str) -> None:
    out = each_agent.home / "out"
    out.mkdir()
    (out / "file").touch()
    dockerfile = f"FROM scratch\nRUN --mount=target=/context --mount={mount} cat /m\n"
    links = {
        "api/out": str(out),
        "api/a blank": str(out),
        "api/within/out": "../../../../out",
        "api/elsewhere": "folder/folder",
    }
    message = f"The source's path api/{MOUNTS[mount]} is a link that leads out of the source; replace it by its target."
    assert await failure_of_the_check(each_agent, dockerfile, links, "api") == ("no_context", message)


@pytest.mark.parametrize("form", MOUNT_INSTRUCTIONS)
async def test_bind_mount_of_a_link_out_of_the_source_is_refused_in_any_spelling(each_agent: Agent, form: str) -> None:
    await expect_refused_link(each_agent, f"FROM scratch\n{MOUNT_INSTRUCTIONS[form]}")


@pytest.mark.parametrize("first_line", ["# syntax=x", "# x y=z", "#"])
async def test_mount_is_refused_behind_a_directive_that_the_builder_ignores(each_agent: Agent, first_line: str) -> None:
    instruction = "RUN \\\n  --mount=source=out,target=/m cat /m\n"
    await expect_refused_link(each_agent, f"{first_line}\n# escape=`\nFROM scratch\n{instruction}")


async def expect_refused_link(agent: Agent, dockerfile: str) -> None:
    message = "The source's path ./out is a link that leads out of the source; replace it by its target."
    assert await failure_of_the_check(agent, dockerfile) == ("no_context", message)


def filled(line: str, first: str = "FROM a\n", last: str = "", size: int = 2**20) -> str:
    """A Dockerfile of this size, filled with the line."""
    room = size - len(first) - len(last)
    return first + line * (room // len(line)) + last


# Dockerfiles for which a parser could take quadratic time: a text that is repeated up to 1 MiB, what is before it, and
# what is after it.
REPEATED = {
    "quotes": ("'", "FROM a\nRUN : ", "\n"),
    "quotes before a heredoc": ('"\'"', "FROM a\nRUN : ", " <<E\nE\n"),
    "FROM lines": ("FROM a\n", "", ""),
    "ARG lines": ("ARG LONG_NAME=a ANOTHER_LONG_NAME=$LONG_NAME\n", "", "FROM a\n"),
    "continuation lines": ("\\\n", "FROM a\nRUN x", "x\n"),
    "heredoc of empty lines": ("\n", "FROM a\nRUN <<E\n", "E\n"),
    "heredocs": ("<<E ", "FROM a\nRUN ", "x\n"),
    "mounts of a file": ("RUN --mount=source=file,target=/x x\n", "FROM a\n", ""),
    "blanks": (" ", "FROM a", "\n"),
}


async def build_quickly(agent: Agent, dockerfile: str) -> None:
    agent.program("buildah", f'#!/bin/sh\n[ "$1" != push ] || echo {DIGEST} >"$3"\n')
    async with asyncio.timeout(30):
        ended, api = await run(agent, environment(), {"Dockerfile": dockerfile, "file": ""})
    assert ended.status == 0, ended.console + api.log


@pytest.mark.slow
@pytest.mark.parametrize("form", REPEATED)
async def test_dockerfile_of_1_mib_is_read_in_seconds(agent: Agent, form: str) -> None:
    await build_quickly(agent, filled(*REPEATED[form]))


@pytest.mark.slow
async def test_dockerfile_of_1_mib_is_read_in_seconds_in_each_shell(each_agent: Agent) -> None:
    size = 2**20 // len(REPEATED)
    await build_quickly(each_agent, "".join(filled(*form, size) for form in REPEATED.values()))


TOO_MANY_ARGUMENTS = (
    "An ARG for each build argument after each FROM makes the Dockerfile larger than 16 MiB; use fewer arguments or "
    "stages."
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dockerfile", "arguments", "message"),
    [
        ("#" * (2**20 + 1), 0, "The Dockerfile is larger than 1 MiB; move texts into files."),
        (
            "FROM a\n" * 2500,
            1000,
            TOO_MANY_ARGUMENTS,
        ),
        (
            "FROM a\n" + "".join(f"RUN --mount=source={n},target=/m x\n" for n in range(1001)),
            0,
            "The Dockerfile has mounts of more than 1,000 paths; mount their folders.",
        ),
    ],
)
async def test_dockerfile_beyond_a_limit_is_refused(
    each_agent: Agent, dockerfile: str, arguments: int, message: str
) -> None:
    notes = with_builder(each_agent)
    wanted = environment(arguments={f"A{n:03}": "x" for n in range(arguments)})
    _, api = await run(each_agent, wanted, {"Dockerfile": dockerfile})
    assert api.reports["failure"]["message"] == message
    assert "build" not in [call[1] for call in notes.calls]


async def test_dockerfile_with_1000_mounts_is_built(agent: Agent) -> None:
    await build_quickly(agent, "FROM a\n" + "".join(f"RUN --mount=source={n},target=/m x\n" for n in range(1000)))


async def test_agent_without_awk_fails_with_a_reason(agent: Agent) -> None:
    (agent.programs / "awk").unlink()
    with_builder(agent)
    _, api = await run(agent, environment())
    assert api.reports["failure"]["reason"] == "no_awk"
    assert api.reports["failure"]["message"] == "The agent has no awk, which reads the Dockerfile; install it there."


async def test_dockerfile_that_awk_could_not_read_to_its_end_is_not_built(agent: Agent) -> None:
    agent.program("awk", "#!/bin/sh\nkill -KILL $$\n")
    notes = with_builder(agent)
    _, api = await run(agent, environment())
    assert "could not read the Dockerfile" in api.reports["failure"]["message"]
    assert not [call for call in notes.calls if call[1] == "build"]


@pytest.mark.parametrize("form", HIDDEN_MOUNTS)
async def test_mount_whose_source_only_the_builder_knows_is_refused(each_agent: Agent, form: str) -> None:
    reason, message = await failure_of_the_check(each_agent, f"FROM scratch\n{HIDDEN_MOUNTS[form]}")
    assert reason == "no_context"
    assert "write the options of RUN without variables" in message
    assert message.isascii()
    assert len(message) < 500


async def test_cache_of_a_build_cannot_be_a_folder_of_the_agent(each_agent: Agent) -> None:
    cache = "RUN --mount=type=cache,id=../../../../etc,target=/m cat /m\n"
    message = "A mount of the Dockerfile has an id with '..'; use another one."
    assert await failure_of_the_check(each_agent, f"FROM scratch\n{cache}") == ("no_context", message)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "version", "built"),
    [
        ("buildah", "1.37.6", False),
        ("buildah", "1.38.0", True),
        ("buildah", "2.0", True),
        ("podman", "4.9.4", False),
        ("podman", "5.2.9", False),
        ("podman", "5.3.0-rc1", True),
        ("podman", "10.0.0", True),
        ("podman", "unknown", False),
    ],
)
async def test_mounts_are_checked_for_builders_that_follow_links_to_the_agent(
    each_agent: Agent, name: str, version: str, built: bool
) -> None:
    with_builder(each_agent, name)
    program = each_agent.programs / name
    program.rename(each_agent.home / "builder")
    program.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] || exec {each_agent.home}/builder "$@"\necho {name} version {version} x\n'
    )
    program.chmod(0o755)
    files = {"Dockerfile": "FROM scratch\nARG X\nrun --mount=type=cache,target=$X true\n"}
    ended, api = await run(each_agent, environment(), files)
    assert (ended.status == 0) is built, ended.console + api.log


async def test_bind_mounts_of_links_within_the_source_are_built(each_agent: Agent) -> None:
    with_builder(each_agent)
    mounts = ("source=link", "src=/folder/file", "from=b,source=/out", "type=cache,source=out", "source=missing")
    dockerfile = "FROM scratch\n" + "".join(f"run --mount={mount},target=/m x\n" for mount in mounts)
    files = {"Dockerfile": dockerfile, "folder/file": ""}
    ended, api = await run(each_agent, environment(), files, links={"link": "folder", "out": "/etc"})
    assert ended.status == 0, ended.console + api.log


async def test_docker_gets_bind_mounts_of_any_link(each_agent: Agent) -> None:
    """docker resolves links within the context, even absolute ones."""
    with_builder(each_agent, "docker")
    files = {"Dockerfile": "FROM scratch\nrun --mount=source=link,target=/m x\n", "file": ""}
    ended, api = await run(each_agent, environment(), files, links={"link": "/file"})
    assert ended.status == 0, ended.console + api.log


async def test_dockerfile_that_is_a_link_within_the_source_is_built(each_agent: Agent) -> None:
    notes = with_builder(each_agent)
    links = {"Dockerfile": "docker/prod", "docker/prod": "../docker/dev"}
    ended, api = await run(each_agent, environment(), {"docker/dev": "FROM a\n"}, links=links)
    assert ended.status == 0, ended.console + api.log
    assert notes.text("dockerfile") == "FROM a\n"


async def test_missing_dockerfile_fails_with_a_reason(agent: Agent) -> None:
    with_builder(agent)
    _ended, api = await run(agent, environment(), {"README": ""})
    assert api.stages[-1] == "build end failed"
    assert api.reports["failure"]["reason"] == "no_dockerfile"
    assert api.reports["failure"]["message"] == "The source has no file Dockerfile; add it, or name another one."


async def test_missing_builder_fails_with_a_reason(agent: Agent) -> None:
    _ended, api = await run(agent, environment())
    assert api.stages[-1] == "build end failed"
    assert api.reports["failure"]["reason"] == "no_builder"


async def test_docker_without_its_daemon_is_not_used(agent: Agent) -> None:
    agent.program("docker", '#!/bin/sh\n[ "$1" != version ]\n')
    notes = with_builder(agent, "podman")
    ended, api = await run(agent, environment())
    assert ended.status == 0, ended.console + api.log
    assert notes.call("build")[0] == "podman"


async def test_failed_image_build_is_reported(agent: Agent) -> None:
    agent.program("buildah", '#!/bin/sh\n[ "$1" != build ] || { echo no such base; exit 125; }\n')
    _ended, api = await run(agent, environment())
    assert api.stages[-1] == "build end failed"
    assert "no such base\n" in api.log
    assert api.ends == {"main": 125}
    assert api.reports["failure"]["reason"] == "build_failed"


async def test_refusal_of_the_registry_is_in_the_message(each_agent: Agent) -> None:
    with_builder(each_agent)
    (each_agent.home / "notes.refuse").touch()
    _ended, api = await run(each_agent, environment())
    assert api.stages[-1] == "push end failed"
    assert api.reports["failure"]["reason"] == "registry_refused"
    assert (
        api.reports["failure"]["message"]
        == 'The registry did not accept registry.example/org/app:1.0: denied: "you" may not'
    )
    assert "image" not in api.reports
    assert everything_under(each_agent.workspace) == []


SKOPEO = f"""#!/bin/sh
printf '%s\\0' skopeo "$@" >>'HOME_FOLDER/notes'; echo >>'HOME_FOLDER/notes'
case $1 in
  inspect) [ ! -e 'HOME_FOLDER/missing' ] || {{ echo 'reading manifest: manifest unknown' >&2; exit 1; }} ;;
  copy)
    while [ $# -gt 1 ]; do
      case $1 in --digestfile) printf '%s' {DIGEST} >"$2" ;; --*-authfile) cat "$2" >>'HOME_FOLDER/notes.auth' ;; esac
      shift
    done ;;
esac
"""


async def test_docker_source_is_copied_with_the_credentials_of_each_registry(each_agent: Agent) -> None:
    each_agent.program("skopeo", SKOPEO.replace("HOME_FOLDER", str(each_agent.home)))
    notes = Notes(each_agent.home / "notes")
    source, destination = "127.0.0.1:5000/a:1", "registry.example/b:2"
    registries = {source: ("from", "pass-from"), destination: ("to", "pass-to")}
    ended, api = await run(
        each_agent, environment(source_image=source, destinations=[destination], registries=registries)
    )
    assert ended.status == 0, ended.console + api.log
    assert not any("source.tar.gz" in path for _, path, _ in api.calls)
    copy = notes.call("copy")
    assert copy[-2:] == [f"docker://{source}", f"docker://{destination}"]
    assert "--src-tls-verify=false" in copy
    assert "--dest-tls-verify=false" not in copy
    assert notes.text("auth") == (
        '{"auths": {"127.0.0.1:5000": {"auth": "ZnJvbTpwYXNzLWZyb20="}}}'
        '{"auths": {"registry.example": {"auth": "dG86cGFzcy10bw=="}}}'
    )
    assert "pass-" not in str(notes.calls)
    assert (api.reports["image"]["image"], api.reports["image"]["digest"]) == (destination, DIGEST)


async def test_missing_docker_source_fails_with_a_reason(agent: Agent) -> None:
    agent.program("skopeo", SKOPEO.replace("HOME_FOLDER", str(agent.home)))
    (agent.home / "missing").touch()
    _ended, api = await run(agent, environment(source_image="registry.example/gone:1"))
    assert api.stages[-1] == "push end failed"
    assert api.reports["failure"]["reason"] == "image_not_found"
    assert "registry.example/gone:1" in api.reports["failure"]["message"]


@pytest.mark.slow
@pytest.mark.parametrize("builder", ["docker", "podman"])
async def test_image_is_pulled_tagged_and_pushed_without_skopeo(agent: Agent, builder: str) -> None:
    notes = with_builder(agent, builder)
    ended, api = await run(agent, environment(source_image="127.0.0.1:5000/a:1"))
    assert ended.status == 0, ended.console + api.log
    insecure = [] if builder == "docker" else ["--tls-verify=false"]
    assert notes.call("pull") == [builder, "pull", *insecure, "127.0.0.1:5000/a:1"]
    assert [builder, "tag", "127.0.0.1:5000/a:1", LOCAL] in notes.calls
    assert api.reports["image"]["digest"] == DIGEST
    assert not any(token in ended.console + api.log for token in TOKENS)


@pytest.mark.slow
async def test_builder_that_hangs_at_the_end_does_not_keep_the_step_from_its_end(each_agent: Agent) -> None:
    notes, forever = with_builder(each_agent, "docker"), long_time()
    program = (each_agent.programs / "docker").read_text()
    first_line, rest = program.split("\n", 1)
    each_agent.program("docker", f'{first_line}\n[ "$1" != rmi ] || exec sleep {forever}\n{rest}')
    each_agent.limits = {"removal_seconds": 1}
    async with asyncio.timeout(25):
        ended, api = await run(each_agent, environment(destinations=["one.example/a:1", "two.example/a:1"]))
    assert (ended.status, api.ends) == (0, {"main": 0}), ended.console
    assert len([call for call in notes.calls if call[1] == "push"]) == 2
    assert not is_running(forever)
