"""Models, fragments, the marker and the files of rendered pipelines."""

import json
import re
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from pydantic import ValidationError

from jenkins_pipelines.catalogue import DEFAULT_PIPELINE, PIPELINES
from jenkins_pipelines.config_xml import MARKER, digest_of
from jenkins_pipelines.errors import PipelineError
from jenkins_pipelines.fragment import Fragment, combine
from jenkins_pipelines.fragments.supervised import supervised
from jenkins_pipelines.models import Echo, Parameter, Pipeline, Stage
from jenkins_pipelines.render import render
from jenkins_pipelines.write import write
from tests.unit.pipelines.groovy_tokens import tokens

HELLO = Stage(name="hello", steps=(Echo(message="hello"),))
ECHO = {"kind": "echo", "message": "hello"}


def rendered(name: str, **options):
    kind = PIPELINES[name]
    return render(kind.build(kind.Options()), **({"agent_label": None} | options))


def test_fragments_with_the_same_stage_name_are_refused() -> None:
    with pytest.raises(PipelineError, match="the stage hello"):
        combine("p", "", Fragment(stages=(HELLO,)), Fragment(stages=(HELLO,)))


def test_equal_parameters_are_merged_and_different_ones_refused() -> None:
    public = Fragment(parameters=(Parameter(name="TOKEN"),), stages=(HELLO,))
    secret = Fragment(parameters=(Parameter(name="TOKEN", kind="password"),))
    with pytest.raises(PipelineError, match="TOKEN"):
        combine("p", "", public, secret)
    same = combine("p", "", public, Fragment(parameters=public.parameters))
    assert same.parameters == public.parameters


def test_job_has_parameters_for_build_uuid_url_and_token() -> None:
    job = ElementTree.fromstring(rendered("script").config_xml)
    definitions = job.find("properties/hudson.model.ParametersDefinitionProperty/parameterDefinitions")
    assert definitions is not None
    assert [(definition.tag.rsplit(".", 1)[1], definition.findtext("name")) for definition in definitions] == [
        ("StringParameterDefinition", "BUILD_UUID"),
        ("StringParameterDefinition", "SHUTTLE_URL"),
        ("PasswordParameterDefinition", "SHUTTLE_TOKEN"),
    ]


def test_job_has_its_properties_before_its_first_run() -> None:
    job = ElementTree.fromstring(rendered("docker-image", keep_builds=7).config_xml)
    workflow = "properties/org.jenkinsci.plugins.workflow.job.properties"
    assert job.find(f"{workflow}.DisableConcurrentBuildsJobProperty") is not None
    assert job.findtext(f"{workflow}.DurabilityHintJobProperty/hint") == "MAX_SURVIVABILITY"
    assert job.findtext("properties/jenkins.model.BuildDiscarderProperty/strategy/numToKeep") == "7"
    assert job.findtext("definition/sandbox") == "true"


def test_description_identifies_own_jobs_and_their_version() -> None:
    one, again, other = rendered("script"), rendered("script"), rendered("script", agent_label="linux")
    description = ElementTree.fromstring(one.config_xml).findtext("description")
    assert description == f"{MARKER}; pipeline script; digest {one.digest}"
    assert digest_of(description) == one.digest
    assert digest_of(f"A note by the operator.\n{description}\nAnother.") == one.digest
    assert one == again
    assert len({one.digest, other.digest, rendered("script", keep_builds=51).digest}) == 3


@pytest.mark.parametrize("description", ["", "my own job", MARKER, f"{MARKER}; pipeline x; digest sha256:12"])
def test_job_without_the_complete_marker_is_foreign(description: str) -> None:
    assert digest_of(description) is None


@pytest.mark.parametrize("name", PIPELINES)
def test_pipeline_is_one_untraced_step_within_the_groovy_limit(name: str) -> None:
    found = list(tokens(rendered(name).jenkinsfile))
    (script,) = (text for before, (_, text) in pairwise(found) if before == ("word", "sh"))
    assert script.startswith("#!/bin/sh\n{\n")
    assert script.endswith("\nexit\n}\n")
    assert len(script.encode()) < 60_000


# The scripts of a pipeline's stages, in the order in which they run; a stage that has several texts has one code.
STATES = {
    "docker-image": {"fetch": 10, "build": 20, "push": 95},
    "script": {"fetch": 10, "build": 20, "artifacts": 95},
    "packer-image": {"fetch": 10, "RunBerksVendor": 20, "RunPacker": 25, "KitchenTest": 75, "DockerClean": 95},
}


