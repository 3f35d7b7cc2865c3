"""The files in deploy/, read by the programs that use them: kustomize."""

import re
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml

_ROOT = Path(__file__).parents[2]
_DEPLOY = _ROOT / "deploy"
_KUSTOMIZE = _ROOT / ".real" / "kustomize-5.7.1" / "kustomize"
_VERSION = "1.37"


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
