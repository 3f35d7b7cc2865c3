"""What `shuttle doctor` examines, one function a subject; every finding is one sentence that says what to do."""

import os
import shutil
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit
from xml.etree.ElementTree import SubElement, tostring

from defusedxml.ElementTree import fromstring

from jenkins_pipelines.catalogue import PIPELINES
from jenkins_pipelines.models import Rendered
from jenkins_pipelines.render import render
from shuttle.app import object_store
from shuttle.cli.sink_examination import examine_sink
from shuttle.errors import (
    ForeignJobError,
    JenkinsRefusedError,
    JobNotReadyError,
    SettingsError,
    ShuttleError,
    StoreError,
)
from shuttle.jenkins import Jenkins
from shuttle.jenkins.client import JenkinsClient
from shuttle.outgoing.tls import tls_context
from shuttle.settings import GIB, Settings, load_settings, names_without_effect
from shuttle.store.migrate import migrate
from shuttle.store.sqlite import SqliteDatabase

_JOB = "shuttle-doctor"
_ENOUGH_DISK_BYTES = 5 * GIB  # one source and one log of their largest default size, and some air


class Verdict(StrEnum):
    """How it is."""

    FINE = "fine"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found about one subject."""

    verdict: Verdict
    subject: str
    sentence: str

    def as_json(self) -> dict[str, str]:
        """For programs."""
        return {"verdict": self.verdict.value, "subject": self.subject, "sentence": self.sentence}


def _fine(subject: str, sentence: str) -> Finding:
    return Finding(Verdict.FINE, subject, sentence)


def _warning(subject: str, sentence: str) -> Finding:
    return Finding(Verdict.WARNING, subject, sentence)


def _problem(subject: str, sentence: str) -> Finding:
    return Finding(Verdict.PROBLEM, subject, sentence)


async def examine(*, try_jobs: bool, sinks: Sequence[str] = ()) -> list[Finding]:
    """Everything, in the order in which it makes sense to put it right."""
    try:
        settings = load_settings()
    except SettingsError as error:
        return [_problem("settings", line) for line in error.message.splitlines()]
    findings = [*_settings(settings)]
    findings += [finding async for finding in _database(settings)]
    findings += [finding async for finding in _objects(settings)]
    findings += [finding async for finding in _jenkins(settings, try_jobs=try_jobs)]
    for url in sinks:
        async for host, problem in examine_sink(url, settings):
            findings.append(_fine("sink", f"{host} is reached.") if problem is None else _problem("sink", problem))
    return findings


def _settings(settings: Settings) -> list[Finding]:
    findings = [_warning("settings", f"{name} has no effect; remove it.") for name in names_without_effect(os.environ)]
    if settings.binds_loopback:
        findings.append(_fine("settings", f"valid; only this machine reaches {settings.shuttle_bind}."))
    elif settings.shuttle_tokens:
        findings.append(_fine("settings", f"valid; callers need a token, {len(settings.shuttle_tokens)} set."))
    else:
        sentence = "SHUTTLE_ALLOW_ANONYMOUS lets everybody who reaches the port start builds; set SHUTTLE_TOKENS."
        findings.append(_warning("settings", sentence))
    if not settings.build_shuttle_host and settings.binds_loopback:
        sentence = "BUILD_SHUTTLE_HOST is not set: Jenkins' agents must run on this machine to fetch sources."
        findings.append(_warning("settings", sentence))
    return findings


async def _database(settings: Settings) -> AsyncIterator[Finding]:
    path = settings.database_path
    try:
        database = SqliteDatabase(path)
        try:
            revision = migrate(database.engine)
        finally:
            await database.close()
    except SettingsError:
        # Its lock file is held: whoever holds it uses the very file that we would look at.
        yield _fine("database", f"{path} is in use by a running shuttle.")
        return
    except StoreError as error:
        yield _problem("database", f"{path}: {error}")
        return
    except OSError as error:
        yield _problem(
            "database", f"{path}: {error.strerror}; set SHUTTLE_DATA_DIR to a directory that can be written."
        )
        return
    yield _fine("database", f"{path} can be written; its schema is {revision}.")
    free_bytes = shutil.disk_usage(path.parent).free
    if free_bytes < _ENOUGH_DISK_BYTES:
        yield _warning("disk", f"only {free_bytes // 2**20} MiB are free in {path.parent}; logs and sources need room.")


async def _objects(settings: Settings) -> AsyncIterator[Finding]:
    where = (
        f"bucket {settings.s3_bucket}" if settings.s3_bucket else f"directory {settings.shuttle_data_dir / 'objects'}"
    )
    objects = object_store(settings)
    try:
        await objects.check()
        yield _fine("objects", f"the {where} can be read and written.")
    except ShuttleError as error:
        yield _problem("objects", f"the {where}: {error}")
    finally:
        await objects.close()


async def _jenkins(settings: Settings, *, try_jobs: bool) -> AsyncIterator[Finding]:
    requests: list[str] = []
    url = settings.jenkins_url.get_secret_value()
    jenkins = JenkinsClient(url, ssl_context=tls_context(settings.shuttle_ca_file), count=requests.append)
    try:
        await jenkins.check()
        has_credentials = urlsplit(url).username is not None
        yield _fine("Jenkins", "answers, and takes the credentials of JENKINS_URL." if has_credentials else "answers.")
        if try_jobs:
            async for finding in _permissions(jenkins, settings):
                yield finding
        if has_credentials and "crumb" in requests:  # which an API token does not need
            sentence = "JENKINS_URL holds a password, good for 29 requests a second; with an API token it is 1,300."
            yield _warning("Jenkins", sentence)
    except ShuttleError as error:
        yield _problem("Jenkins", str(error))
    finally:
        await jenkins.close()


async def _permissions(jenkins: Jenkins, settings: Settings) -> AsyncIterator[Finding]:
    """Create, configure, build and delete: by a job that is disabled, so that nothing runs whatever the answer."""
    job = f"{settings.shuttle_jenkins_folder.strip('/')}/{_JOB}".lstrip("/")
    first, second = (_disabled(render(kind.build(kind.Options()), agent_label=None)) for kind in PIPELINES.values())
    made = False
    try:
        await jenkins.apply_job(job, first.config_xml, first.digest)
        made = True
        yield _fine("Jenkins", "Job/Create is granted.")
        await jenkins.apply_job(job, second.config_xml, second.digest)
        yield _fine("Jenkins", "Job/Configure is granted.")
        yield await _build_permission(jenkins, job)
    except JenkinsRefusedError as error:
        yield _problem("Jenkins", str(error))
    except ForeignJobError:
        yield _problem("Jenkins", f"a job {job} is there that is not ours; rename it.")
    if not made:
        return
    try:
        await jenkins.delete_job(job)
        yield _fine("Jenkins", "Job/Delete is granted; grant Job/Cancel, too, which cannot be tried without a build.")
    except JenkinsRefusedError as error:
        yield _problem("Jenkins", f"{error} The disabled job {job} stays until you delete it.")


async def _build_permission(jenkins: Jenkins, job: str) -> Finding:
    try:
        await jenkins.trigger(job, {})
    except JobNotReadyError:  # permissions come first: only who may build is told that the job is disabled
        return _fine("Jenkins", "Job/Build is granted.")
    return _problem("Jenkins", f"the disabled job {job} was started; look at it in Jenkins.")


def _disabled(rendered: Rendered) -> Rendered:
    job = fromstring(rendered.config_xml)
    for disabled in job.findall("disabled"):
        job.remove(disabled)
    SubElement(job, "disabled").text = "true"
    text: bytes = tostring(job, encoding="UTF-8", xml_declaration=True)
    return rendered.model_copy(update={"config_xml": text})
