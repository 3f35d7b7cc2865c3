"""Every command line of docs/bldst.md exists."""

import re
import shlex
from pathlib import Path

import pytest

from bldst.command_line import read_line

_PAGE = Path(__file__).parents[3] / "docs" / "bldst.md"


def _lines() -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", _PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    text = "\n".join(blocks).replace("\\\n", " ")
    return [line.removesuffix(")") for line in re.findall(r"(?:^|\$\()(bldst [^|<>\n]*)", text, re.MULTILINE)]


@pytest.mark.parametrize("line", _lines())
def test_command_line_of_the_page_exists(line: str):
    command = read_line(shlex.split(line.replace("$BUILD", "b").replace("$SUM", "abc"))[1:], build_id=None).command
    assert command is not None


def test_page_never_installs_from_the_public_index():
    installs = re.findall(r"^pip install .*$", _PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert installs
    assert all("--index-url https://shuttle.example/" in line for line in installs)
