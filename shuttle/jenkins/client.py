"""The client of one Jenkins controller: every call of `shuttle.jenkins.Jenkins`, over asyncio.

A POST is sent once: after a lost answer the caller searches for the build's marker before a retry.
"""

import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import quote

from shuttle.errors import JenkinsNotFoundError, JenkinsRefusedError, JenkinsUnavailableError, JobNotReadyError
from shuttle.jenkins import JenkinsBuild, Load, QueueItem, StopCommand, answers, console
from shuttle.jenkins.budget import PollBudget
from shuttle.jenkins.credentials import RefusedCommands
from shuttle.jenkins.jobs import Jobs, job_path, verify_healthy
from shuttle.jenkins.queue import Listing, SharedQueue
from shuttle.jenkins.session import JenkinsResponse, JenkinsSession, ignore_duration, no_wait

BUILDS_PER_PAGE = 100
# A build that is searched for is among the newest of its app, and our jobs keep 50. The limit matters only for a job
# that somebody edited.
MAX_PAGES = 10


class JenkinsClient:
    """Implements `shuttle.jenkins.Jenkins`. Create it inside a running loop.

    `url` is JENKINS_URL including its userinfo. A job in a folder is named `folder/name`. `folder` is used by `check`
    alone: the permission to create jobs may be granted only there. The polls of builds, consoles, the queue and the
    load wait for `budget`. Commands do not, nor do the GETs for jobs, for `cancel` and for `check`. `observe` gets the
    kind and the seconds of every request. Timeouts are in seconds: for a connection, for a whole answer, and for the
    longest silence within a console's text, whose total time is not limited.
    """

    def __init__(
        self,
        url: str,
        *,
        budget: PollBudget | None = None,
        folder: str = "",
        ssl_context: ssl.SSLContext | None = None,
        connect_timeout_seconds: float = 5,
        request_timeout_seconds: float = 30,
        console_idle_timeout_seconds: float = 60,
        queue_fresh_seconds: float = 0.1,
        job_threads: int = 4,
        observe: Callable[[str, float], None] = ignore_duration,
        before_command: Callable[[], Awaitable[None]] = no_wait,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session = JenkinsSession(
            url,
            ssl_context=ssl_context,
            connect_timeout_seconds=connect_timeout_seconds,
            request_timeout_seconds=request_timeout_seconds,
            observe=observe,
            before_command=before_command,
            clock=clock,
        )
        self._refused = RefusedCommands(clock)
        self._jobs = Jobs(
            self._session,
            ssl_context=ssl_context,
            connect_timeout_seconds=connect_timeout_seconds,
            request_timeout_seconds=request_timeout_seconds,
            observe=observe,
            threads=job_threads,
        )
        self.budget = budget or PollBudget()
        self._queue = SharedQueue(self._fetch_queue, fresh_seconds=queue_fresh_seconds)
        self._folder = folder.strip("/")
        self._console_idle_timeout_seconds = console_idle_timeout_seconds

    def __repr__(self) -> str:
        return f"JenkinsClient({self._session.url})"

    # --- jobs

    async def apply_job(self, job: str, config_xml: bytes, digest: str) -> None:
        """See `shuttle.jenkins.Jenkins`; missing folders are created."""
        await self._session.before_command()
        with self._refused.watch("apply_job"):
            await self._jobs.apply(job, config_xml, digest)

    async def delete_job(self, job: str) -> None:
        """See `shuttle.jenkins.Jenkins`."""
        await self._session.before_command()
        with self._refused.watch("delete_job"):
            await self._jobs.delete(job)

    # --- from the trigger to the build

    async def trigger(self, job: str, parameters: Mapping[str, str]) -> int:
        """See `shuttle.jenkins.Jenkins`; the job's quiet period is skipped.

        Parameters are sent in a form body, so that no access log has them.
        """
        with self._refused.watch("trigger"):
            return await self._trigger(job, parameters)

    async def _trigger(self, job: str, parameters: Mapping[str, str]) -> int:
        what = f"start a build of {job}"
        answer = await self._session.post("trigger", f"{job_path(job)}buildWithParameters?delay=0sec", parameters)
        # Newer versions answer 303 if an equal request still waits; with our marker it is our own.
        if answer.status in {201, 303}:
            item = answers.queued_item(answer)
            if item is None:
                raise JenkinsUnavailableError("Jenkins queued a build, but its answer does not name the queue item.")
            return item
        if answer.status == 404:
            raise await self._not_found(what)
        if answer.status == 409:
            raise JobNotReadyError(f"The Jenkins job {job} is disabled; the shuttle will enable it.")
        if answer.status == 400 or (answer.status == 500 and not await self._takes_parameters(job)):
            raise JobNotReadyError(f"The Jenkins job {job} lost its parameters; the shuttle will restore them.")
        raise answers.failure(answer, what)

    async def waiting(self) -> Mapping[str, QueueItem]:
        """See `shuttle.jenkins.Jenkins`."""
        return (await self._queue.listing()).marked

    async def waiting_nodes(self) -> Mapping[tuple[str, int], QueueItem]:
        """See `shuttle.jenkins.Jenkins`."""
        return (await self._queue.listing()).nodes

    async def queue_item(self, item: int, build_uuid: str) -> QueueItem:
        """See `shuttle.jenkins.Jenkins`."""
        return answers.queue_item(await self._query(*_question_of_item(item)), build_uuid)

    async def find_build(self, job: str, build_uuid: str) -> JenkinsBuild | None:
        """See `shuttle.jenkins.Jenkins`. Replays have the marker, too: the first build that is not a ghost counts."""
        first: JenkinsBuild | None = None
        for page in range(MAX_PAGES):
            span = f"{page * BUILDS_PER_PAGE},{(page + 1) * BUILDS_PER_PAGE}"
            tree = f"allBuilds[{answers.MARKED_BUILD_TREE}]{{{span}}}"
            try:
                answer = await self._query("find_build", _json(job_path(job), tree), f"list the builds of {job}")
            except JenkinsNotFoundError:
                return None
            listed, found = answers.builds_with_marker(answer, build_uuid)
            candidates = [*found, *([first] if first else [])]
            first = min(candidates, key=lambda build: (build.ghost, build.number), default=None)
            if listed < BUILDS_PER_PAGE:
                break
        return first

    async def build(self, job: str, number: int) -> JenkinsBuild:
        """See `shuttle.jenkins.Jenkins`."""
        path = _json(f"{job_path(job)}{number}/", answers.BUILD_TREE)
        return answers.build(await self._query("build", path, f"show build {number} of {job}"))

    async def newest_build(self, job: str) -> JenkinsBuild | None:
        """See `shuttle.jenkins.Jenkins`."""
        path = _json(job_path(job), answers.NEWEST_BUILD_TREE)
        return answers.newest_build(await self._query("build", path, f"show the newest build of {job}"))

    async def console_tail(self, job: str, number: int, limit_bytes: int = 65536) -> bytes:
        """See `shuttle.jenkins.Jenkins`. Reads a console of any length, and keeps only its end in memory."""
        path = f"{job_path(job)}{number}/consoleText"
        async with self.budget.poll():
            response = await self._session.stream(
                "console", path, idle_timeout_seconds=self._console_idle_timeout_seconds
            )
        try:
            if response.status != 200:
                what = f"show the console of build {number} of {job}"
                raise await self._failure(JenkinsResponse(response.status, response.headers, b""), what)
            text, cut = await console.last_bytes(response, limit_bytes)
        finally:
            response.release()
        return console.without_engine_lines(text, cut=cut, limit_bytes=limit_bytes)

    # --- commands

    async def cancel(self, item: int, build_uuid: str) -> None:
        """See `shuttle.jenkins.Jenkins`."""
        if await self._waits(item, build_uuid):
            with self._refused.watch("cancel"):
                await self._cancel(item, build_uuid)

    async def _cancel(self, item: int, build_uuid: str) -> None:
        answer = await self._session.post("cancel", f"queue/cancelItem?id={item}")
        if answer.status in {200, 204, 302}:
            return
        if answer.status == 404:
            await verify_healthy(self._session)
        elif answer.status == 422:
            # This refusal has no header that names the permission (recorded).
            raise answers.refusal(f"cancel the queue item {item}", "Job/Cancel")
        # Jenkins answers 500 for an item that has left the queue; check whether it has.
        elif answer.status != 500 or await self._waits(item, build_uuid):
            raise answers.failure(answer, f"cancel the queue item {item}")

    async def stop(self, job: str, number: int, command: StopCommand) -> None:
        """See `shuttle.jenkins.Jenkins`."""
        with self._refused.watch("stop"):
            await self._stop(job, number, command)

    async def _stop(self, job: str, number: int, command: StopCommand) -> None:
        answer = await self._session.post("stop", f"{job_path(job)}{number}/{command}")
        if answer.status == 404:
            await verify_healthy(self._session)
        elif answer.status not in {200, 201, 204, 302}:
            raise answers.failure(answer, f"{command} build {number} of {job}")

    async def describe(self, job: str, number: int, text: str) -> None:
        """See `shuttle.jenkins.Jenkins`."""
        path = f"{job_path(job)}{number}/submitDescription"
        answer = await self._session.post("describe", path, {"description": text})
        if answer.status not in {200, 204, 302}:
            raise await self._failure(answer, f"describe build {number} of {job}")

    # --- the controller itself

    async def check(self) -> None:
        """Check the user and the permission to create jobs. The request that checks the permission creates no job.

        Other missing permissions become known only when a command needs them: recent refusals are remembered and raised
        here. A missing Run/Update is not, because builds run without descriptions as well.
        """
        answer = await self._session.get("check", "whoAmI/api/json")
        if answer.status != 200:
            raise await self._failure(answer, "name the authenticated user")
        if self._session.userinfo is not None and answers.identity(answer).anonymous:
            raise JenkinsRefusedError("Jenkins ignores the user in JENKINS_URL: correct it.")
        await verify_healthy(self._session)
        create = (job_path(self._folder) if self._folder else "") + "createItem"
        # No command, because it says nothing of a job: Jenkins can be reached also while this process has no lease.
        answer = await self._session.post("check", create, is_command=False)
        if answer.status == 404:
            # The folder does not exist yet. A user who may create it may also create jobs at the top.
            answer = await self._session.post("check", "createItem", is_command=False)
        if answer.status != 400:
            raise answers.failure(answer, "allow creating jobs")
        self._refused.raise_known_refusal()

    async def load(self) -> Load:
        """See `shuttle.jenkins.Jenkins`."""
        queue = await self._query("load", _json("queue/", answers.QUEUE_LENGTH_TREE), "show its queue")
        computers = await self._query("load", _json("computer/", answers.EXECUTORS_TREE), "show its executors")
        return answers.load(queue, computers)

    async def close(self) -> None:
        """See `shuttle.jenkins.Jenkins`."""
        await self._queue.close()
        await self._session.close()
        self._jobs.close()

    # --- queries

    async def _query(self, kind: str, path: str, what: str) -> JenkinsResponse:
        """A GET within the budget; any status but 200 raises."""
        async with self.budget.poll():
            answer = await self._session.get(kind, path)
        return await self._expect_200(answer, what)

    async def _expect_200(self, answer: JenkinsResponse, what: str) -> JenkinsResponse:
        if answer.status != 200:
            raise await self._failure(answer, what)
        return answer

    async def _fetch_queue(self) -> Listing:
        return answers.queue_listing(await self._query("queue", _json("queue/", answers.QUEUE_TREE), "show its queue"))

    async def _waits(self, item: int, build_uuid: str) -> bool:
        """Whether it is the build's item, and has not left the queue."""
        kind, path, what = _question_of_item(item)
        try:
            answer = await self._expect_200(await self._session.get(kind, path), what)
            return not answers.has_left_queue(answer, build_uuid)
        except JenkinsNotFoundError:
            return False

    async def _takes_parameters(self, job: str) -> bool:
        """Jenkins answers 500 (newer: 400) for a job without parameters; this distinguishes it from other faults."""
        found = await self._jobs.find(job)
        return found is not None and found.takes_marker

    async def _failure(self, answer: JenkinsResponse, what: str) -> Exception:
        return await self._not_found(what) if answer.status == 404 else answers.failure(answer, what)

    async def _not_found(self, what: str) -> JenkinsNotFoundError:
        await verify_healthy(self._session)
        return JenkinsNotFoundError(
            f"Jenkins answered 404 when asked to {what}: there is no such job, build or queue item."
        )


def _json(path: str, tree: str) -> str:
    return f"{path}api/json?tree={quote(tree)}"


def _question_of_item(item: int) -> tuple[str, str, str]:
    """Kind and path of the request for a queue item, and what is asked for."""
    return "queue_item", _json(f"queue/item/{item}/", answers.QUEUE_ITEM_TREE), f"show the queue item {item}"
