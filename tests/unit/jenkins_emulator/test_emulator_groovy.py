"""The script language: strings are decoded exactly, and constructs outside of the subset reported with position."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jenkins_emulator.declarative import compile_pipeline
from jenkins_emulator.groovy_strings import ScriptError
from jenkins_emulator.pipeline import AnyOf, Echo, EnvironmentIs, Not, Options, Pipeline, Sh, Timeout, WithEnv

EVERYTHING = """
// a comment
pipeline {
  agent { label 'big one' }
  options {
    timeout(time: 2)
    disableConcurrentBuilds()
    buildDiscarder(logRotator(numToKeepStr: '7'))
    durabilityHint('MAX_SURVIVABILITY')
    skipDefaultCheckout()
  }
  stages {
    stage('a') {
      when {
        not { environment name: 'A', value: 'b' }
      }
      steps {
        withEnv([
          'X=1',
          'Y=a=b',
        ]) {
          timeout(time: 3, unit: 'SECONDS') { sh(script: 'x') }
        }
      }
    }
    stage('b') {
      when { anyOf {
        environment name: 'A', value: '1'
        environment name: 'B', value: '2'
      } }
      parallel {
        stage('c') { steps { echo 'c' } }
        stage('d') { steps { echo 'd' } }
      }
    }
  }
  post {
    cleanup { echo 'x' }
    unsuccessful { error 'y' }
  }
}
"""


def compile_steps(steps: str) -> Pipeline:
    return compile_pipeline(f"pipeline {{\n agent any\n stages {{\n stage('s') {{\n steps {{\n{steps}\n}}\n}}\n}}\n}}")


def first_step(steps: str) -> object:
    return (compile_steps(steps).stages[0].steps or ())[0]


@pytest.mark.parametrize(
    ("literal", "value"),
    [
        (r"'plain $HOME ${x} #'", "plain $HOME ${x} #"),
        (r"'it\'s \"q\" \\ \$'", 'it\'s "q" \\ $'),
        (r"'\t\n\r\b\f'", "\t\n\r\b\f"),
        (r"'\u00e9\uuu20ac\ud83d\ude00'", "é€😀"),
        (r"'\101\0\18'", "A\0\x018"),
        ("'''two\nlines with ' and '' in them'''", "two\nlines with ' and '' in them"),
        ("'''ends in \\''''", "ends in '"),
        ("'''joined \\\nlines'''", "joined lines"),
        ("''", ""),
        ("'// no comment'", "// no comment"),
    ],
)
def test_strings_decode_as_groovy_does(literal: str, value: str) -> None:
    assert first_step(f"echo {literal}") == Echo(value)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_any_text_survives_escaping(text: str) -> None:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r")
    assert first_step(f"sh '{escaped}'") == Sh(text)


@pytest.mark.parametrize(
    ("script", "message", "line", "column"),
    [
        ("pipeline { nope", "expecting '}', found ''", 1, 16),
        ("node {\n sh 'x'\n}", "one declarative pipeline", 1, 1),
        ("pipeline {\n stages {\n stage('a') {\n steps {\n sh 'x'\n }\n }\n }\n}", '"agent"', 1, 1),
        ('pipeline {\n agent any\n stages {\n stage("a") {\n', "unexpected char", 4, 8),
        ("pipeline {\n agent any\n stages {\n stage('a') { steps { sh 'x' } post { always { sh 'y' } } }\n }\n}",
         "line break before 'post'", 4, 32),
        ("pipeline {\n agent any\n stages {\n stage('a') {\n steps {\n input 'x'\n}}}}", "No such DSL method", 6, 2),
        ("pipeline {\n agent any\n stages {\n stage('a') {\n steps {\n sh 'x\n'\n}}}}", "end of the line", 6, 5),
        (r"pipeline { agent any; stages { stage('\x') {", "unexpected escape", 1, 38),
        ("pipeline {\n agent any\n agent any\n}", "Multiple occurrences", 3, 2),
        ("pipeline {\n agent any\n stages {\n stage('a') {\n steps {\n sh 'x' + 'y'\n}}}}", "unexpected char", 6, 9),
        ("pipeline {\n agent any\n options {\n timeout(time: 1, unit: ['x'])\n}\n stages {}\n}", "timeout takes", 4, 2),
        ("pipeline {\n agent any\n options {\n buildDiscarder(logRotator(numToKeepStr: '²'))\n}\n stages {}\n}",
         "buildDiscarder takes", 4, 2),
    ],
)  # fmt: skip
def test_invalid_construct_is_reported_with_its_position(script: str, message: str, line: int, column: int) -> None:
    with pytest.raises(ScriptError) as caught:
        compile_pipeline(script)
    assert message in caught.value.message
    assert (caught.value.line, caught.value.column) == (line, column)
    assert f"WorkflowScript: {line}: " in caught.value.console(script)


def test_all_sections_and_arguments_are_compiled() -> None:
    pipeline = compile_pipeline(EVERYTHING)
    assert pipeline.label == "big one"
    assert pipeline.options == Options(120.0, True, 7, "MAX_SURVIVABILITY")
    assert pipeline.stages[0].when == Not(EnvironmentIs("A", "b"))
    assert pipeline.stages[0].steps == (WithEnv(("X=1", "Y=a=b"), (Timeout(3.0, (Sh("x"),)),)),)
    assert pipeline.stages[1].when == AnyOf((EnvironmentIs("A", "1"), EnvironmentIs("B", "2")))
    assert [stage.name for stage in pipeline.stages[1].parallel or ()] == ["c", "d"]
    assert set(pipeline.post) == {"cleanup", "unsuccessful"}
