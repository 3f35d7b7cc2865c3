"""Renders a pipeline for Jenkins: Jenkinsfile, config.xml and the digest that identifies its version."""

from hashlib import sha256

from jenkins_pipelines import groovy
from jenkins_pipelines.config_xml import MARKER, config_xml, marker
from jenkins_pipelines.models import Pipeline, Rendered


def render(pipeline: Pipeline, *, agent_label: str | None, keep_builds: int = 50) -> Rendered:
    """Render a pipeline; equal arguments give equal bytes.

    `agent_label` None means any agent; `keep_builds` is how many builds Jenkins keeps. The digest covers the whole
    config.xml including the script, before the digest itself is written into the description.
    """
    script = groovy.jenkinsfile(pipeline, agent_label=agent_label, keep_builds=keep_builds)
    unmarked = config_xml(pipeline, script=script, description=MARKER, keep_builds=keep_builds)
    digest = f"sha256:{sha256(unmarked).hexdigest()}"
    return Rendered(
        jenkinsfile=script,
        config_xml=config_xml(
            pipeline, script=script, description=marker(pipeline.name, digest), keep_builds=keep_builds
        ),
        digest=digest,
        definition={
            "pipeline": pipeline.model_dump(mode="json"),
            "agent_label": agent_label,
            "keep_builds": keep_builds,
        },
    )
