"""`shuttle token`: makes tokens for SHUTTLE_TOKENS."""

import json
import secrets
import sys
from typing import Annotated

import typer

from shuttle.cli.options import Json
from shuttle.standing import TokenRole

app = typer.Typer(help="Make tokens for callers.", no_args_is_help=True)

# 256 bits cannot be guessed, however quickly the service answers.
_TOKEN_BYTES = 32


@app.callback()
def _group() -> None:
    """Keep `new` a subcommand although it is the only one."""


@app.command()
def new(
    role: Annotated[
        TokenRole, typer.Option(help="A controller may do everything, a reader may only read.")
    ] = TokenRole.CONTROLLER,
    as_json: Json = False,
) -> None:
    """Make a token and print it; it is not stored."""
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    while token.startswith("-"):  # some commands would take it for an option
        token = secrets.token_urlsafe(_TOKEN_BYTES)
    if as_json:
        print(json.dumps({"role": role.value, "token": token, "setting": f"SHUTTLE_TOKENS={role.value}:{token}"}))
        return
    print(token)
    print(
        f"Service: add {role.value}:<token> to SHUTTLE_TOKENS (comma-separated). Callers: SHUTTLE_TOKEN=<token>.",
        file=sys.stderr,
    )
