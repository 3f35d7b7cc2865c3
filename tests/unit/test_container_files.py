"""compose.yaml and the Dockerfile give the service no more than it needs; no test starts a container."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.fernet import Fernet

from shuttle.setting_files import names_with_files
from shuttle.settings import Settings, load_settings, setting_names
from shuttle.web.readiness import CHECK_TIMEOUT_SECONDS

_ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((_ROOT / "compose.yaml").read_text(encoding="utf-8"))
    return read


@pytest.fixture(scope="module", params=["shuttle", "replica"])
def service(compose: dict[str, Any], request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = compose["services"][request.param]
    return found


def test_compose_file_is_valid():
    command = ("-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(_ROOT / "compose.yaml"))
    checked = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_container_has_limits_and_no_privileges(service: dict[str, Any]):
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "user", "network_mode", "pid", "devices"} & set(service)
    for limit in ("mem_limit", "pids_limit", "cpus"):
        assert service[limit], limit


def test_ports_are_published_on_loopback_only(compose: dict[str, Any]):
    """Compose inserts `PORT` of the shell or of .env here; the container gets only the variables that are listed."""
    published = {name: service["ports"] for name, service in compose["services"].items() if service.get("ports")}
    port = compose["services"]["shuttle"]["environment"]["PORT"]
    assert published == {"shuttle": [f"127.0.0.1:{port}:{port}"], "balancer": [f"127.0.0.1:{port}:9000"]}


def test_one_process_is_the_default(compose: dict[str, Any]):
    """With the profile only the balancer is started by its name, so that the single process does not take its port."""
    in_profile = {name for name, service in compose["services"].items() if service.get("profiles") == ["replicas"]}
    assert set(compose["services"]) - in_profile == {"shuttle"}
    started = {"balancer"}
    found: set[str] = set()
    while started - found:
        found |= started
        started |= {needed for name in found for needed in compose["services"][name].get("depends_on", ())}
    assert found == in_profile


def test_balancer_knows_every_replica(compose: dict[str, Any]):
    replica, config = compose["services"]["replica"], (_ROOT / "deploy" / "haproxy.cfg").read_text(encoding="utf-8")
    assert compose["services"]["balancer"]["volumes"][0].startswith("./deploy/haproxy.cfg:")
    servers = re.findall(r"^ *server-template replica (\d+) replica:(\d+)$", config, re.MULTILINE)
    assert servers == [(str(replica["scale"]), str(replica["environment"]["PORT"]))] * 2


def test_balancer_waits_for_the_slowest_check():
    """Otherwise a Jenkins that hangs would make every replica unready."""
    config = (_ROOT / "deploy" / "haproxy.cfg").read_text(encoding="utf-8")
    assert int(re.search(r"timeout check (\d+)s", config)[1]) > CHECK_TIMEOUT_SECONDS


def test_folders_that_the_service_writes_to_are_writable(service: dict[str, Any]):
    assert [mount.partition(":")[0] for mount in service["tmpfs"]] == ["/tmp"]
    assert [mount.rpartition(":")[2] for mount in service["volumes"]] == ["/data"]
    assert service["environment"]["SHUTTLE_DATA_DIR"] == "/data"


def test_container_is_killed_only_after_a_clean_stop(service: dict[str, Any]):
    defaults = load_settings({})
    longest = defaults.shuttle_drain_seconds + defaults.shuttle_shutdown_seconds
    assert int(service["stop_grace_period"].removesuffix("s")) >= longest + 10


def test_secrets_come_from_files(compose: dict[str, Any], service: dict[str, Any]):
    environment = service["environment"]
    files = {name.removesuffix("_FILE"): path for name, path in environment.items() if name.endswith("_FILE")}
    assert sorted(files.values()) == sorted(f"/run/secrets/{name}" for name in service["secrets"])
    secret = names_with_files(Settings)
    assert {"JENKINS_URL", "SHUTTLE_TOKENS"} <= set(files) <= secret
    assert not set(environment) & secret
    assert set(environment) - {f"{name}_FILE" for name in files} <= setting_names()
    ignored = (_ROOT / ".gitignore").read_text(encoding="utf-8").split()
    assert {".env", "secrets/"} <= set(ignored)


def test_every_secret_is_declared(compose: dict[str, Any]):
    used = {name for service in compose["services"].values() for name in service.get("secrets", ())}
    assert used == set(compose["secrets"])
    assert all(entry == {"file": f"./secrets/{name}"} for name, entry in compose["secrets"].items())


def test_service_accepts_the_settings_of_a_replica(compose: dict[str, Any]):
    secrets = {
        "DATABASE_URL": "postgresql://shuttle:password@postgres:5432/shuttle",
        "SHUTTLE_ENCRYPTION_KEYS": Fernet.generate_key().decode(),
        "SHUTTLE_TOKENS": "controller:a-token-of-the-operator",
        "S3_ACCESS_KEY": "key",
        "S3_SECRET_KEY": "secret",
        "JENKINS_URL": "https://shuttle:token@jenkins.example.com/",
    }
    environment = compose["services"]["replica"]["environment"]
    given = {name: str(value) for name, value in environment.items() if not name.endswith("_FILE")}
    assert {name.removesuffix("_FILE") for name in set(environment) - set(given)} == set(secrets)
    assert load_settings(given | secrets).postgres_url


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
