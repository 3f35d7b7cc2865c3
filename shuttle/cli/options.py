"""Arguments and options that several commands share."""

import os
from typing import Annotated

import typer

from shuttle.cli.failures import UsageError


def _token(context: typer.Context, given: str) -> str:
    """The token from the option, from SHUTTLE_TOKEN, or from the file that SHUTTLE_TOKEN_FILE names."""
    source = context.get_parameter_source("token")
    if source is not None and source.name == "COMMANDLINE":
        return given
    from shuttle.setting_files import read_setting_files

    values, problems = read_setting_files(os.environ, frozenset({"SHUTTLE_TOKEN"}))
    if problems:
        raise UsageError(f"{problems[0]}.")
    return values.get("SHUTTLE_TOKEN", given)


AppId = Annotated[str, typer.Argument(metavar="APP", help="The app's id.", show_default=False)]
BuildId = Annotated[str, typer.Argument(metavar="BUILD", help="The build's id.", show_default=False)]
ServiceUrl = Annotated[str, typer.Option("--url", envvar="SHUTTLE_URL", help="The service's address.")]
Token = Annotated[
    str,
    typer.Option(
        "--token", envvar="SHUTTLE_TOKEN", help="A token of SHUTTLE_TOKENS.", show_default=False, callback=_token
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

DEFAULT_URL = "http://127.0.0.1:9000"
