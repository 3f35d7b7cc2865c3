"""Whether this machine can make the pid namespaces that some tests need."""

import os
import subprocess

from tests.support.unchecked import unchecked


def needs_namespaces() -> None:
    """Creating the other namespaces without root requires a user namespace."""
    user = () if os.geteuid() == 0 else ("--user", "--map-current-user")
    if subprocess.run(("unshare", *user, "--pid", "--fork", "true"), check=False).returncode:
        unchecked("this machine gives its users no namespaces")
