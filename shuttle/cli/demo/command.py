"""The options of `shuttle demo`."""

from pathlib import Path
from typing import Annotated

import typer


def demo(
    *,
    source: Annotated[
        str, typer.Option(metavar="URL", help="Build this instead of the example: a URL, a directory or an archive.")
    ] = "",
    pipeline: Annotated[str, typer.Option(help="How to build it.")] = "script",
    destination: Annotated[str, typer.Option(help="Where the docker-image pipeline pushes: docker://….")] = "",
    keep: Annotated[bool, typer.Option("--keep", help="Keep everything running until Ctrl-C.")] = False,
    kafka: Annotated[
        bool, typer.Option("--kafka", help="Send the log to a mock Kafka broker as well, and consume it there.")
    ] = False,
    replicas: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Run N replicas on PostgreSQL and S3, and kill the one that owns the app during the build.",
            show_default=False,
        ),
    ] = None,
    picture: Annotated[
        Path | None, typer.Option("--svg", metavar="FILE", help="Save the output as an SVG.", show_default=False)
    ] = None,
) -> None:
    """Build something real on this machine: an emulated Jenkins, the shuttle and a receiver, all on loopback."""
    from shuttle.cli.demo.run import DemoOptions, run_demo
    from shuttle.cli.demo.screen import Screen

    screen = Screen(record=picture is not None)
    options = DemoOptions(
        source=source, pipeline=pipeline, destination=destination, keep=keep, kafka=kafka, replicas=replicas
    )
    code = run_demo(options, screen)
    if picture is not None:
        screen.save(picture)
    raise typer.Exit(code)
