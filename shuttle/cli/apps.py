"""`shuttle apps`: delete the Jenkins jobs of apps that nobody builds any more."""

import json
import re
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shuttle.cli.failures import UsageError
from shuttle.cli.options import DEFAULT_URL, Json, ServiceUrl, Token

if TYPE_CHECKING:
    from shuttle.cli.client import ShuttleClient

app = typer.Typer(help="Delete the Jenkins jobs of idle apps.", no_args_is_help=True)

_DURATION = re.compile("([0-9]{1,5})([mhd])")
_UNIT_SECONDS = {"m": 60, "h": 3600, "d": 86_400}


@app.callback()
def _group() -> None:
    """Keep `prune` a subcommand although it is the only one."""


@app.command()
def prune(
    *,
    pipeline: Annotated[str, typer.Option(help="Only apps whose newest build had this pipeline.", show_default=False)],
    idle: Annotated[
        str,
        typer.Option(
            metavar="DURATION",
            help="Only apps whose newest build ended at least this long ago, like 30d, 12h.",
            show_default=False,
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Delete; without it, only list what would be deleted.")] = False,
    as_json: Json = False,
    url: ServiceUrl = DEFAULT_URL,
    token: Token = "",
) -> None:
    """Delete the Jenkins jobs of apps that have no unfinished build, and whose newest build ended long ago.

    Builds, logs and artifacts stay. The next build of an app makes its job again.
    """
    from shuttle.cli.client import ask
    from shuttle.cli.tables import print_table

    query = {"pipeline": pipeline, "idle_seconds": str(_seconds(idle))}
    found = ask(url, token, lambda client: _prune(client, query) if yes else _idle(client, query))
    if as_json:
        print(json.dumps({"deleted": yes, "apps": found}))
        return
    print_table(("app", "newest build ended at"), [(one["app_id"], one["ended_at"]) for one in found])
    what = "will be deleted" if yes else "would be deleted; add --yes to delete them"
    print(f"{len(found)} Jenkins jobs {what}", file=sys.stderr)


def _seconds(duration: str) -> int:
    match = _DURATION.fullmatch(duration)
    if match is None:
        raise UsageError("Write --idle as a number with m, h or d, like 30d.")
    return int(match[1]) * _UNIT_SECONDS[match[2]]


async def _idle(client: "ShuttleClient", query: dict[str, str]) -> list[dict[str, Any]]:
    found, after = list[dict[str, Any]](), ""
    while True:
        page = await client.idle_apps(**query, after=after)
        found += page["apps"]
        if page["next"] is None:
            return found
        after = page["next"]


async def _prune(client: "ShuttleClient", query: dict[str, str]) -> list[dict[str, Any]]:
    """Call until the service has no further page: the apps of one call are no longer idle in the next one."""
    found = list[dict[str, Any]]()
    while True:
        page = await client.prune_apps(**query)
        found += page["apps"]
        if page["next"] is None:
            return found
