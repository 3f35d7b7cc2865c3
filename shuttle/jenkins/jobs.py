"""The shuttle's jobs in Jenkins: created, updated and deleted by python-jenkins in a few threads.

The marker in a job's description (written by jenkins_pipelines) shows that the job is ours. It is up to date if the
marker has our digest and nobody edited its definition (`shuttle.jenkins.definition`). `job_exists` and `get_job_info`
of python-jenkins and their callers are not used: they treat a 503 as "does not exist".
"""

import asyncio
import ssl
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from urllib.parse import quote

import jenkins
import requests
import structlog

from jenkins_pipelines.config_xml import digest_of
from shuttle.errors import ForeignJobError, JenkinsUnavailableError
from shuttle.jenkins import answers
from shuttle.jenkins.answers import JobFacts
from shuttle.jenkins.definition import JobDefinition, read_definition
from shuttle.jenkins.lenient_adapter import LenientAdapter
from shuttle.jenkins.session import LANGUAGE, NO_CRUMB, JenkinsSession

_log = structlog.get_logger()

FOLDER_MODE = "com.cloudbees.hudson.plugins.folder.Folder"


def job_path(job: str) -> str:
    """The path of `folder/name` in Jenkins' URLs: `job/folder/job/name/`."""
    return "".join(f"job/{quote(part, safe='')}/" for part in job.split("/"))


@dataclass(frozen=True, slots=True)
class _Reply:
    """The parts of Jenkins' answer to a call of python-jenkins that we use."""

    status: int
    permission: str | None
    x_error: str | None


