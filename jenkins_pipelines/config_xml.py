"""The config.xml of a pipeline's Jenkins job; a marker in its description identifies the shuttle's own jobs."""

import re
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from jenkins_pipelines.models import Parameter, Pipeline

MARKER = "managed by the build shuttle"
_DIGEST = re.compile(re.escape(MARKER) + r"; pipeline [a-z][a-z0-9-]*; digest (sha256:[0-9a-f]{64})")
_PARAMETER_ELEMENTS = {
    "string": "hudson.model.StringParameterDefinition",
    "password": "hudson.model.PasswordParameterDefinition",
}


def marker(pipeline_name: str, digest: str) -> str:
    """The description of one of the shuttle's jobs; `digest` is the `sha256:…` of the rendered pipeline."""
    return f"{MARKER}; pipeline {pipeline_name}; digest {digest}"


def digest_of(description: str) -> str | None:
    """The digest (`sha256:…`) in a job's description, or None if the job is not the shuttle's.

    The texts themselves cannot be compared, because Jenkins rewrites config.xml after the first build.
    """
    found = _DIGEST.search(description)
    return found.group(1) if found else None


def config_xml(pipeline: Pipeline, *, script: str, description: str, keep_builds: int) -> bytes:
    """The job's definition.

    Concurrency, discarder and durability are set here as well as in the script: the script's options take effect only
    after a job's first run, so two builds of a new job would run at the same time.
    """
    job = Element("flow-definition")
    SubElement(job, "description").text = description
    SubElement(job, "keepDependencies").text = "false"
    properties = SubElement(job, "properties")
    _parameters(properties, pipeline.parameters)
    _discarder(properties, keep_builds)
    SubElement(properties, "org.jenkinsci.plugins.workflow.job.properties.DisableConcurrentBuildsJobProperty")
    durability = SubElement(properties, "org.jenkinsci.plugins.workflow.job.properties.DurabilityHintJobProperty")
    SubElement(durability, "hint").text = "MAX_SURVIVABILITY"
    definition = SubElement(job, "definition", {"class": "org.jenkinsci.plugins.workflow.cps.CpsFlowDefinition"})
    SubElement(definition, "script").text = script
    SubElement(definition, "sandbox").text = "true"
    SubElement(job, "disabled").text = "false"
    indent(job)
    text: bytes = tostring(job, encoding="UTF-8", xml_declaration=True)
    return text + b"\n"


def _parameters(properties: Element, parameters: tuple[Parameter, ...]) -> None:
    if not parameters:
        return
    holder = SubElement(properties, "hudson.model.ParametersDefinitionProperty")
    definitions = SubElement(holder, "parameterDefinitions")
    for parameter in parameters:
        element = SubElement(definitions, _PARAMETER_ELEMENTS[parameter.kind])
        SubElement(element, "name").text = parameter.name
        SubElement(element, "description").text = parameter.description
        SubElement(element, "defaultValue").text = ""
        if parameter.kind == "string":
            SubElement(element, "trim").text = "false"


def _discarder(properties: Element, keep_builds: int) -> None:
    strategy = SubElement(
        SubElement(properties, "jenkins.model.BuildDiscarderProperty"),
        "strategy",
        {"class": "hudson.tasks.LogRotator"},
    )
    for name, number in (
        ("daysToKeep", -1),
        ("numToKeep", keep_builds),
        ("artifactDaysToKeep", -1),
        ("artifactNumToKeep", -1),
    ):
        SubElement(strategy, name).text = str(number)