@pytest.mark.parametrize("name", PIPELINES)
def test_states_of_a_pipeline_rise(name: str) -> None:
    text = "".join(text for _, text in tokens(rendered(name).jenkinsfile))
    # $state_of_build is 20 unless the pipeline's model has another one.
    text = text.replace('"$state_of_build"', "20")
    reported = re.findall(r"begin_stage (\w+) '[^']*' (\d+)$", text, re.MULTILINE)
    states = {stage: int(code) for stage, code in reported}
    assert states == STATES[name]
    assert len(set(reported)) == len(states)
    assert [0, *states.values(), 100] == sorted({0, *states.values(), 100})


def test_options_of_a_request_do_not_change_the_job() -> None:
    kind = PIPELINES["docker-image"]
    with_option = kind.build(kind.Options.model_validate({"dockerfile": "somewhere/else"}))
    assert with_option == kind.build(kind.Options())


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "", "a\nb", "a\0b"])
def test_dockerfile_outside_of_the_source_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="dockerfile"):
        PIPELINES["docker-image"].Options.model_validate({"dockerfile": path})


def test_unknown_options_are_refused() -> None:
    with pytest.raises(ValueError, match="extra"):
        PIPELINES["script"].Options.model_validate({"comand": "x"})


@pytest.mark.parametrize(
    ("name", "needs_destination", "accepts_image_source"),
    [("docker-image", True, True), ("script", False, False), ("packer-image", False, False)],
)
def test_pipelines_that_callers_name(name: str, needs_destination: bool, accepts_image_source: bool) -> None:
    kind = PIPELINES[name]
    assert (kind.needs_destination, kind.accepts_image_source) == (needs_destination, accepts_image_source)


def test_docker_image_is_the_default_pipeline() -> None:
    assert DEFAULT_PIPELINE == "docker-image"


def test_write_makes_three_files(tmp_path: Path) -> None:
    paths = write("script", tmp_path / "new", agent_label="linux")
    assert [path.name for path in paths] == ["definition.json", "Jenkinsfile", "config.xml"]
    same = rendered("script", agent_label="linux")
    assert json.loads(paths[0].read_text()) == same.definition
    assert paths[1].read_text() == same.jenkinsfile
    assert paths[2].read_bytes() == same.config_xml


def test_write_of_unknown_pipeline_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="docker-image, script"):
        write("nope", tmp_path)


def test_agent_scripts_read_output_of_commands_with_backticks_only() -> None:
    """bash 5.2 parses `$(…)` each time it executes it, and a trap that runs meanwhile breaks the shell."""
    scripts = Path("jenkins_pipelines/shell")
    # These run in shells without a trap.
    without_trap = {"become.sh", "start.sh"}
    found = [
        f"{path.name}: {line}"
        for path in sorted(scripts.glob("*.sh"))
        if path.name not in without_trap
        for line in path.read_text().splitlines()
        if re.search(r"\$\([^(]|\$\($", line.partition("# ")[0])
    ]
    assert found == []


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([{"name": "a"}], "either steps or parallel branches"),
        ([{"name": "a", "steps": [ECHO], "parallel": [{"name": "b", "steps": [ECHO]}]}], "either steps or parallel"),
        ([{"name": "a", "parallel": [{"name": "b", "steps": [ECHO]}] * 2}], "same name"),
        ([{"name": "a", "parallel": [{"name": "main", "steps": [ECHO]}]}], "the name main"),
        ([{"name": "a", "parallel": [{"name": "a b", "steps": [ECHO]}]}], "pattern"),
        ([{"name": "a", "parallel": [{"name": "b", "steps": []}]}], "at least 1 item"),
        ([{"name": "a", "steps": [ECHO], "state": 101}], "less than or equal to 100"),
        ([{"name": "a", "steps": [ECHO], "state": 20}, {"name": "b", "steps": [ECHO], "state": 20}], "must rise"),
    ],
    ids=str,
)
def test_invalid_stages_are_refused(stages: list[dict[str, object]], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Pipeline.model_validate({"name": "p", "description": "", "parameters": [], "stages": stages})


def test_model_is_read_back_from_its_definition() -> None:
    stages = supervised("links", "run_script", state=40, branches=("linux", "mac")).stages
    pipeline = Pipeline(name="p", description="", parameters=(), stages=stages)
    assert Pipeline.model_validate(render(pipeline, agent_label=None).definition["pipeline"]) == pipeline
