"""Writes a rendered pipeline to files, to be read before it is applied."""

import json
from pathlib import Path

from jenkins_pipelines.catalogue import PIPELINES
from jenkins_pipelines.errors import PipelineError
from jenkins_pipelines.kind import PipelineOptions
from jenkins_pipelines.models import Rendered
from jenkins_pipelines.render import render


def write(
    name: str,
    directory: Path,
    options: PipelineOptions | None = None,
    *,
    agent_label: str | None = None,
    keep_builds: int = 50,
) -> tuple[Path, Path, Path]:
    """Write definition.json, Jenkinsfile and config.xml into `directory` (made if missing); returns their paths.

    Raises PipelineError if there is no pipeline of that name.
    """
    kind = PIPELINES.get(name)
    if kind is None:
        raise PipelineError(f"There is no pipeline {name!r}; choose one of {', '.join(PIPELINES)}.")
    pipeline = kind.build(options or kind.Options())
    return write_rendered(render(pipeline, agent_label=agent_label, keep_builds=keep_builds), directory)


def write_rendered(rendered: Rendered, directory: Path) -> tuple[Path, Path, Path]:
    """Write the three files of a rendered pipeline into `directory` (made if missing); returns their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    definition, jenkinsfile, config = (directory / file for file in ("definition.json", "Jenkinsfile", "config.xml"))
    definition.write_text(json.dumps(rendered.definition, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    jenkinsfile.write_text(rendered.jenkinsfile, encoding="utf-8")
    config.write_bytes(rendered.config_xml)
    return definition, jenkinsfile, config
