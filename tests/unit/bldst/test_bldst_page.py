"""Every command line of docs/bldst.md exists."""

import re
import shlex
from pathlib import Path

import pytest

from bldst.command_line import read_line

_ROOT = Path(__file__).parents[3]
_PAGE = _ROOT / "docs" / "bldst.md"


def _lines() -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", _PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    text = "\n".join(blocks).replace("\\\n", " ")
    return [line.removesuffix(")") for line in re.findall(r"(?:^|\$\()(bldst [^|<>\n]*)", text, re.MULTILINE)]


@pytest.mark.parametrize("line", _lines())
def test_command_line_of_the_page_exists(line: str):
    command = read_line(shlex.split(line.replace("$BUILD", "b").replace("$SUM", "abc"))[1:], build_id=None).command
    assert command is not None


def test_no_page_installs_it_from_the_public_index():
    pages = [*_ROOT.glob("*.md"), *_ROOT.joinpath("docs").glob("*.md")]
    installs = re.findall(
        r"^.*pip3? install .*buildstate-cli.*$", "\n".join(page.read_text("utf-8") for page in pages), re.MULTILINE
    )
    assert installs
    assert all(re.search(r"--index-url \S*/pip/simple\b", line) for line in installs)
