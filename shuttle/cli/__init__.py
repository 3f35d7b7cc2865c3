"""The command line: `shuttle …`. Commands import their modules when they run, so that `--help` is fast."""

import sys
from collections.abc import Sequence

import typer

from shuttle.cli import apps, deliveries, doctor, jenkins, migrate, pipelines, serve, submit, tokens, watch
from shuttle.cli.demo import command as demo
from shuttle.cli.failures import exit_code_of
from shuttle.errors import ShuttleError

app = typer.Typer(
    help="One HTTP call becomes a Jenkins build whose log and status reach the caller while it runs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(serve.serve)
app.command()(demo.demo)
app.command()(submit.submit)
app.command()(watch.status)
app.command()(watch.logs)
app.command()(watch.stop)
app.command()(watch.builds)
app.add_typer(apps.app, name="apps")
app.add_typer(deliveries.app, name="deliveries")
app.add_typer(pipelines.app, name="pipelines")
app.command("jenkins")(jenkins.jenkins)
app.add_typer(tokens.app, name="token")
app.command()(migrate.migrate)
app.command()(doctor.doctor)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code (`shuttle.cli.failures` has the table)."""
    try:
        app(arguments, prog_name="shuttle")
    except ShuttleError as error:
        print(f"shuttle: {error}", file=sys.stderr)
        sys.exit(exit_code_of(error))
