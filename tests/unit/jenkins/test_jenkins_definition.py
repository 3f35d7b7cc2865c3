"""Comparing two config.xml: additions by Jenkins are no difference, edits by a person are."""

from pathlib import Path

import pytest

from jenkins_pipelines.catalogue import PIPELINES
from jenkins_pipelines.render import render
from shuttle.jenkins.definition import read_definition
from tests.unit.jenkins.recorded import recorded, recorded_2568

DECLARATIVE = Path("tests/recordings/declarative")
KEPT = (DECLARATIVE / "config-after-a-build.xml").read_bytes()


def without_placeholders(recording: bytes) -> bytes:
    """Make the recording valid XML: its placeholder for an encrypted value is not."""
    return recording.replace(b"<encrypted>", b"AQAAABAAAA")


def ours() -> bytes:
    kind = PIPELINES["script"]
    return render(kind.build(kind.Options.model_validate({})), agent_label="linux").config_xml


def test_the_config_after_a_build_differs_from_the_posted_one_only_in_concurrency():
    posted, kept = read_definition((DECLARATIVE / "config.xml").read_bytes()), read_definition(KEPT)
    assert posted is not None
    assert kept is not None
    # The posted file had no properties: the script's options added them.
    assert posted.differences(kept) == ["one_at_a_time"]


def test_both_generations_store_the_same_definition():
    kept = read_definition(without_placeholders(recorded_2568("K-declarative-006-config.xml_kept").body))
    assert kept == read_definition(KEPT)


@pytest.mark.parametrize(
    "body",
    [recorded("B-sec-047-config_get").body, without_placeholders(recorded_2568("B-jobs-023-config.xml_get").body)],
    ids=["2.263.4", "2.568.1"],
)
def test_xml_1_1_is_read(body):
    definition = read_definition(body)
    assert definition is not None
    assert definition.script.startswith("pipeline {")
    assert definition.sandbox
    assert not definition.disabled
    assert not definition.one_at_a_time


def test_the_config_of_our_jobs_is_read():
    definition = read_definition(ours())
    assert definition is not None
    assert definition.one_at_a_time
    assert ("hudson.model.StringParameterDefinition", "BUILD_UUID") in definition.parameters


EDITS = {
    "script": (b"<script>", b"<script>// mine\n"),
    "sandbox": (b"<sandbox>true", b"<sandbox>false"),
    "disabled": (b"<disabled>false", b"<disabled>true"),
    "one_at_a_time": (b"DisableConcurrentBuildsJobProperty", b"AnotherJobProperty"),
    "parameters": (b"<name>BUILD_UUID<", b"<name>UUID<"),
    "kind": (b"cps.CpsFlowDefinition", b"cps.CpsScmFlowDefinition"),
}


@pytest.mark.parametrize("fact", EDITS)
def test_each_edit_is_named(fact):
    was, becomes = EDITS[fact]
    assert was in ours()
    before, after = read_definition(ours()), read_definition(ours().replace(was, becomes))
    assert before is not None
    assert after is not None
    assert before.differences(after) == [fact]


def test_description_attributes_and_line_ends_are_no_difference():
    kept = ours().replace(b"<flow-definition>", b'<flow-definition plugin="workflow-job@2.40"><actions/>')
    kept = kept.replace(b"<description>managed", b"<description>still managed").replace(
        b"\n  stages", b"&#13;\n  stages"
    )
    assert b"&#13;" in kept
    assert read_definition(kept) == read_definition(ours())


@pytest.mark.parametrize("body", [b"", b"<html><br></html>", b"\xff\xfe", b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'])
def test_an_invalid_config_xml_gives_no_definition(body):
    assert read_definition(body) is None
