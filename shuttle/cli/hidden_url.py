"""URLs with passwords, read from standard input or the environment: all users of a machine see its command lines."""

import os
import sys

from shuttle.cli.failures import UsageError

STANDARD_INPUT = "-"


def read_url(option: str, given: str, variable: str) -> str:
    """The option's URL, or for `-` the first line of standard input; without the option that of `variable`."""
    if given == STANDARD_INPUT:
        return _lines(option)[0]
    return given or os.environ.get(variable, "").strip()


def read_urls(option: str, given: list[str], variable: str) -> list[str]:
    """The URLs of a repeated option; `-` stands for all lines of standard input."""
    urls: list[str] = []
    for url in given:
        urls += _lines(option) if url == STANDARD_INPUT else [url]
    return urls or [url for url in [os.environ.get(variable, "").strip()] if url]


def _lines(option: str) -> list[str]:
    lines = [line.strip() for line in sys.stdin.read().splitlines() if line.strip()]
    if not lines:
        raise UsageError(f"{option} -: standard input is empty; write the URL to it.")
    return lines
