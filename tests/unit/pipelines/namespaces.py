"""Whether this machine can make the pid namespaces that some tests need."""

import os
import subprocess

import pytest


def needs_namespaces() -> None:
    """Creating the other namespaces without root requires a user namespace."""
    user = () if os.geteuid() == 0 else ("--user", "--map-current-user")
    if subprocess.run(("unshare", *user, "--pid", "--fork", "true"), check=False).returncode:
        why = "this machine gives its users no namespaces"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(why)
