"""The files in deploy/, read by the programs that use them: kustomize and systemd-analyze."""

import re
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

_ROOT = Path(__file__).parents[2]
_DEPLOY = _ROOT / "deploy"
_KUSTOMIZE = _ROOT / ".real" / "kustomize-5.7.1" / "kustomize"
_VERSION = "1.37"
# systemd rates a unit without any restriction 9.6. What is left here is mostly the network, which the service needs.
_MOST_EXPOSED = 1.5


def _output(*command: str | Path) -> str:
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def test_kustomize_builds_valid_manifests():
    manifests: list[dict[str, Any]] = list(yaml.safe_load_all(_output(_KUSTOMIZE, "build", _DEPLOY / "kubernetes")))
    for manifest in manifests:
        kubernetes_validate.validate(manifest, _VERSION, strict=True)
    by_kind = {manifest["kind"]: manifest for manifest in manifests}
    assert set(by_kind) == {"ConfigMap", "Service", "Deployment", "PodDisruptionBudget", "NetworkPolicy"}
    assert {manifest["metadata"]["namespace"] for manifest in manifests} == {"build-shuttle"}
    [container] = by_kind["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["envFrom"] == [{"configMapRef": {"name": by_kind["ConfigMap"]["metadata"]["name"]}}]
    assert re.fullmatch(r"registry\.example\.com/build-shuttle:\S+", container["image"])


@pytest.fixture(params=["shuttle.service", "shuttle@.service"])
def unit(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The unit with a program that exists on this machine."""
    text = (_DEPLOY / "systemd" / request.param).read_text(encoding="utf-8")
    copy: Path = tmp_path / request.param
    copy.write_text(text.replace("/opt/shuttle/bin/shuttle", "/bin/true"), encoding="utf-8")
    return copy


def test_systemd_understands_every_line_of_a_unit(unit: Path):
    assert _output("systemd-analyze", "verify", unit) == ""


def test_systemd_rates_a_unit_as_well_protected(unit: Path):
    threshold = f"--threshold={_MOST_EXPOSED * 10:.0f}"
    assert "Overall exposure level" in _output("systemd-analyze", "security", "--offline=true", threshold, unit)
