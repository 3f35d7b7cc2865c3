"""The arguments and options that several commands share."""

from typing import Annotated

import typer

AppId = Annotated[str, typer.Argument(metavar="APP", help="The app's id.", show_default=False)]
BuildId = Annotated[str, typer.Argument(metavar="BUILD", help="The build's id.", show_default=False)]
ServiceUrl = Annotated[str, typer.Option("--url", envvar="SHUTTLE_URL", help="The service's address.")]
Token = Annotated[
    str, typer.Option("--token", envvar="SHUTTLE_TOKEN", help="A token of SHUTTLE_TOKENS.", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

DEFAULT_URL = "http://127.0.0.1:9000"
