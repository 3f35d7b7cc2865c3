"""The docker-image pipeline with a real builder (buildah), copier (skopeo) and registry with a password.

It needs no container engine and no privileges beyond root in a container: images are stored in a plain folder, and RUN
uses a chroot.
"""

import base64
import json
import os
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import aiohttp
import pytest

from jenkins_emulator.server import EmulatedJenkins
from jenkins_pipelines.catalogue import PIPELINES
from jenkins_pipelines.environment import AgentEnvironment
from tests.real.registry import PASSWORD, USER, Registry, busybox, running_registry
from tests.support.agent_api import BUILD_UUID, TOKEN, AgentApi, source_archive
from tests.unit.pipelines.agent import Agent, everything_under
from tests.unit.pipelines.jenkins_job import AUTHORIZATION as JENKINS_AUTHORIZATION
from tests.unit.pipelines.jenkins_job import Job, config_xml

IMAGE = PIPELINES["docker-image"].build(PIPELINES["docker-image"].Options())
SECRET = "s3cr3t-build-argument"
DOCKERFILE = """\
FROM scratch
COPY busybox /bin/busybox
COPY busybox /bin/sh
RUN /bin/busybox echo "$GREETING" > /greeting && [ "$SECRET" = s3cr3t-build-argument ]
CMD ["/bin/busybox", "cat", "/greeting"]
"""


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    async with running_registry(tmp_path) as running:
        yield running


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    home = tmp_path / "agent"
    agent = Agent(home, "dash")
    agent.give("buildah", "skopeo", "busybox", "cp")
    storage = f'[storage]\ndriver = "vfs"\ngraphroot = "{home}/images"\nrunroot = "{home}/run"\n'
    (home / "storage.conf").write_text(storage)
    agent.environment = {
        "PATH": f"{agent.programs}:/usr/sbin:/usr/bin:/sbin:/bin",
        "CONTAINERS_STORAGE_CONF": str(home / "storage.conf"),
        "BUILDAH_ISOLATION": "chroot",
    }
    yield agent
    shutil.rmtree(home / "images", ignore_errors=True)


def environment(registry: Registry, destination: str, **changes) -> AgentEnvironment:
    reference = f"{registry.host}/{destination}"
    asked = {
        "app_id": "app",
        "build_id": "1",
        "build_uuid": BUILD_UUID,
        "destinations": [reference],
        "registries": {reference: (USER, PASSWORD)},
    }
    return AgentEnvironment.model_validate(asked | changes)


async def run(agent: Agent, wanted: AgentEnvironment, files: Mapping[str, bytes | str] | None = None):
    given: Mapping[str, bytes | str] = files or {"Dockerfile": DOCKERFILE, "busybox": busybox()}
    async with AgentApi(wanted, source_archive(given, executable=("busybox",))) as api:
        agent.url = api.url
        return await agent.run(IMAGE), api


async def pulled_back(agent: Agent, registry: Registry, reference: str) -> dict[str, bytes]:
    """The files of an image, as another client pulls it."""
    script = f"""#!/bin/sh -e
mkdir "$HOME/pulled"
echo '{{}}' >"$HOME/auth.json"
export REGISTRY_AUTH_FILE="$HOME/auth.json"
skopeo login --tls-verify=false --username '{USER}' --password-stdin '{registry.host}' <<'END'
{PASSWORD}
END
made=$(buildah from --tls-verify=false 'docker://{reference}')
cp -a "$(buildah mount "$made")/." "$HOME/pulled"
buildah rm "$made"
"""
    status, output = await agent.script(script)
    assert status == 0, output
    pulled = agent.home / "pulled"
    found = {name: (pulled / name).read_bytes() for name in everything_under(pulled)}
    shutil.rmtree(pulled)
    return found


# What an earlier build can leave in the home of the agent's user: other logins, proxies and rewritten addresses.
_WRONG_LOGIN = {"auth": base64.b64encode(b"earlier:build").decode()}
LEFT_AT_HOME = {
    ".curlrc": 'proxy = "http://127.0.0.1:1"\n',
    ".config/curlrc": 'proxy = "http://127.0.0.1:1"\n',
    ".netrc": "default login earlier password build\n",
    ".gitconfig": '[url "http://127.0.0.1:1/"]\n\tinsteadOf = http://\n',
    ".docker/config.json": json.dumps({"auths": {"HOST": _WRONG_LOGIN}, "credsStore": "earlier"}),
    ".config/containers/auth.json": json.dumps({"auths": {"HOST": _WRONG_LOGIN}}),
}


