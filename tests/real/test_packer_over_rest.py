"""A client of packerd with curl and jq, a repository served by git, and packer itself."""

import asyncio
import json
import os
import re
from pathlib import Path

import pytest

from tests.real.docker_daemon import DOCKER, digest_of, docker, docker_and_registry
from tests.recorded.page import DOCS
from tests.support.free_port import free_port
from tests.support.git_server import git_server
from tests.support.inprocess import running_jenkins, running_shuttle

# The layout of packerd's demo repository; its docker builder is one that needs no daemon, beside one of a file.
DEMO = {
    "packer.json": json.dumps(
        {
            "variables": {
                "docker_repo_server": None,
                "docker_repo_username": "",
                "docker_repo_password": "",
                "docker_repo_email": "",
                "version": "",
            },
            "builders": [
                {"type": "null", "name": "docker-ubuntu", "communicator": "none"},
                {"type": "file", "name": "notes", "content": "notes for {{user `version`}}", "target": "notes.txt"},
            ],
        }
    )
}

# The session of packerd's README: its calls and its reading of the answers, with a loop in place of `watch`, a
# repository of this test, and one more variable, which that template requires.
SESSION = r"""
packerd_ip=127.0.0.1
curl="curl -s -k -X GET  https://$packerd_ip"
$curl/health | jq .
response=`curl -s -k -X POST https://$packerd_ip:443/build \
-H "Content-Type: application/json" -H "Cache-Control: no-cache" \
-d  '{"giturl": "GITURL",
    "branch": "demo",
    "templatepath": "packer.json",
    "buildonly": "docker-ubuntu,notes",
    "buildvars": [{"key": "version",
        "value": "0.21"
        },{"key": "docker_repo_username",
        "value": "tompscanlan"
        }, { "key": "docker_repo_password",
            "value": "hunter-2-hunter"
        },{ "key": "docker_repo_email",
            "value": "somebody@example.com"
        }VARIABLE]}'`
req_url=$(echo $response  | jq -r ".[0].href")
$curl/build/queue | jq .
resp_url=$($curl$req_url | jq -r ".responselinks[1].href")
for second in `seq 60`; do
  sh -c "$curl$resp_url | jq '.status, (.buildstages | reverse)[0]'" | tee last
  case `head -n 1 last` in *failed* | *complete*) break ;; esac
  sleep 1
done
$curl$resp_url
"""
_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


async def shell(script: str, home: Path, **environment: str) -> str:
    """Run the script in bash; returns what it prints."""
    program = await asyncio.create_subprocess_exec(
        *("bash", "-c", f"set -eu\n{script}"),
        cwd=home,
        env={"PATH": os.environ["PATH"], "HOME": str(home), **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await program.communicate()
    assert program.returncode == 0, output.decode()
    return output.decode()


async def run_session(folder: Path, files: dict[str, str], variables: str) -> tuple[str, bytes]:
    """Run the session of a build of these files; returns its output and the file that the build has uploaded."""
    port, home = free_port(), folder / "home"
    home.mkdir()
    # The session calls port 443, which needs root.
    (home / ".curlrc").write_text(f'connect-to = "127.0.0.1:443:127.0.0.1:{port}"\n')
    (folder / "git").mkdir()
    settings = {"SHUTTLE_PACKERD_BIND": f"127.0.0.1:{port}", "SHUTTLE_PACKERD_TLS_CERT": "auto"}
    async with (
        git_server(folder / "git") as git,
        running_jenkins(folder) as jenkins,
        running_shuttle(folder, jenkins.url, **settings) as shuttle,
    ):
        git.repository("packerd-demo").commit(files, "demo")
        session = SESSION.replace("GITURL", f"{git.url}/packerd-demo.git").replace("VARIABLE", variables)
        output = await shell(session, home)
        hrefs = re.findall(rf'"href":"({re.escape(shuttle.url)}[^"]+)"', output)
        return output, (await shuttle.get(hrefs[0].removeprefix(shuttle.url))).body if hrefs else b""


def server_variable(server: str) -> str:
    return f', {{"key": "docker_repo_server", "value": "{server}"}}'


@pytest.mark.parametrize(
    ("variables", "status", "shown", "file"),
    [
        (server_variable("registry.example.com"), "complete", "DockerClean", b"notes for 0.21"),
        ("", "failed", "docker_repo_server", b""),
    ],
    ids=["all variables", "one is missing"],
)
async def test_session_of_packerd_runs_over_tls(tmp_path: Path, variables: str, status: str, shown: str, file: bytes):
    output, uploaded = await run_session(tmp_path, DEMO, variables)
    assert f'"{status}"' in output
    assert shown in output.rpartition('"status":')[0] + output.rpartition("\n")[2]
    assert "hunter-2-hunter" not in output
    assert uploaded == file


async def test_session_with_a_docker_builder_puts_the_image_into_the_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    notes = {"type": "file", "name": "notes", "content": "notes for {{user `version`}}", "target": "notes.txt"}
    # Without `only`, docker-tag would be asked to tag the file.
    chain = [one | {"only": ["docker-ubuntu"]} for one in DOCKER["post-processors"][0]]
    template = DOCKER | {"builders": [*DOCKER["builders"], notes], "post-processors": [chain]}
    async with docker_and_registry() as (host, registry):
        monkeypatch.setenv("DOCKER_HOST", host)
        output, uploaded = await run_session(tmp_path, {"packer.json": json.dumps(template)}, server_variable(registry))
        over = json.loads(output.rpartition("\n")[2])
        assert over["status"] == "complete", over["buildstages"][-1]
        assert over["buildstages"][-1]["name"] == "DockerClean"
        assert {"rel": "artifact", "href": f"{registry}/org/role:0.21"} in over["artifacts"]
        assert uploaded == b"notes for 0.21"
        assert (await digest_of(registry) or "").startswith("sha256:")
        _, images = await docker(host, "images", "--all", "--format", "{{.Repository}}:{{.Tag}}")
        assert images == "base:1\n"
        assert "hunter-2-hunter" not in output


async def test_commands_of_the_page_run(tmp_path: Path):
    blocks = _BLOCK.findall((DOCS / "packer.md").read_text("utf-8"))
    assert len(blocks) >= 4
    (tmp_path / "home").mkdir()
    (tmp_path / "git").mkdir()
    async with (
        git_server(tmp_path / "git") as git,
        running_jenkins(tmp_path) as jenkins,
        running_shuttle(tmp_path, jenkins.url) as shuttle,
    ):
        template = {"builders": [{"type": "file", "name": "docker-ubuntu", "content": "x", "target": "notes.txt"}]}
        git.repository("packerd-demo").commit({"packer.json": json.dumps(template)}, "demo")
        output = await shell(
            "\n".join(blocks),
            tmp_path / "home",
            PACKERD=f"{shuttle.url}/-/packerd",
            GITURL=f"{git.url}/packerd-demo.git",
            DOCKER_PASSWORD="hunter-2-hunter",
        )
    for each in ('"running"', "artifacts/notes.txt", ".git#demo", '{"status":"OK"}'):
        assert each in output
    assert "hunter-2-hunter" not in output
