"""The versions of the programs that `packer-image` needs on an agent, as the doctor's trial build finds them."""

import re
from collections.abc import Iterator

from shuttle.cli.findings import Finding, fine, warning

_SUBJECT = "agent"
# Each program with the words that make it print its version.
_PROGRAMS = {"packer": "version", "berks": "version", "kitchen": "version", "chef": "--version", "docker": "--version"}
_LINE = re.compile(r"^shuttle-doctor program (\w+) ?(.*)$", re.MULTILINE)

SCRIPT = "export CHECKPOINT_DISABLE=1\n" + "".join(
    f"version=\nif command -v {name} >/dev/null; then\n"
    f'  version=`{name} {words} 2>&1 </dev/null | {{ read -r line; echo "${{line:-unknown}}"; }}`\nfi\n'
    f'echo "shuttle-doctor program {name} $version"\n'
    for name, words in _PROGRAMS.items()
)
"""Lines of the trial build's script, which print one line for each program."""


def program_findings(log: str) -> Iterator[Finding]:
    """A finding for each program of which the log has a line."""
    for name, version in _LINE.findall(log):
        if not version:
            yield warning(_SUBJECT, f"the agent has no {name}; builds of packer-image that need it will fail.")
        else:
            yield fine(_SUBJECT, f"the agent has {name}: {version}")
