"""The recorded jobs, in the declarative subset that the shuttle renders and the emulated Jenkins runs."""

from xml.sax.saxutils import escape

# Half a second per tick: long enough to look at a running build, short enough to wait for its end.
TICKS = 'i=0; while [ $i -lt $SECS ]; do echo "tick $i for $WHO <tag>"; i=$((i+1)); sleep 0.5; done'
IGNORES_TERM = "trap : TERM; i=0; while [ $i -lt 60 ]; do echo tick $i; i=$((i+1)); sleep 0.5 || true; done"


def step(line: str) -> str:
    """A declarative pipeline with one step."""
    stage = f"    stage('run') {{\n      steps {{\n        {line}\n      }}\n    }}\n"
    return f"pipeline {{\n  agent any\n  stages {{\n{stage}  }}\n}}\n"


def sh(script: str) -> str:
    quoted = script.replace("\\", "\\\\").replace("'", "\\'")
    return f"sh '{quoted}'"


def job_xml(
    script: str | None = None, *, parameters: bool = True, quiet: int | None = None, serial: bool = False
) -> str:
    """A job like the recorded ones: with the parameters WHO and SECS; it ticks by default."""
    one_at_a_time = (
        "<org.jenkinsci.plugins.workflow.job.properties.DisableConcurrentBuildsJobProperty/>" if serial else ""
    )
    definitions = "".join(
        "<hudson.model.StringParameterDefinition>"
        f"<name>{name}</name><description>{text}</description><defaultValue>{default}</defaultValue><trim>false</trim>"
        "</hudson.model.StringParameterDefinition>"
        for name, text, default in (("WHO", "who", "world"), ("SECS", "", "5"))
    )
    parameters_property = (
        "<hudson.model.ParametersDefinitionProperty><parameterDefinitions>"
        f"{definitions}</parameterDefinitions></hudson.model.ParametersDefinitionProperty>"
    )
    return (
        "<?xml version='1.1' encoding='UTF-8'?>\n<flow-definition><description>lab pipeline</description>"
        "<keepDependencies>false</keepDependencies>"
        f"<properties>{one_at_a_time}{parameters_property if parameters else ''}</properties>"
        '<definition class="org.jenkinsci.plugins.workflow.cps.CpsFlowDefinition">'
        f"<script>{escape(script or step(sh(TICKS)))}</script><sandbox>true</sandbox></definition><triggers/>"
        f"{'' if quiet is None else f'<quietPeriod>{quiet}</quietPeriod>'}<disabled>false</disabled></flow-definition>"
    )


def shuttle_xml(
    script: str = "echo up; sleep 60", *, label: str = "", parameters: bool = True, serial: bool = False
) -> str:
    """A job like those of the newer recording: a marker and a password as parameters, a script that is not traced."""
    one_at_a_time = (
        "<org.jenkinsci.plugins.workflow.job.properties.DisableConcurrentBuildsJobProperty/>" if serial else ""
    )
    definitions = (
        "<hudson.model.ParametersDefinitionProperty><parameterDefinitions>"
        "<hudson.model.StringParameterDefinition><name>BUILD_UUID</name></hudson.model.StringParameterDefinition>"
        "<hudson.model.PasswordParameterDefinition><name>SHUTTLE_TOKEN</name></hudson.model.PasswordParameterDefinition>"
        "</parameterDefinitions></hudson.model.ParametersDefinitionProperty>"
    )
    pipeline = step(sh(f"#!/bin/sh\n{script}").replace("\n", "\\n"))
    if label:
        pipeline = pipeline.replace("agent any", f"agent {{\n    label '{label}'\n  }}")
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<flow-definition><description>managed by build shuttle</description>'
        f"<properties>{one_at_a_time}{definitions if parameters else ''}</properties>"
        '<definition class="org.jenkinsci.plugins.workflow.cps.CpsFlowDefinition">'
        f"<script>{escape(pipeline)}</script><sandbox>true</sandbox></definition>"
        "<disabled>false</disabled></flow-definition>"
    )
