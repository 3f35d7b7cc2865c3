"""URLs with passwords, read from standard input or the environment: every user of a machine sees its commands."""

import os
import sys

from shuttle.cli.failures import UsageError

STANDARD_INPUT = "-"


def read_url(option: str, given: str, variable: str) -> str:
    """What the option says; `-` = the first line of standard input; without the option, what `variable` says."""
    if given == STANDARD_INPUT:
        return _lines(option)[0]
    return given or os.environ.get(variable, "").strip()


def read_urls(option: str, given: list[str], variable: str) -> list[str]:
    """Of an option that is repeated; `-` = each line of standard input."""
    urls: list[str] = []
    for url in given:
        urls += _lines(option) if url == STANDARD_INPUT else [url]
    return urls or [url for url in [os.environ.get(variable, "").strip()] if url]


def _lines(option: str) -> list[str]:
    lines = [line.strip() for line in sys.stdin.read().splitlines() if line.strip()]
    if not lines:
        raise UsageError(f"{option} -: standard input is empty; write the URL to it.")
    return lines