async def test_logins_and_proxies_that_an_earlier_build_left_at_home_are_not_used(
    agent: Agent, registry: Registry
) -> None:
    for name, text in LEFT_AT_HOME.items():
        path = agent.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("HOST", registry.host))
    files = {"Dockerfile": "FROM scratch\nCOPY file /file\n", "file": "x"}
    built, api = await run(agent, environment(registry, "org/app:1.0"), files)
    assert built.status == 0, built.console + api.log
    based = {"Dockerfile": f"FROM {registry.host}/org/app:1.0\n"}
    built, api = await run(agent, environment(registry, "org/app:2.0"), based)
    assert built.status == 0, built.console + api.log
    source = f"{registry.host}/org/app:2.0"
    copy = environment(registry, "second/name:2", source_image=source, registries={registry.host: (USER, PASSWORD)})
    copied, api = await run(agent, copy)
    assert copied.status == 0, copied.console + api.log


async def test_an_image_is_built_pushed_with_a_password_pulled_back_and_copied_on(
    agent: Agent, registry: Registry
) -> None:
    greeting = "hello 'from' an argument"
    wanted = environment(
        registry,
        "org/app:1.0",
        arguments={"GREETING": greeting, "SECRET": SECRET, "PATH": "/hostile", "DOCKER_HOST": "tcp://127.0.0.1:1"},
        secret_arguments=["SECRET"],
        labels={"made by": "tests"},
    )
    built, api = await run(agent, wanted)
    assert built.status == 0, built.console + api.log
    digest, _ = await registry.manifest("org/app", "1.0")
    assert api.reports["image"]["image"] == f"{registry.host}/org/app:1.0"
    assert api.reports["image"]["digest"] == digest

    config = await registry.config("org/app", "1.0")
    assert config["config"]["Labels"]["made by"] == "tests"
    assert SECRET not in json.dumps(config)
    assert PASSWORD not in built.console + api.log
    files = await pulled_back(agent, registry, f"{registry.host}/org/app:1.0")
    assert files["greeting"] == f"{greeting}\n".encode()
    assert set(files) >= {"bin/busybox", "bin/sh", "greeting"}

    source = f"{registry.host}/org/app:1.0"
    copy = environment(registry, "second/name:2", source_image=source, registries={registry.host: (USER, PASSWORD)})
    copied, api = await run(agent, copy)
    assert copied.status == 0, copied.console + api.log
    assert (await registry.manifest("second/name", "2"))[0] == digest
    assert api.reports["image"] == {
        "id": "image",
        "state": "succeeded",
        "image": f"{registry.host}/second/name:2",
        "digest": digest,
    }

    based = {"Dockerfile": f"FROM {source}\nRUN /bin/busybox test -f /greeting\n"}
    again, api = await run(agent, environment(registry, "third:3", registries={registry.host: (USER, PASSWORD)}), based)
    assert again.status == 0, again.console + api.log
    assert everything_under(agent.workspace) == []


async def test_an_image_is_built_by_a_jenkins_that_runs_the_rendered_job(agent: Agent, registry: Registry) -> None:
    jenkins = EmulatedJenkins(
        agent.home / "jenkins", user="admin", token="api-token", environment=os.environ | agent.environment
    )
    await jenkins.start()
    wanted = environment(registry, "by/jenkins:1", arguments={"GREETING": "from Jenkins", "SECRET": SECRET})
    source = source_archive({"Dockerfile": DOCKERFILE, "busybox": busybox()}, executable=("busybox",))
    async with AgentApi(wanted, source) as api, aiohttp.ClientSession(headers=JENKINS_AUTHORIZATION) as session:
        job = Job(session, jenkins.url)
        await job.create(config_xml("docker-image"))
        result, console = await job.run(1, BUILD_UUID=BUILD_UUID, SHUTTLE_URL=api.url, SHUTTLE_TOKEN=TOKEN)
    await jenkins.close()
    assert result == "SUCCESS", console
    assert api.reports["image"]["digest"] == (await registry.manifest("by/jenkins", "1"))[0]
    assert TOKEN not in console
    assert PASSWORD not in console


