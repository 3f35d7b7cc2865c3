"""The checks of `shuttle doctor` in Jenkins: credentials, each permission by using it, and a trial build."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import suppress
from dataclasses import replace
from urllib.parse import urlsplit
from xml.etree.ElementTree import SubElement, tostring

from defusedxml.ElementTree import fromstring
from pydantic import SecretStr

from jenkins_pipelines.catalogue import PIPELINES
from jenkins_pipelines.models import Rendered
from jenkins_pipelines.render import render
from shuttle.build import job_name_of
from shuttle.cli.findings import Finding, Verdict, fine, problem, warning
from shuttle.cli.trial_build import APP_ID, TrialBuild
from shuttle.errors import (
    ForeignJobError,
    JenkinsRefusedError,
    JenkinsUnavailableError,
    JobNotReadyError,
    ShuttleError,
)
from shuttle.jenkins import Jenkins, StopCommand
from shuttle.jenkins.client import JenkinsClient
from shuttle.outgoing.tls import tls_context
from shuttle.settings import Settings

_JENKINS = "Jenkins"
# Jenkins refuses a deletion after it has waited 15 seconds for a running build; then it is tried again.
_DELETIONS = 3
_PAUSE_SECONDS = 0.5
# The job is created with the first one, and then changed to the second one.
_TWO_PIPELINES = tuple(PIPELINES.values())[:2]


async def examine_jenkins(
    settings: Settings, *, try_jobs: bool, wait_seconds: float, programs: bool
) -> AsyncIterator[Finding]:
    """Check the credentials, and with `try_jobs` everything that the service does in Jenkins, for each controller.

    With `programs`, the versions of an agent's programs are findings, too.
    """
    for name, url in settings.controllers.items():
        subject = "Jenkins" if len(settings.controllers) == 1 else f"Jenkins {name}"
        one = settings.model_copy(update={"jenkins_url": SecretStr(f"{name}={url}")})
        async for finding in _examine(url, one, try_jobs=try_jobs, wait_seconds=wait_seconds, programs=programs):
            yield replace(finding, subject=subject)


async def _examine(
    url: str, settings: Settings, *, try_jobs: bool, wait_seconds: float, programs: bool
) -> AsyncIterator[Finding]:
    """Check one controller, the only one in `settings`."""
    requests: list[str] = []
    jenkins = JenkinsClient(
        url,
        ssl_context=tls_context(settings.shuttle_ca_file),
        observe=lambda kind, _seconds: requests.append(kind),
    )
    try:
        await jenkins.check()
        has_credentials = urlsplit(url).username is not None
        yield fine(_JENKINS, "answers, and accepts the credentials of JENKINS_URL." if has_credentials else "answers.")
        if try_jobs:
            async for finding in _JobsExamination(jenkins, settings, wait_seconds, programs=programs).run():
                yield finding
        if has_credentials and "crumb" in requests:  # an API token needs no crumb
            sentence = (
                "use an API token in JENKINS_URL: with a password, Jenkins answers 29 requests a second, not 1,300."
            )
            yield warning(_JENKINS, sentence)
    except ShuttleError as error:
        yield problem(_JENKINS, error.message)
    finally:
        await jenkins.close()


class _JobsExamination:
    """Creates a job, changes, runs and deletes it. If a permission is missing, the job is still deleted, or a finding
    says which job is left."""

    def __init__(self, jenkins: Jenkins, settings: Settings, wait_seconds: float, *, programs: bool) -> None:
        self._jenkins = jenkins
        self._settings = settings
        self._wait_seconds = wait_seconds
        self._programs = programs
        self._job = job_name_of(APP_ID, settings.shuttle_jenkins_folder)
        self._made = False
        self._may_be_there = True
        self._hidden = False

    async def run(self) -> AsyncIterator[Finding]:
        """The findings, in the order in which the service needs the permissions."""
        removed: Finding | None = None
        try:
            async for finding in self._use():
                yield finding
        except ForeignJobError:
            self._may_be_there = False
            yield problem(_JENKINS, f"the job {self._job} exists but is not the shuttle's; rename it.")
        except ShuttleError as error:
            yield problem(_JENKINS, error.message)
        finally:
            # The job is removed even if the doctor is interrupted.
            removed = await self._remove()
        if removed is not None:
            yield removed

    async def _use(self) -> AsyncIterator[Finding]:
        """Check permissions with a disabled job, which never runs; if all are granted, run a build like the service."""
        jenkins, job = self._jenkins, self._job
        first, second = (_disabled(render(kind.build(kind.Options()), agent_label=None)) for kind in _TWO_PIPELINES)
        created = await self._attempt("Job/Create is granted.", jenkins.apply_job(job, first.config_xml, first.digest))
        yield created
        self._made = created.verdict is Verdict.FINE
        self._may_be_there = self._made or self._hidden
        if not self._made:
            return
        sentence = "Job/Read and Job/Configure are granted."
        changed = await self._attempt(sentence, jenkins.apply_job(job, second.config_xml, second.digest))
        yield changed
        if self._hidden:
            return
        started = await self._attempt("Job/Build is granted.", self._start_disabled())
        yield started
        if changed.verdict is started.verdict is Verdict.FINE:
            async for finding in self._run_build():
                yield finding

    async def _attempt(self, granted: str, call: Awaitable[object]) -> Finding:
        try:
            await call
        except JenkinsRefusedError as error:
            self._hidden = self._hidden or error.permission == "Job/Read"
            return problem(_JENKINS, error.message)
        return fine(_JENKINS, granted)

    async def _start_disabled(self) -> None:
        with suppress(JobNotReadyError):  # Jenkins checks the permission before it says that the job is disabled
            await self._jenkins.trigger(self._job, {})
            raise JenkinsUnavailableError(f"Jenkins started the disabled job {self._job}; look at it in Jenkins.")

    async def _run_build(self) -> AsyncIterator[Finding]:
        """Run a build as the service does, then check the permissions that need a build."""
        trial = TrialBuild(self._settings, self._wait_seconds, programs=self._programs)
        async for finding in trial.run():
            yield finding
        if trial.number is None:
            return
        yield await self._attempt(
            "Job/Cancel is granted.", self._jenkins.stop(self._job, trial.number, StopCommand.STOP)
        )
        words = self._jenkins.describe(self._job, trial.number, "A build of `shuttle doctor`.")
        described = await self._attempt("Run/Update is granted.", words)
        if described.verdict is not Verdict.FINE:
            sentence = f"{described.sentence} Without it Jenkins' pages do not show a build's human_readable_info."
            described = warning(_JENKINS, sentence)
        yield described

    async def _remove(self) -> Finding | None:
        """Delete the job; None if there was none."""
        if not self._may_be_there:
            return None
        if self._hidden:
            return problem(_JENKINS, f"Without Job/Read the job {self._job} cannot be deleted: delete it.")
        for attempts_left in reversed(range(_DELETIONS)):
            try:
                await self._jenkins.delete_job(self._job)
            except JenkinsUnavailableError as error:
                if attempts_left == 0:
                    return problem(_JENKINS, f"{error.message} The job {self._job} may be left: delete it.")
                await asyncio.sleep(_PAUSE_SECONDS)
            except ShuttleError as error:
                return problem(_JENKINS, f"{error.message} The job {self._job} is left: delete it.")
            else:
                break
        return fine(_JENKINS, "Job/Delete is granted.") if self._made else None


def _disabled(rendered: Rendered) -> Rendered:
    job = fromstring(rendered.config_xml)
    for disabled in job.findall("disabled"):
        job.remove(disabled)
    SubElement(job, "disabled").text = "true"
    text: bytes = tostring(job, encoding="UTF-8", xml_declaration=True)
    return rendered.model_copy(update={"config_xml": text})
