"""`shuttle submit`: request a build and optionally follow it to its end."""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shuttle.cli.failures import UsageError
from shuttle.cli.options import DEFAULT_URL, AppId, Json, ServiceUrl, Token

if TYPE_CHECKING:
    from shuttle.cli.client import ShuttleClient, Submission


@dataclass(frozen=True, slots=True)
class _NewSubmission:
    """A request of the new API."""

    app_id: str
    build_id: str
    request: Mapping[str, Any] = field(repr=False)

    async def send(self, client: "ShuttleClient") -> "tuple[str, Submission]":
        """Send it; returns the build's id and the response."""
        return self.build_id, await client.submit(self.app_id, self.build_id, self.request)


def submit(
    app_id: AppId,
    build_id: Annotated[
        str | None,
        typer.Argument(metavar="BUILD", help="The build's id; with --legacy a number, by default the next one."),
    ] = None,
    *,
    source: Annotated[
        str,
        typer.Option(
            help="The source: an http(s):, git+https:, docker: or data: URL, or a directory or archive on this machine."
            " With -, the URL or path is read from standard input.",
            show_default=False,
        ),
    ],
    subdir: Annotated[
        str, typer.Option(metavar="FOLDER", help="The folder of a git repository that is built instead of its root.")
    ] = "",
    submodules: Annotated[
        bool, typer.Option("--submodules", help="Fetch the submodules of a git source, too.")
    ] = False,
    destination: Annotated[
        str,
        typer.Option(
            metavar="URL",
            help="Where to push: docker://HOST/REPO:TAG, or with credentials docker://USER:PASSWORD@HOST/REPO:TAG."
            " With -, it is read from standard input, so that `ps` shows no password. Without the option,"
            " SHUTTLE_DESTINATION is used.",
        ),
    ] = "",
    pipeline: Annotated[
        str, typer.Option(help="A name from `shuttle pipelines list`; by default that of the service.")
    ] = "",
    arg: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[=VALUE]", help="A build argument; without a value it is taken from the environment."
        ),
    ] = None,
    secret_arg: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[=VALUE]",
            help="A masked build argument; without a value it is read from the environment, and `ps` does not show it.",
        ),
    ] = None,
    status_webhook: Annotated[list[str] | None, typer.Option(metavar="URL", help="Receives every status.")] = None,
    log_webhook: Annotated[list[str] | None, typer.Option(metavar="URL", help="Receives the log as it grows.")] = None,
    timeout: Annotated[float | None, typer.Option(metavar="SECONDS", help="The build's time limit.")] = None,
    label: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="A label of the build.")] = None,
    metadata: Annotated[str, typer.Option(metavar="JSON", help="Returned in every status.")] = "",
    legacy: Annotated[bool, typer.Option("--legacy", help="Use the older API, `POST /`.")] = False,
    space: Annotated[str, typer.Option(help="With --legacy: the app's space; `default` if not given.")] = "",
    callback_auth: Annotated[
        str, typer.Option(metavar="TEXT", help="With --legacy: the Authorization that the status webhook gets.")
    ] = "",
    kafka_hosts: Annotated[
        str, typer.Option(metavar="HOST:PORT,…", help="With --legacy: the brokers that get the log.")
    ] = "",
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Show the log; exit 1 unless the build succeeds.")
    ] = False,
    as_json: Json = False,
    url: ServiceUrl = DEFAULT_URL,
    token: Token = "",
) -> None:
    """Request a build of an app.

    Sending the same request with the same ids again is idempotent: nothing new starts.
    """
    from shuttle.cli.client import ask
    from shuttle.cli.hidden_url import read_url
    from shuttle.cli.pack import source_url
    from shuttle.cli.submit_legacy import LegacySubmission, legacy_submission
    from shuttle.cli.watch import end, working

    submission_request: LegacySubmission | _NewSubmission
    destination = read_url("--destination", destination, "SHUTTLE_DESTINATION")
    arguments, secret_arguments = _pairs("--arg", arg), _pairs("--secret-arg", secret_arg)
    with working("packing the source"):
        place = source_url(read_url("--source", source, ""))
    if legacy:
        _refuse_options(
            "not in the older API",
            {"--pipeline": pipeline, "--secret-arg": secret_arg, "--log-webhook": log_webhook, "--timeout": timeout}
            | {"--label": label, "--metadata": metadata, "--subdir": subdir, "--submodules": submodules},
        )
        submission_request = legacy_submission(
            app_id,
            build_id,
            space=space or "default",
            source=place,
            destination=destination,
            arguments=arguments,
            callbacks=status_webhook or [],
            callback_auth=callback_auth,
            kafka_hosts=kafka_hosts,
        )
    else:
        _refuse_options(
            "only with --legacy",
            {"--space": space, "--callback-auth": callback_auth, "--kafka-hosts": kafka_hosts},
        )
        if build_id is None:
            raise UsageError("Give the BUILD: only with --legacy the service chooses the number.")
        request = _without_blanks(
            source=_without_blanks(url=place, subdir=subdir, submodules=submodules or None),
            destination={"url": destination} if destination else None,
            pipeline=pipeline,
            arguments={**arguments, **secret_arguments},
            secret_arguments=sorted(secret_arguments),
            webhooks=_without_blanks(status=status_webhook, logs=log_webhook),
            timeout_seconds=timeout,
            labels=_pairs("--label", label),
        )
        if metadata:
            request["metadata"] = _json(metadata)  # {} and "" are valid values
        submission_request = _NewSubmission(app_id, build_id, request)

    async def conversation(client: "ShuttleClient") -> None:
        with working("sending the request"):
            name, submission = await submission_request.send(client)
        _print_submission(submission_request.app_id, name, submission, as_json=as_json and not follow)
        if follow:
            await end(client, submission_request.app_id, name, as_json=as_json)

    ask(url, token, conversation)


def _refuse_options(why: str, options: Mapping[str, Any]) -> None:
    given = [name for name, value in options.items() if value]
    if given:
        raise UsageError(f"{', '.join(given)}: {why}; leave this out.")


def _print_submission(app_id: str, build_id: str, submission: "Submission", *, as_json: bool) -> None:
    if as_json:
        answer = {
            "app_id": app_id,
            "build_id": build_id,
            "replayed": submission.replayed,
            "warnings": submission.warnings,
            "ignored_fields": submission.ignored_fields,
        }
        print(json.dumps(answer))
        return
    for warning in submission.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    outcome = "had been accepted before" if submission.replayed else "is accepted"
    print(f"{app_id} {build_id} {outcome}", file=sys.stderr)


def _pairs(option: str, texts: list[str] | None) -> dict[str, str]:
    """The pairs of `NAME=VALUE`; an argument without `=` takes its value from the environment."""
    pairs = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not equals and (option == "--label" or name not in os.environ):
            hint = "NAME=VALUE" if option == "--label" else "NAME=VALUE, or set NAME in the environment"
            raise UsageError(f"{option} {name}: write {hint}.")
        pairs[name] = value if equals else os.environ[name]
    return pairs


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"--metadata is not JSON: {error}.") from None


def _without_blanks(**fields: Any) -> dict[str, Any]:
    """The fields that were given; for all others the service has defaults."""
    return {name: value for name, value in fields.items() if value not in (None, "", [], {})}
