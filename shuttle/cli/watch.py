"""`shuttle status`, `logs`, `stop` and `builds`: show builds and their logs, and stop a build."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shuttle.build import FINAL, State
from shuttle.cli.failures import CommandError, UsageError
from shuttle.cli.options import DEFAULT_URL, AppId, BuildId, Json, ServiceUrl, Token

if TYPE_CHECKING:
    from shuttle.cli.client import ShuttleClient


class BuildDidNotSucceedError(CommandError):
    """The followed build ended without success."""

    code = "build_did_not_succeed"


class NothingStoppedError(CommandError):
    """The build to be stopped had already ended."""

    code = "nothing_stopped"


# A stop that comes too late does not change these states.
_ENDED_OTHERWISE = FINAL - {State.STOPPED}


def status(
    app_id: AppId, build_id: BuildId, as_json: Json = False, url: ServiceUrl = DEFAULT_URL, token: Token = ""
) -> None:
    """Show a build; exit 1 if it ended without success."""
    from shuttle.cli.client import ask

    build = ask(url, token, lambda client: client.build(app_id, build_id))
    _show(build, as_json=as_json)
    _fail_unless_succeeded(build)


def logs(
    app_id: AppId,
    build_id: BuildId,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Follow the log to its end.")] = False,
    offset: Annotated[int, typer.Option(min=0, help="Begin at this byte.")] = 0,
    verify: Annotated[
        bool, typer.Option("--verify", help="Do not print the log; compare its copies with the final status.")
    ] = False,
    sink: Annotated[
        str,
        typer.Option(
            metavar="URL", help="With --verify: also a kafka:// topic. With -, the URL is read from standard input."
        ),
    ] = "",
    url: ServiceUrl = DEFAULT_URL,
    token: Token = "",
) -> None:
    """Print a build's log unchanged, or verify its copies."""
    from shuttle.cli.client import ask
    from shuttle.cli.hidden_url import read_url

    if verify:
        sink = read_url("--sink", sink, "SHUTTLE_SINK")
        _verify(app_id, build_id, sink, url=url, token=token)
        return
    if sink:
        raise UsageError("Add --verify: --sink names a further copy to compare with the final status.")
    ask(url, token, lambda client: _print_log(client, app_id, build_id, offset=offset, follow=follow))


def _verify(app_id: str, build_id: str, sink: str, *, url: str, token: str) -> None:
    from shuttle.cli.client import ask
    from shuttle.cli.verify import LogDiffersError, verify

    checked = ask(url, token, lambda client: verify(client, app_id, build_id, sink))
    for copy in checked:
        verdict = "fine" if copy.problem is None else "unread" if copy.unread else "problem"
        print(f"{verdict:<8} {copy.copy:<12} {copy.problem or 'identical'}")
    wrong = [copy.copy for copy in checked if copy.problem is not None and not copy.unread]
    if wrong:
        raise LogDiffersError(f"The log of {app_id} {build_id} differs from its final status: {', '.join(wrong)}.")


def stop(app_id: AppId, build_id: BuildId, url: ServiceUrl = DEFAULT_URL, token: Token = "") -> None:
    """Stop a build; it ends `stopped` once its agent or Jenkins confirms."""
    from shuttle.cli.client import ask

    ask(url, token, lambda client: _stop(client, app_id, build_id))
    print(f"{app_id} {build_id} will be stopped", file=sys.stderr)


async def _stop(client: "ShuttleClient", app_id: str, build_id: str) -> None:
    if await client.stop(app_id, build_id) == "OK":
        return
    state = (await client.build(app_id, build_id))["state"]
    if state in _ENDED_OTHERWISE:
        raise NothingStoppedError(f"{app_id} {build_id} has already ended: {state}.")


def builds(
    app_id: Annotated[str | None, typer.Argument(metavar="[APP]", help="Only builds of this app.")] = None,
    *,
    state: Annotated[str, typer.Option(help="Only builds in this state.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many, newest first.")] = 20,
    before: Annotated[str, typer.Option(metavar="CURSOR", help="The `next` of the previous page.")] = "",
    as_json: Json = False,
    url: ServiceUrl = DEFAULT_URL,
    token: Token = "",
) -> None:
    """List builds, newest first."""
    from shuttle.cli.client import ask
    from shuttle.cli.tables import print_table

    query = {name: text for name, text in (("state", state), ("before", before)) if text}
    page = ask(url, token, lambda client: client.builds(app_id, limit=str(limit), **query))
    if as_json:
        print(json.dumps(page))
        return
    rows = [
        (build["app_id"], build["build_id"], build["state"], build["reason"], build["timestamps"]["accepted_at"])
        for build in page["builds"]
    ]
    print_table(("app", "build", "state", "reason", "accepted at"), rows)
    if page["next"]:
        print(f"older ones: --before {page['next']}", file=sys.stderr)


async def end(client: "ShuttleClient", app_id: str, build_id: str, *, as_json: bool) -> None:
    """Follow a build to its end: print its log (with `as_json` the build instead); the exit code is its result."""
    if as_json:
        await client.until_log_ends(app_id, build_id)
    else:
        await _print_log(client, app_id, build_id, offset=0, follow=True)
    build = await client.end_of(app_id, build_id)
    if as_json:
        print(json.dumps(build))
    else:
        print(f"{app_id} {build_id} {build['state']}", file=sys.stderr)
    _fail_unless_succeeded(build)


@contextmanager
def working(what: str) -> Iterator[None]:
    """Show on a terminal what the command is doing; elsewhere print nothing."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield


async def _print_log(client: "ShuttleClient", app_id: str, build_id: str, *, offset: int, follow: bool) -> None:
    sys.stdout.flush()
    async for piece in client.log(app_id, build_id, offset=offset, follow=follow):
        sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()


def _show(build: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(build))
        return
    facts = {
        "build": f"{build['app_id']} {build['build_id']}",
        "uuid": build["build_uuid"],
        "state": build["state"],
        "reason": build["reason"],
        "message": build["message"],
        "waiting for": build["waiting_for"],
        "pipeline": build["pipeline"],
        "accepted at": build["timestamps"]["accepted_at"],
        "running at": build["timestamps"]["running_at"],
        "finished at": build["timestamps"]["finished_at"],
        "Jenkins": build["jenkins"]["url"],
        "image": build["image"],
        "digest": build["digest"],
        "log bytes": build["log"]["bytes"],
        "artifacts": ", ".join(artifact["name"] for artifact in build["artifacts"]),
    }
    for name, fact in facts.items():
        if fact not in (None, ""):
            print(f"{name + ':':<13}{fact}")


def _fail_unless_succeeded(build: dict[str, Any]) -> None:
    if build["state"] in FINAL - {State.SUCCEEDED}:
        why = build["message"] or build["reason"] or "its log says why"
        raise BuildDidNotSucceedError(f"{build['app_id']} {build['build_id']} {build['state']}: {why}")
