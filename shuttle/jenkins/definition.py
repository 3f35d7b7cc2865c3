"""The properties of a config.xml that decide how a job runs, to compare the job in Jenkins with ours.

The files themselves cannot be compared: Jenkins adds actions, attributes and defaults when it loads config.xml, and
after builds.
"""

import re
from dataclasses import dataclass
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
from defusedxml import DefusedXmlException

_DECLARATION = re.compile(r"\A\ufeff?\s*<\?xml[^>]*\?>\s*")
_PARAMETERS = "properties/hudson.model.ParametersDefinitionProperty/parameterDefinitions/*"
_ONE_AT_A_TIME = "properties/org.jenkinsci.plugins.workflow.job.properties.DisableConcurrentBuildsJobProperty"


@dataclass(frozen=True, slots=True)
class JobDefinition:
    """Jobs with equal definitions run our builds in the same way."""

    kind: str
    script: str
    sandbox: bool
    disabled: bool
    one_at_a_time: bool
    parameters: frozenset[tuple[str, str]]

    def differences(self, other: "JobDefinition") -> list[str]:
        """The names of the properties that differ, for a log line."""
        return [name for name in self.__slots__ if getattr(self, name) != getattr(other, name)]


def read_definition(config_xml: bytes) -> JobDefinition | None:
    """The definition in a config.xml; None if it cannot be read.

    Jenkins writes XML 1.1. Expat refuses only its declaration, so that is removed.
    """
    try:
        root: Element = defusedxml.ElementTree.fromstring(_DECLARATION.sub("", config_xml.decode()))
    except (ParseError, DefusedXmlException, ValueError):
        return None
    definition = root.find("definition")
    return JobDefinition(
        kind=root.tag if definition is None else definition.get("class", ""),
        script=_text(root, "definition/script").replace("\r\n", "\n").strip(),
        sandbox=_text(root, "definition/sandbox") == "true",
        disabled=_text(root, "disabled") == "true",
        one_at_a_time=root.find(_ONE_AT_A_TIME) is not None,
        parameters=frozenset((parameter.tag, _text(parameter, "name")) for parameter in root.iterfind(_PARAMETERS)),
    )


def _text(element: Element, path: str) -> str:
    return (element.findtext(path) or "").strip("\n")
