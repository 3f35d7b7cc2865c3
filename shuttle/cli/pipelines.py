"""`shuttle pipelines`: list and render the pipelines, and apply one to a Jenkins job by hand."""

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shuttle.cli.failures import UsageError
from shuttle.cli.options import Json

if TYPE_CHECKING:
    from jenkins_pipelines.kind import PipelineKind

app = typer.Typer(help="Show the pipelines, and apply one to a Jenkins job.", no_args_is_help=True)

_Name = Annotated[str, typer.Argument(metavar="NAME", help="A name from `shuttle pipelines list`.", show_default=False)]
_Label = Annotated[
    str, typer.Option("--agent-label", envvar="SHUTTLE_JENKINS_AGENT_LABEL", help="Run on agents with this label.")
]


@app.command("list")
def list_pipelines(as_json: Json = False) -> None:
    """List the pipelines that a request can name."""
    from jenkins_pipelines.catalogue import DEFAULT_PIPELINE, PIPELINES
    from shuttle.cli.tables import print_table

    if as_json:
        pipelines = [
            {
                "name": kind.name,
                "description": kind.description,
                "default": kind.name == DEFAULT_PIPELINE,
                "needs_destination": kind.needs_destination,
                "accepts_image_source": kind.accepts_image_source,
                "options": kind.Options.model_json_schema(),
            }
            for kind in PIPELINES.values()
        ]
        print(json.dumps({"pipelines": pipelines}))
        return
    rows = [
        (kind.name, "default" if kind.name == DEFAULT_PIPELINE else "", kind.description) for kind in PIPELINES.values()
    ]
    print_table(("name", "", "what it does"), rows)


@app.command()
def render(
    name: _Name,
    directory: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Where to write the files.", show_default="pipelines/NAME in SHUTTLE_DATA_DIR"
        ),
    ] = None,
    agent_label: _Label = "",
) -> None:
    """Print a pipeline's Jenkinsfile, write it with definition.json and config.xml, and say how to apply it."""
    from jenkins_pipelines.write import write
    from shuttle.settings import load_settings

    _kind(name)
    target = directory or load_settings().shuttle_data_dir / "pipelines" / name
    definition, jenkinsfile, config = write(name, target, agent_label=agent_label or None)
    print(jenkinsfile.read_text(encoding="utf-8"), end="")
    for path in (definition, jenkinsfile, config):
        print(f"wrote {path}", file=sys.stderr)
    with_label = f" --agent-label {shlex.quote(agent_label)}" if agent_label else ""
    print(f"to apply it: JENKINS_URL=… shuttle pipelines apply {name} JOB{with_label}", file=sys.stderr)


@app.command()
def apply(
    name: _Name,
    job: Annotated[str, typer.Argument(metavar="JOB", help="The Jenkins job, folder/name if in a folder.")],
    agent_label: _Label = "",
) -> None:
    """Create or update the Jenkins job; a job that is not the shuttle's is never changed."""
    import asyncio

    from jenkins_pipelines.render import render as rendered
    from shuttle.jenkins.client import JenkinsClient
    from shuttle.outgoing.tls import tls_context
    from shuttle.settings import load_settings

    kind = _kind(name)
    settings = load_settings()
    written = rendered(kind.build(kind.Options()), agent_label=agent_label or None)

    async def put() -> None:
        for url in settings.controllers.values():
            jenkins = JenkinsClient(url, ssl_context=tls_context(settings.shuttle_ca_file))
            try:
                await jenkins.apply_job(job, written.config_xml, written.digest)
            finally:
                await jenkins.close()

    asyncio.run(put())
    print(f"the job {job} has the pipeline {name}, {written.digest}", file=sys.stderr)


def _kind(name: str) -> "PipelineKind":
    from jenkins_pipelines.catalogue import PIPELINES

    kind = PIPELINES.get(name)
    if kind is None:
        raise UsageError(f"There is no pipeline {name}; choose one of {', '.join(PIPELINES)}.")
    return kind
