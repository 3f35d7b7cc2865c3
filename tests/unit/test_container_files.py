"""compose.yaml and the Dockerfile give the service no more than it needs; no test starts a container."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from shuttle.setting_files import names_with_files
from shuttle.settings import Settings, setting_names

_ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((_ROOT / "compose.yaml").read_text(encoding="utf-8"))
    return read


@pytest.fixture(scope="module")
def service(compose: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = compose["services"]["shuttle"]
    return found


def test_container_has_limits_and_no_privileges(service: dict[str, Any]):
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "user", "network_mode", "pid", "devices"} & set(service)
    for limit in ("mem_limit", "pids_limit", "cpus"):
        assert service[limit], limit


def test_service_is_published_on_loopback_only(service: dict[str, Any]):
    assert service["ports"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_service_listens_on_the_published_port(service: dict[str, Any]):
    """Compose inserts `PORT` of the shell or of .env here; the container gets only the variables that are listed."""
    port = service["environment"]["PORT"]
    assert service["ports"] == [f"127.0.0.1:{port}:{port}"]


def test_folders_that_the_service_writes_to_are_writable(service: dict[str, Any]):
    assert [mount.partition(":")[0] for mount in service["tmpfs"]] == ["/tmp"]
    assert service["volumes"] == ["data:/data"]
    assert service["environment"]["SHUTTLE_DATA_DIR"] == "/data"


def test_secrets_come_from_files(compose: dict[str, Any], service: dict[str, Any]):
    environment = service["environment"]
    files = {name.removesuffix("_FILE"): path for name, path in environment.items() if name.endswith("_FILE")}
    assert set(files) == {"JENKINS_URL", "SHUTTLE_TOKENS"}
    assert sorted(files.values()) == sorted(f"/run/secrets/{name}" for name in service["secrets"])
    assert set(service["secrets"]) == set(compose["secrets"])
    secret = names_with_files(Settings)
    assert set(files) < secret
    assert not set(environment) & secret
    assert set(environment) - {f"{name}_FILE" for name in files} <= setting_names()
    ignored = (_ROOT / ".gitignore").read_text(encoding="utf-8").split()
    assert {".env", "secrets/"} <= set(ignored)


def test_new_volume_contains_only_files_of_the_service():
    """useradd would put files for shells into the home directory, and Docker would copy them into the volume."""
    dockerfile = (_ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert "--create-home" not in dockerfile.replace("--no-create-home", "")
    assert "install -d -o shuttle -g shuttle -m 700 /data" in dockerfile


def test_the_image_does_not_run_as_root():
    lines = (_ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    last_stage = lines[max(place for place, line in enumerate(lines) if line.startswith("FROM ")) :]
    users = [line.split()[1] for line in last_stage if line.startswith("USER ")]
    assert users == ["shuttle"]
    assert re.search(r"--uid 10001\b", "\n".join(last_stage))
    names = re.findall(r"\b((?:SHUTTLE_|JENKINS_|S3_)[A-Z_]+)=", "\n".join(last_stage))
    assert set(names) <= setting_names() - names_with_files(Settings) | {"SHUTTLE_ALLOW_ANONYMOUS"}
