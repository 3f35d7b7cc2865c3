"""A job's config.xml: what it defines, and how Jenkins stores and rewrites it."""

import re
from dataclasses import dataclass
from xml.etree import ElementTree

import defusedxml.ElementTree
from defusedxml import DefusedXmlException

from jenkins_emulator.pipeline import Options
from jenkins_emulator.sealing import Seal

JOB_TAG = "flow-definition"
FOLDER_TAG = "com.cloudbees.hudson.plugins.folder.Folder"

_DECLARATION = re.compile(r"^\ufeff?\s*<\?xml[^>]*\?>\s*")
_ENCODING = re.compile(rb"^[^>]*encoding=[\"']([A-Za-z0-9._-]+)[\"']")
_JOB_PROPERTY = "org.jenkinsci.plugins.workflow.job.properties."
_DISABLE_CONCURRENT = f"{_JOB_PROPERTY}DisableConcurrentBuildsJobProperty"
_DURABILITY = f"{_JOB_PROPERTY}DurabilityHintJobProperty"
_DISCARDER = "jenkins.model.BuildDiscarderProperty"
_DECLARATIVE_ACTION = "org.jenkinsci.plugins.pipeline.modeldefinition.actions.DeclarativeJobAction"
_PARAMETERS = "properties/hudson.model.ParametersDefinitionProperty/parameterDefinitions/*"
_PASSWORD_TAG = "hudson.model.PasswordParameterDefinition"  # noqa: S105  # an element's name


class ConfigError(Exception):
    """This Jenkins cannot load the config.xml; Jenkins answers 500."""


@dataclass(frozen=True)
class ParameterDefinition:
    """A parameter. `kind` is the class name: StringParameterDefinition, PasswordParameterDefinition, …"""

    kind: str
    name: str
    default: str
    description: str | None

    @property
    def is_secret(self) -> bool:
        """Whether the API never shows it and it is encrypted on disk."""
        return self.kind == "PasswordParameterDefinition"


@dataclass(frozen=True)
class JobDefinition:
    """The definition of a job; None stands for what config.xml does not define."""

    description: str | None
    parameters: tuple[ParameterDefinition, ...]
    script: str
    concurrent: bool
    quiet_period_seconds: float | None
    builds_to_keep: int | None
    disabled: bool


def read(body: bytes) -> ElementTree.Element:
    """The root element; raises ConfigError if the body is not XML, or of a type that this Jenkins does not know."""
    declared = _ENCODING.match(body)
    try:
        text = body.decode(declared.group(1).decode() if declared else "utf-8")
        # Jenkins writes XML 1.1, which expat refuses because of the declaration.
        root: ElementTree.Element = defusedxml.ElementTree.fromstring(_DECLARATION.sub("", text))
    except (ElementTree.ParseError, DefusedXmlException, UnicodeDecodeError, LookupError, ValueError) as error:
        raise ConfigError(str(error)) from error
    if root.tag not in (JOB_TAG, FOLDER_TAG):
        raise ConfigError(f"no item type {root.tag}")
    return root


def write(root: ElementTree.Element, *, rewritten: bool = False) -> str:
    """The text of `GET config.xml`: XML 1.1. Posted and rewritten files differ in their declaration (recorded)."""
    declaration = "<?xml version='1.1' encoding='UTF-8'?>\n" if rewritten else '<?xml version="1.1" encoding="UTF-8"?>'
    # ElementTree escapes every > in texts and attributes, so this replaces only the ends of empty elements.
    return declaration + ElementTree.tostring(root, encoding="unicode").replace(" />", "/>")


def folder_config() -> ElementTree.Element:
    """The configuration of a folder that was made without a config.xml."""
    return ElementTree.Element(FOLDER_TAG)


def definition(root: ElementTree.Element, seal: Seal) -> JobDefinition:
    """The definition in a job's root element, with decrypted defaults of secret parameters."""
    quiet_period = (root.findtext("quietPeriod") or "").strip()
    to_keep = (root.findtext(f"properties/{_DISCARDER}/strategy/numToKeep") or "").strip()
    return JobDefinition(
        description=root.findtext("description"),
        parameters=tuple(_parameter(element, seal) for element in root.findall(_PARAMETERS)),
        script=root.findtext("definition/script") or "",
        concurrent=root.find(f"properties/{_DISABLE_CONCURRENT}") is None,
        quiet_period_seconds=float(quiet_period) if quiet_period.isdecimal() else None,
        builds_to_keep=int(to_keep) if to_keep.isdecimal() and int(to_keep) > 0 else None,
        disabled=(root.findtext("disabled") or "").strip() == "true",
    )


def _parameter(element: ElementTree.Element, seal: Seal) -> ParameterDefinition:
    default = element.findtext("defaultValue") or ""
    return ParameterDefinition(
        kind=element.tag.rpartition(".")[2],
        name=element.findtext("name") or "",
        default=seal.unseal(default) if element.tag == _PASSWORD_TAG else default,
        description=element.findtext("description"),
    )


def seal_defaults(root: ElementTree.Element, seal: Seal) -> None:
    """Encrypt the defaults of password parameters that are still plain text."""
    for element in root.findall(_PARAMETERS):
        default = element.find("defaultValue")
        if element.tag == _PASSWORD_TAG and default is not None and default.text and default.text[0] != "{":
            default.text = seal.seal(default.text)


def set_disabled(root: ElementTree.Element, *, disabled: bool) -> None:
    """Write the `disabled` element."""
    _child(root, "disabled").text = "true" if disabled else "false"


def set_description(root: ElementTree.Element, text: str) -> None:
    """Write the `description` element."""
    _child(root, "description").text = text


def adopt_options(root: ElementTree.Element, options: Options) -> bool:
    """Write the script's options into the job's properties, as Jenkins does after a build; True if any changed."""
    before = ElementTree.tostring(root)
    root.set("plugin", "workflow-job@2.40")
    actions = root.find("actions")
    if actions is None:
        actions = ElementTree.Element("actions")
        root.insert(0, actions)
    _child(actions, _DECLARATIVE_ACTION).set("plugin", "pipeline-model-definition@1.8.4")
    _child(root, "keepDependencies").text = "false"
    properties = _child(root, "properties")
    if options.disable_concurrent_builds:
        _child(properties, _DISABLE_CONCURRENT)
    if options.durability is not None:
        _child(_child(properties, _DURABILITY), "hint").text = options.durability
    if options.builds_to_keep is not None:
        strategy = _child(_child(properties, _DISCARDER), "strategy")
        strategy.set("class", "hudson.tasks.LogRotator")
        _child(strategy, "numToKeep").text = str(options.builds_to_keep)
    _child(root, "disabled").text = root.findtext("disabled") or "false"
    return ElementTree.tostring(root) != before


def _child(parent: ElementTree.Element, tag: str) -> ElementTree.Element:
    found = parent.find(tag)
    return ElementTree.SubElement(parent, tag) if found is None else found
