"""`shuttle deliveries`: what receivers and log sinks have received, and sending statuses again."""

import json
import sys
from typing import Annotated

import typer

from shuttle.cli.failures import UsageError
from shuttle.cli.options import DEFAULT_URL, AppId, BuildId, Json, ServiceUrl, Token

app = typer.Typer(
    help="Show what receivers and log sinks have received, and send statuses again.", no_args_is_help=True
)

_App = Annotated[str, typer.Option("--app", metavar="APP", help="Only builds of this app.", show_default=False)]
_Build = Annotated[str, typer.Option("--build", metavar="BUILD", help="Only builds with this id.", show_default=False)]


@app.command("list")
def list_deliveries(
    *,
    app_id: _App = "",
    build_id: _Build = "",
    state: Annotated[str, typer.Option(help="Only in this state: pending, delivered or gave_up.")] = "",
    as_json: Json = False,
    url: ServiceUrl = DEFAULT_URL,
    token: Token = "",
) -> None:
    """List the newest 200 deliveries of statuses to receivers, with their state."""
    from shuttle.cli.client import ask
    from shuttle.cli.tables import print_table

    query = _filled(app_id=app_id, build_id=build_id, state=state)
    found = ask(url, token, lambda client: client.deliveries(**query))
    if as_json:
        print(json.dumps({"deliveries": found}))
        return
    columns = ("delivery_id", "app_id", "build_id", "sequence", "receiver", "state", "tries", "next_attempt_at")
    rows = [[entry[column] for column in (*columns, "last_error")] for entry in found]
    print_table(("id", "app", "build", "event", "receiver", "state", "tries", "next try at", "last error"), rows)


@app.command()
def show(
    app_id: AppId, build_id: BuildId, as_json: Json = False, url: ServiceUrl = DEFAULT_URL, token: Token = ""
) -> None:
    """Show the receivers of a build's statuses and log: how far each of them is, and its last error."""
    from shuttle.cli.client import ask
    from shuttle.cli.tables import print_table

    build = ask(url, token, lambda client: client.build(app_id, build_id))
    if as_json:
        print(json.dumps({"receivers": build["receivers"], "sinks": build["sinks"]}))
        return
    endpoints = [("status", endpoint) for endpoint in build["receivers"]] + [
        ("log", endpoint) for endpoint in build["sinks"]
    ]
    columns = ("kind", "host", "state", "failing_since", "acked_offset", "lag_bytes", "attempts", "last_error")
    print_table(
        ("what", "kind", "host", "state", "failing since", "acknowledged", "lag", "attempts", "last error"),
        [(what, *(endpoint[column] for column in columns)) for what, endpoint in endpoints],
    )
    moments = [
        (what, moment["at"], moment["to"], moment["why"])
        for what, endpoint in endpoints
        for moment in endpoint["failovers"]
    ]
    if moments:
        print_table(("what", "at", "failed over to", "why"), moments)


@app.command()
def replay(
    delivery_id: Annotated[
        int | None, typer.Argument(metavar="[ID]", help="An id from `list`, unless --app is given.", show_default=False)
    ] = None,
    *,
    app_id: _App = "",
    build_id: _Build = "",
    url: ServiceUrl = DEFAULT_URL,
    token: Token = "",
) -> None:
    """Send one delivery again, or all deliveries of an app or a build that were given up."""
    if (delivery_id is None) != bool(app_id) or (build_id and not app_id):
        raise UsageError("Give either the ID of one delivery, or --app, and --build to restrict it to one build.")
    from shuttle.cli.client import ask

    answer = ask(url, token, lambda client: client.replay(delivery_id, **_filled(app_id=app_id, build_id=build_id)))
    print(f"Deliveries that are due again now: {answer['replayed']}", file=sys.stderr)


def _filled(**query: str) -> dict[str, str]:
    return {name: text for name, text in query.items() if text}