async def test_nothing_of_a_build_stays_in_the_agents_storage(agent: Agent, registry: Registry) -> None:
    built, api = await run(agent, environment(registry, "app:1", arguments={"GREETING": "x", "SECRET": SECRET}))
    assert built.status == 0, built.console + api.log
    status, output = await agent.script("#!/bin/sh -e\nbuildah images --noheading\nbuildah containers --noheading\n")
    assert (status, output) == (0, b"")


@pytest.mark.parametrize("password", [None, "wrong"])
async def test_refusal_of_a_registry_is_quoted(agent: Agent, registry: Registry, password: str | None) -> None:
    given = {} if password is None else {registry.host: (USER, password)}
    wanted = environment(registry, "app:1", registries=given, arguments={"GREETING": "x", "SECRET": SECRET})
    ended, api = await run(agent, wanted)
    assert api.stages[-1] == "push end failed", ended.console + api.log
    assert api.reports["failure"]["reason"] == "registry_refused"
    assert "authentication required" in api.reports["failure"]["message"]


async def test_a_run_that_fails_fails_the_build(agent: Agent, registry: Registry) -> None:
    wanted = environment(registry, "app:1", arguments={"GREETING": "x", "SECRET": "another"})
    ended, api = await run(agent, wanted)
    assert api.stages[-1] == "build end failed", ended.console + api.log
    assert api.reports["failure"]["reason"] == "build_failed"


async def test_missing_source_image_fails_the_build(agent: Agent, registry: Registry) -> None:
    wanted = environment(
        registry,
        "app:1",
        source_image=f"{registry.host}/no/such:1",
        registries={registry.host: (USER, PASSWORD)},
    )
    ended, api = await run(agent, wanted)
    assert api.stages[-1] == "push end failed", ended.console + api.log
    assert api.reports["failure"]["reason"] == "image_not_found", api.log


async def test_without_skopeo_the_builder_pulls_and_pushes(agent: Agent, registry: Registry) -> None:
    first, api = await run(agent, environment(registry, "app:1", arguments={"GREETING": "x", "SECRET": SECRET}))
    assert first.status == 0, first.console + api.log
    (agent.programs / "skopeo").unlink()
    agent.environment["PATH"] = str(agent.programs)
    source = f"{registry.host}/app:1"
    copied, api = await run(
        agent, environment(registry, "b:2", source_image=source, registries={registry.host: (USER, PASSWORD)})
    )
    assert copied.status == 0, copied.console + api.log
    assert "Pulling" in api.log
    await registry.manifest("b", "2")


async def test_images_named_by_variables_and_copy_from_and_links_in_the_context(
    agent: Agent, registry: Registry
) -> None:
    """From a registry with a password and without TLS; the context is a folder, the Dockerfile lies elsewhere."""
    credentials = {registry.host: (USER, PASSWORD)}
    made, api = await run(agent, environment(registry, "base:1", arguments={"GREETING": "base", "SECRET": SECRET}))
    assert made.status == 0, made.console + api.log
    dockerfile = """\
ARG REGISTRY=registry.invalid
ARG TOOLS=HOST
FROM ${REGISTRY}/base:1 AS first
FROM ${REGISTRY:-x}/base:1
ARG TOOLS
COPY --from=HOST/base:1 /greeting /from-an-image
COPY --from=${TOOLS}/base:1 /greeting /from-a-variable
COPY --from=first /greeting /from-a-stage
COPY . /src
RUN for link in localtime x.service bin/python3; do /bin/busybox readlink /src/$link; done > /links
"""
    files = {"docker/api": dockerfile.replace("HOST", registry.host), "services/api/file": "1", "top": "2"}
    links = {"localtime": "/usr/share/zoneinfo/UTC", "x.service": "/dev/null", "bin/python3": "/usr/bin/python3"}
    source = source_archive(files, links={f"services/api/{name}": target for name, target in links.items()})
    options = {"context": "services/api", "dockerfile": "docker/api"}
    wanted = environment(
        registry, "app:1", registries=credentials, arguments={"REGISTRY": registry.host}, options=options
    )
    async with AgentApi(wanted, source) as api:
        agent.url = api.url
        built = await agent.run(IMAGE)
    assert built.status == 0, built.console + api.log
    found = await pulled_back(agent, registry, f"{registry.host}/app:1")
    assert found["links"].decode().split() == list(links.values())
    for name in ("from-an-image", "from-a-variable", "from-a-stage"):
        assert found[name] == b"base\n"
    assert found["src/file"] == b"1"
    assert "src/top" not in found
