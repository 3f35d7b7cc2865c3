"""The manifests in deploy/kubernetes: valid, with settings and paths that exist, and as restricted as the container."""

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from cryptography.fernet import Fernet

from shuttle.errors import SettingsError
from shuttle.setting_files import names_with_files
from shuttle.settings import Settings, load_settings, setting_names
from shuttle.web import Role
from shuttle.web.readiness import CHECK_TIMEOUT_SECONDS
from shuttle.web.routes import ROUTES

_ROOT = Path(__file__).parents[2]
_FOLDER = _ROOT / "deploy" / "kubernetes"
_MANIFESTS = sorted(path for path in _FOLDER.glob("*.yaml") if path.name != "kustomization.yaml")
# The oldest and the newest version with a schema of every field.
_VERSIONS = ("1.31", "1.37")


def _read(name: str) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((_FOLDER / name).read_text(encoding="utf-8"))
    return read


@pytest.fixture(scope="module")
def pod() -> dict[str, Any]:
    found: dict[str, Any] = _read("deployment.yaml")["spec"]["template"]["spec"]
    return found


@pytest.fixture(scope="module")
def container(pod: dict[str, Any]) -> dict[str, Any]:
    [found] = pod["containers"]
    return dict(found)


def _configured() -> dict[str, str]:
    """The settings in settings.env."""
    lines = (_FOLDER / "settings.env").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def _environment(container: dict[str, Any], filled: dict[str, str]) -> dict[str, str]:
    """The environment of a pod; secrets are set directly instead of by files."""
    environment = {**_configured(), "POD_IP": "10.1.2.3"}
    mount = next(mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "secrets")
    for entry in container["env"]:
        name, value = entry["name"], entry.get("value", "shuttle-7d9f-abcde")
        if name.endswith("_FILE"):
            environment[name.removesuffix("_FILE")] = filled[value.removeprefix(f"{mount}/")]
        elif name != "POD_IP":
            environment[name] = value.replace("$(POD_IP)", environment["POD_IP"])
    return environment


def _filled(secrets: dict[str, str]) -> dict[str, str]:
    """The Secret's values after an operator has replaced each `<…>`."""
    key = Fernet.generate_key().decode()
    filled = {name: value.replace("<host>", "db.example.com").replace("<key>", key) for name, value in secrets.items()}
    return {name: re.sub(r"<[^>]+>", "a-value-of-the-operator", value) for name, value in filled.items()}


@pytest.mark.parametrize("version", _VERSIONS)
@pytest.mark.parametrize("path", _MANIFESTS, ids=lambda path: path.stem)
def test_manifest_is_valid(path: Path, version: str):
    kubernetes_validate.validate(yaml.safe_load(path.read_text(encoding="utf-8")), version, strict=True)


def test_kustomization_names_every_manifest_but_the_example_of_the_secret():
    kustomization = _read("kustomization.yaml")
    assert set(kustomization["resources"]) == {path.name for path in _MANIFESTS} - {"secret.example.yaml"}
    generated = {source for generator in kustomization["configMapGenerator"] for source in generator["envs"]}
    assert all((_FOLDER / name).is_file() for name in generated)


def test_every_variable_is_a_setting(container: dict[str, Any]):
    known = setting_names() | {f"{name}_FILE" for name in names_with_files(Settings)}
    named = {entry["name"] for entry in container["env"]} | set(_configured())
    assert named - {"POD_IP"} <= known
    assert not set(_configured()) & names_with_files(Settings), "secrets are in the Secret"


def test_service_accepts_the_settings_once_the_secret_is_filled_in(container: dict[str, Any]):
    secrets = _read("secret.example.yaml")["stringData"]
    settings = load_settings(_environment(container, _filled(secrets)))
    assert settings.postgres_url
    assert settings.shuttle_replica_url == "http://10.1.2.3:9000"


def test_service_refuses_the_example_of_the_secret(container: dict[str, Any]):
    secrets = _read("secret.example.yaml")["stringData"]
    with pytest.raises(SettingsError, match=r"(?s)SHUTTLE_ENCRYPTION_KEYS.*SHUTTLE_TOKENS"):
        load_settings(_environment(container, secrets))


def test_replicas_find_each_other_and_their_callers_find_them(container: dict[str, Any]):
    [service_port] = _read("service.yaml")["spec"]["ports"]
    [port] = container["ports"]
    assert service_port["targetPort"] == port["name"]
    assert {service_port["port"], port["containerPort"], int(_configured()["PORT"])} == {9000}
    label = {"app.kubernetes.io/name": "build-shuttle"}
    deployment = _read("deployment.yaml")["spec"]
    assert deployment["template"]["metadata"]["labels"] == deployment["selector"]["matchLabels"] == label
    assert _read("service.yaml")["spec"]["selector"] == label
    assert _read("disruption-budget.yaml")["spec"]["selector"]["matchLabels"] == label
    policy = _read("network-policy.yaml")["spec"]
    peers = [{"podSelector": {"matchLabels": label}}]
    assert policy["podSelector"]["matchLabels"] == label
    assert {"from": peers, "ports": [{"port": "http"}]} in policy["ingress"]
    assert {"to": peers, "ports": [{"port": "http"}]} in policy["egress"]


def test_probes_ask_paths_that_need_no_token(container: dict[str, Any]):
    open_paths = {route.path for route in ROUTES if route.method == "GET" and route.role == Role.ANYBODY}
    probes = {name: container[name]["httpGet"]["path"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert set(probes.values()) <= open_paths
    assert probes["readinessProbe"] == "/readyz"
    # With /readyz, an outage of the database would restart all pods.
    assert probes["startupProbe"] == probes["livenessProbe"] == "/healthz"


def test_readiness_probe_waits_for_the_slowest_check(container: dict[str, Any]):
    """Otherwise a Jenkins that hangs would make every replica unready."""
    assert container["readinessProbe"]["timeoutSeconds"] > CHECK_TIMEOUT_SECONDS


def test_pod_is_killed_only_after_a_clean_stop(pod: dict[str, Any]):
    settings = load_settings({name: value for name, value in _configured().items() if name.endswith("_SECONDS")})
    longest = settings.shuttle_drain_seconds + settings.shuttle_shutdown_seconds
    assert pod["terminationGracePeriodSeconds"] >= longest + 10


def test_an_upgrade_replaces_one_ready_replica_at_a_time():
    deployment = _read("deployment.yaml")["spec"]
    assert deployment["replicas"] == 3
    assert deployment["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    assert _read("disruption-budget.yaml")["spec"]["maxUnavailable"] == 1


def test_pod_has_the_user_of_the_image_and_no_privileges(pod: dict[str, Any], container: dict[str, Any]):
    user = int(re.search(r"--uid (\d+)", (_ROOT / "Dockerfile").read_text(encoding="utf-8"))[1])
    context = pod["securityContext"]
    assert {context["runAsUser"], context["runAsGroup"], context["fsGroup"]} == {user}
    assert context["runAsNonRoot"] is True
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)


def test_folders_that_the_service_writes_to_are_volumes(pod: dict[str, Any], container: dict[str, Any]):
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts["data"] == _configured()["SHUTTLE_DATA_DIR"]
    assert mounts["tmp"] == "/tmp"
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert "emptyDir" in volumes["data"]
    assert "emptyDir" in volumes["tmp"]
    # The group may read the secrets, nobody else.
    assert volumes["secrets"]["secret"]["defaultMode"] == 0o440
    assert volumes["secrets"]["secret"]["secretName"] == _read("secret.example.yaml")["metadata"]["name"]
