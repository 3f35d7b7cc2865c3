"""`shuttle doctor`: tries everything that the service needs, and says what to do about problems."""

import json
import sys
from typing import Annotated

import typer

from shuttle.cli.options import Json


def doctor(
    jobs: Annotated[
        bool, typer.Option(help="Create a job in Jenkins, run a one-line build on its agents, and delete the job.")
    ] = True,
    wait_seconds: Annotated[
        float, typer.Option(help="How long an agent may take to run that build.", metavar="SECONDS")
    ] = 60,
    agent: Annotated[
        bool, typer.Option("--agent", help="Let that build also list the versions of packer and the tools around it.")
    ] = False,
    sink: Annotated[
        list[str] | None,
        typer.Option(
            help="Also check that this receiver can be reached; it gets no status and no log. Write it as in"
            " webhooks.logs. With -, URLs are read from standard input, one per line. Without the option, SHUTTLE_SINK"
            " can name one.",
            metavar="URL",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check settings, database, object store and Jenkins, as the service would use them; exit 1 on problems."""
    import asyncio
    import signal
    from contextlib import suppress

    from shuttle.cli.examination import examine
    from shuttle.cli.findings import Verdict
    from shuttle.cli.hidden_url import read_urls

    if agent and not jobs:
        raise typer.BadParameter("Leave --no-jobs out: --agent needs a build.", param_hint="--agent")
    sinks = read_urls("--sink", sink or [], "SHUTTLE_SINK")

    # SIGTERM is handled like Ctrl-C, so that the job, the build and the folder are removed.
    with suppress(ValueError):  # not the main thread
        signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    findings = asyncio.run(examine(try_jobs=jobs, wait_seconds=wait_seconds, sinks=sinks, programs=agent))
    if as_json:
        print(json.dumps({"findings": [finding.as_json() for finding in findings]}))
    else:
        for finding in findings:
            print(f"{finding.verdict.value:<8} {finding.subject:<12} {finding.sentence}")
    problems = sum(finding.verdict is Verdict.PROBLEM for finding in findings)
    if problems:
        print(f"shuttle: {problems} problem{'s' if problems > 1 else ''} found", file=sys.stderr)
        raise typer.Exit(1)
