"""`shuttle jenkins`: a Jenkins in one process, for demos and tests only."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from shuttle.cli.failures import UsageError


def jenkins(
    *,
    home: Annotated[Path, typer.Option(metavar="DIR", help="Where jobs and builds are kept.", show_default=False)],
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 = any free one.")] = 8080,
    executors: Annotated[int, typer.Option(min=1, help="How many builds run at once.")] = 2,
    user: Annotated[str, typer.Option(help="The only user who may call; requires --token.", show_default=False)] = "",
    token: Annotated[
        str, typer.Option(envvar="SHUTTLE_JENKINS_EMULATOR_TOKEN", help="The user's API token.", show_default=False)
    ] = "",
    administrator: Annotated[
        bool, typer.Option("--administrator", help="Grant every permission, not only those that the README requires.")
    ] = False,
    generation: Annotated[str, typer.Option(help="The Jenkins to behave like: 2.263 or 2.568.")] = "2.568",
) -> None:
    """Run an emulated Jenkins on 127.0.0.1 that runs the shuttle's pipelines; for demos and tests only.

    Without --user and --token, everybody on this machine can run programs through it.
    """
    if bool(user) != bool(token):
        raise UsageError("--user and --token (or SHUTTLE_JENKINS_EMULATOR_TOKEN) must be given together.")
    from jenkins_emulator import run
    from jenkins_emulator.generations import GENERATIONS

    if generation not in GENERATIONS:
        raise UsageError(f"--generation is one of {', '.join(GENERATIONS)}.")
    run(
        home.absolute(),
        port=port,
        generation=generation,
        executors=executors,
        user=user or None,
        token=token or None,
        administrator=administrator,
        announce=partial(print, flush=True),
    )