class Jobs:
    """Creates, updates and deletes jobs. Used from one event loop.

    At most `threads` calls are under way at once, at most half of them deletions.
    """

    def __init__(
        self,
        session: JenkinsSession,
        *,
        ssl_context: ssl.SSLContext | None,
        connect_timeout_seconds: float,
        request_timeout_seconds: float,
        observe: Callable[[str, float], None],
        threads: int = 4,
    ) -> None:
        self._session = session
        self._observe = observe
        self._timeout_seconds = request_timeout_seconds
        self._server = _python_jenkins(session, ssl_context, (connect_timeout_seconds, request_timeout_seconds))
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="jenkins-jobs")
        # A deletion may take 15 seconds, and many of them must not delay the jobs of builds.
        self._deletions = asyncio.Semaphore(max(1, threads // 2))
        self._reported: set[str] = set()

    async def apply(self, job: str, config_xml: bytes, digest: str) -> None:
        """See `shuttle.jenkins.Jenkins.apply_job`."""
        found = await self.find(job)
        if found is None:
            refused = await self._create(job, config_xml)
            if refused is None:
                return
            found = await self.find(job)  # another replica may have made it
            if found is None:
                raise refused
        if _digest_of_ours(job, found) != digest or not found.takes_marker:
            await self._update(job, config_xml)
            return
        edited = await self._edited(job, config_xml)
        if edited:
            self._report(job, edited)
            await self._update(job, config_xml)
        else:
            self._reported.discard(job)

    async def delete(self, job: str) -> None:
        """See `shuttle.jenkins.Jenkins.delete_job`."""
        found = await self.find(job)
        if found is None:
            return
        _digest_of_ours(job, found)
        # DELETE answers 204. doDelete would redirect to a page, which python-jenkins would fetch.
        async with self._deletions:
            reply = await self._request("DELETE", job_path(job))
        if reply.status in {400, 500}:
            raise JenkinsUnavailableError(
                f"Jenkins is still ending the job's running build: {job} was not deleted yet ({reply.status})."
            )
        if reply.status not in {200, 204, 302, 404}:
            raise _failure(reply, f"delete the job {job}")

    async def find(self, job: str) -> JobFacts | None:
        """The job in Jenkins; None = there is none."""
        answer = await self._session.get("job", f"{job_path(job)}api/json?tree={quote(answers.JOB_TREE)}")
        if answer.status == 404:
            await verify_healthy(self._session)
            return None
        if answer.status != 200:
            raise answers.failure(answer, f"show the job {job}")
        return answers.job_facts(answer)

    def close(self) -> None:
        """Close the connections and shut down the threads; calls that have not begun are dropped. Idempotent."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        _connections(self._server).close()

    async def _edited(self, job: str, config_xml: bytes) -> list[str]:
        """The names of the properties that somebody edited since we wrote the job; one GET."""
        ours = read_definition(config_xml)
        answer = await self._session.get("job", f"{job_path(job)}config.xml")
        if answer.status == 404:
            await verify_healthy(self._session)
            raise answers.refusal(f"show the config.xml of the job {job}", "Job/Configure")
        if answer.status != 200:
            raise answers.failure(answer, f"show the config.xml of the job {job}")
        return _differences(ours, read_definition(answer.body))

    def _report(self, job: str, edited: list[str]) -> None:
        """Log a warning, but not again before the job was found unedited: Jenkins itself may change it each time."""
        if job not in self._reported:
            self._reported.add(job)
            _log.warning("a Jenkins job was edited by hand; updating it", job=job, edited=", ".join(edited))

    async def _create(self, job: str, config_xml: bytes) -> Exception | None:
        """Create the job and missing folders; returns the error for a 400, which may mean that the job exists."""
        folder, _, name = job.rpartition("/")
        path = f"{job_path(folder) if folder else ''}createItem?name={quote(name, safe='')}"
        reply = await self._request("POST", path, config_xml)
        if reply.status == 404 and folder:
            await self._create_folders(folder)
            reply = await self._request("POST", path, config_xml)
        if reply.status == 400:
            return _not_created(job, reply)
        if reply.status == 500:
            raise JenkinsUnavailableError(
                f"Jenkins answered 500 when asked to create the job {job}: does it have the Pipeline plugin?"
            )
        if reply.status != 200:
            raise _failure(reply, f"create the job {job}")
        return None

    async def _update(self, job: str, config_xml: bytes) -> None:
        reply = await self._request("POST", f"{job_path(job)}config.xml", config_xml)
        if reply.status != 200:
            raise _failure(reply, f"update the job {job}")

    async def _create_folders(self, folder: str) -> None:
        # Not by python-jenkins: its create_folder follows the redirect to the new folder's settings page.
        parent = ""
        for name in folder.split("/"):
            path = f"{job_path(parent) if parent else ''}createItem?name={quote(name, safe='')}&mode={FOLDER_MODE}"
            answer = await self._session.post("job", path)
            parent = f"{parent}/{name}" if parent else name
            exists_already = answer.status == 400 and await self.find(parent) is not None
            if answer.status not in {200, 302} and not exists_already:
                raise answers.failure(answer, f"create the folder {name} (it needs the Folders plugin)")

    async def _request(self, method: str, path: str, config_xml: bytes | None = None) -> _Reply:
        """Run one call in a thread. After a timeout (JenkinsUnavailableError) Jenkins may still execute it."""
        began_at = time.monotonic()
        call = partial(_call, self._server, method, self._session.url + path, config_xml)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                reply = await asyncio.get_running_loop().run_in_executor(self._threads, call)
        except (TimeoutError, JenkinsUnavailableError) as error:
            self._session.credentials.no_answer()
            if isinstance(error, JenkinsUnavailableError):
                raise
            raise JenkinsUnavailableError("Jenkins is out of reach: a change of a job timed out.") from None
        finally:
            self._observe("job", time.monotonic() - began_at)
        self._session.credentials.answered(reply.status)
        return reply


async def verify_healthy(session: JenkinsSession) -> None:
    """Check after a 404 that a healthy Jenkins answers: a proxy without a Jenkins may answer 404 as well.

    Raises:
        JenkinsUnavailableError: no healthy Jenkins answers. JenkinsRefusedError: it refuses our user.
    """
    answer = await session.get("health", "api/json?tree=quietingDown")
    if answer.status == 404 or (answer.status == 200 and "X-Jenkins" not in answer.headers):
        raise JenkinsUnavailableError("The server at JENKINS_URL does not answer like Jenkins: check JENKINS_URL.")
    if answer.status != 200:
        raise answers.failure(answer, "show its state")


def _digest_of_ours(job: str, found: JobFacts) -> str:
    """The digest in the description of our job.

    Raises ForeignJobError if the job is not ours. Jenkins ignores case when it looks up a name, so it may
    show `Shop` when asked for `shop`; that job is not ours.
    """
    digest = digest_of(found.description or "")
    if digest is None or found.name != job.rpartition("/")[2]:
        raise ForeignJobError(
            f"Jenkins has a job {found.name} that this shuttle did not make: rename it, or set SHUTTLE_JENKINS_FOLDER."
        )
    return digest


def _differences(ours: JobDefinition | None, theirs: JobDefinition | None) -> list[str]:
    """The names of the properties that differ; none if our file is unreadable, "config.xml" if that of Jenkins is."""
    if ours is None or ours == theirs:
        return []
    return ["config.xml"] if theirs is None else ours.differences(theirs)


def _not_created(job: str, reply: _Reply) -> Exception:
    """The error for a job that Jenkins neither creates nor shows.

    If our user may not read the job, Jenkins answers "already exists" or, in newer versions, with an empty X-Error.
    """
    if reply.x_error is not None and (not reply.x_error or "already exists" in reply.x_error):
        return answers.refusal(f"show the job {job}, which exists", "Job/Read")
    return _failure(reply, f"create the job {job}")


def _failure(reply: _Reply, what: str) -> Exception:
    return answers.failure_of(reply.status, reply.permission, reply.x_error, what)


def _python_jenkins(
    session: JenkinsSession, ssl_context: ssl.SSLContext | None, timeout: tuple[float, float]
) -> jenkins.Jenkins:
    user, token = session.userinfo or (None, None)
    server = jenkins.Jenkins(session.url, user, token, timeout=timeout)
    connections = _connections(server)
    connections.headers["Connection"] = "close"  # the adapter closes them in any case
    connections.headers["Accept-Language"] = LANGUAGE
    connections.trust_env = False  # no proxies and no .netrc, like the asyncio client
    connections.mount("http://", LenientAdapter())
    connections.mount("https://", LenientAdapter(ssl_context))
    return server


def _connections(server: jenkins.Jenkins) -> requests.Session:
    session: requests.Session = server._session  # noqa: SLF001 - python-jenkins has no public access to it
    return session


def _call(server: jenkins.Jenkins, method: str, url: str, config_xml: bytes | None) -> _Reply:
    """Send one request by python-jenkins (blocking); a crumb that Jenkins no longer knows is renewed once."""
    reply, crumb_refused = _call_once(server, method, url, config_xml)
    if crumb_refused:
        server.crumb = None
        reply, _ = _call_once(server, method, url, config_xml)
    return reply


def _call_once(server: jenkins.Jenkins, method: str, url: str, config_xml: bytes | None) -> tuple[_Reply, bool]:
    # A copy, because python-jenkins adds the crumb to the headers that it gets.
    request = requests.Request(method, url, data=config_xml, headers=dict(jenkins.DEFAULT_HEADERS))
    try:
        response = server.jenkins_request(request)
    except (jenkins.JenkinsException, requests.RequestException) as error:
        response = _response_in(error)
        if response is None:
            server.crumb = None  # the crumb may be the part that cannot be sent
            raise JenkinsUnavailableError(f"Jenkins is out of reach: {type(error).__name__}.") from None
    except (TypeError, KeyError, ValueError):
        # python-jenkins keeps any JSON of the issuer, and would fail with it again.
        server.crumb = None
        raise JenkinsUnavailableError("The answer of Jenkins' crumb issuer is unreadable.") from None
    permission, x_error = response.headers.get("X-Required-Permission"), response.headers.get("X-Error")
    crumb_refused = response.status_code == 403 and NO_CRUMB in response.content
    return _Reply(response.status_code, permission, x_error), crumb_refused


def _response_in(error: BaseException | None) -> requests.Response | None:
    """Jenkins' response in an exception of python-jenkins ("possibly authentication failed")."""
    while error is not None:
        if isinstance(error, requests.HTTPError):
            return error.response
        error = error.__context__
    return None
