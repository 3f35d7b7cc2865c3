"""Rendered pipelines use only Groovy that was recorded as working, and keep any text unchanged."""

from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jenkins_pipelines import groovy
from jenkins_pipelines.catalogue import PIPELINES
from jenkins_pipelines.errors import PipelineError
from jenkins_pipelines.models import Echo, Parameter, Pipeline, Sh, Stage, Timeout, WithEnv
from jenkins_pipelines.render import render
from tests.unit.pipelines.groovy_tokens import constructs, decoded, tokens

RECORDED = Path("tests/recordings/declarative/config.xml")

# The constructs of the recorded pipeline without `when`, which is not needed, plus the agent's label.
CONSTRUCTS = {
    "pipeline {", "agent any", "agent {", "label S", "options {", "durabilityHint (S)", "disableConcurrentBuilds ()",
    "buildDiscarder (logRotator (numToKeepStr :S))", "skipDefaultCheckout ()", "stages {", "stage (S) {", "steps {",
    "parallel {", "sh S", "echo S", "withEnv ([S]) {", "withEnv ([S,S]) {", "timeout (time :N,unit :S) {", "}",
}  # fmt: skip

writable = st.text(
    st.one_of(
        st.sampled_from("'\\$\"\n\t\r\b\f{}u"),
        st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"),
    )
)


@pytest.mark.parametrize("name", PIPELINES)
@pytest.mark.parametrize("agent_label", [None, "linux && docker"])
def test_pipelines_use_only_known_groovy_constructs(name: str, agent_label: str | None) -> None:
    kind = PIPELINES[name]
    rendered = render(kind.build(kind.Options()), agent_label=agent_label)
    assert constructs(rendered.jenkinsfile) <= CONSTRUCTS


def test_known_constructs_occur_in_the_recorded_pipeline() -> None:
    script = ElementTree.fromstring(RECORDED.read_bytes()).findtext(".//script")
    assert script is not None
    assert CONSTRUCTS - constructs(script) == {"agent {", "label S", "withEnv ([S]) {"}


@settings(deadline=None, derandomize=True)
@example("\n'''")
@example("\n\\''''")
@given(writable)
def test_any_text_survives_as_groovy_string(text: str) -> None:
    literal = groovy.string(text)
    assert decoded(literal) == text
    assert list(tokens(literal)) == [("string", text)]


@pytest.mark.parametrize("text", ["\0", "\x1b[31m", "\ud800", "\uffff", "\x85", "x" * 65_536])
def test_text_that_groovy_cannot_represent_is_refused(text: str) -> None:
    with pytest.raises(PipelineError):
        groovy.string(text)


@settings(deadline=None, derandomize=True)
@given(script=writable, variable=writable, label=writable)
def test_texts_of_a_model_are_never_parsed_as_groovy_or_xml(script: str, variable: str, label: str) -> None:
    inner = WithEnv(variables={"A": variable, "B": ""}, steps=(Sh(script=script), Echo(message=label)))
    pipeline = Pipeline(
        name="any",
        description="any",
        parameters=(Parameter(name="P", description=label.translate({8: "", 12: ""})),),
        stages=(Stage(name=label, steps=(Timeout(seconds=30, steps=(inner,)),)),),
    )
    rendered = render(pipeline, agent_label=label)
    assert constructs(rendered.jenkinsfile) <= CONSTRUCTS
    strings = [text for kind, text in tokens(rendered.jenkinsfile) if kind == "string"]
    assert strings == [
        label, "MAX_SURVIVABILITY", "50", label, "SECONDS", f"A={variable}", "B=", script, label,
    ]  # fmt: skip
    job = ElementTree.fromstring(rendered.config_xml)
    assert job.findtext("definition/script") == rendered.jenkinsfile
