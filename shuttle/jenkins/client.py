"""The client of one Jenkins controller: every question and command of the port, over asyncio.

A POST is sent once: when its answer is lost, the caller looks for the build's marker before it asks again.
"""

import ssl
import time
from collections.abc import Callable, Mapping
from urllib.parse import quote

from shuttle.errors import JenkinsNotFoundError, JenkinsRefusedError, JenkinsUnavailableError, JobNotReadyError
from shuttle.jenkins import JenkinsBuild, QueueItem, answers, console
from shuttle.jenkins.budget import PollBudget
from shuttle.jenkins.credentials import RefusedCommands
from shuttle.jenkins.jobs import Jobs, job_path, prove_healthy
from shuttle.jenkins.queue import Listing, SharedQueue
from shuttle.jenkins.session import JenkinsResponse, JenkinsSession, observe_nothing

BUILDS_PER_PAGE = 100
# A build that is looked for is among the newest of its app; jobs of ours keep 50. The bound is for jobs edited by hand.
MOST_PAGES = 10


class JenkinsClient:
    """Implements `shuttle.jenkins.Jenkins`. Build it inside a running loop.

    `url` is JENKINS_URL, userinfo and all. A job in a folder is named `folder/name`; `folder` is only where `check`
    asks for the permission to create jobs, which may be granted there and nowhere else. `budget` is asked before every
    question (GET), never before a command. `observe` gets the kind of every request and its seconds. Timeouts are in
    seconds: a connection, a whole answer, and the longest silence within a console's text, whose whole length is not
    limited.
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
        observe: Callable[[str, float], None] = observe_nothing,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session = JenkinsSession(
            url,
            ssl_context=ssl_context,
            connect_timeout_seconds=connect_timeout_seconds,
            request_timeout_seconds=request_timeout_seconds,
            observe=observe,
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
        self._queue = SharedQueue(self._ask_for_queue, fresh_seconds=queue_fresh_seconds)
        self._folder = folder.strip("/")
        self._console_idle_timeout_seconds = console_idle_timeout_seconds

    def __repr__(self) -> str:
        return f"JenkinsClient({self._session.url})"

    # --- jobs

    async def apply_job(self, job: str, config_xml: bytes, digest: str) -> None:
        """See the port; missing folders are created."""
        with self._refused.watch("apply_job"):
            await self._jobs.apply(job, config_xml, digest)

    async def delete_job(self, job: str) -> None:
        """See the port."""
        with self._refused.watch("delete_job"):
            await self._jobs.delete(job)

    # --- from the trigger to the build

    async def trigger(self, job: str, parameters: Mapping[str, str]) -> int:
        """See the port. The parameters go in a form body, so that no access log sees them; no quiet period."""
        with self._refused.watch("trigger"):
            return await self._trigger(job, parameters)

    async def _trigger(self, job: str, parameters: Mapping[str, str]) -> int:
        what = f"start a build of {job}"
        answer = await self._session.post("trigger", f"{job_path(job)}buildWithParameters?delay=0sec", parameters)
        # 303 is how newer versions say that an equal request still waits: with our marker that is our own.
        if answer.status in {201, 303}:
            item = answers.queued_item(answer)
            if item is None:
                raise JenkinsUnavailableError("Jenkins started a build without naming its queue item.")
            return item
        if answer.status == 404:
            raise await self._not_found(what)
        if answer.status == 409:
            raise JobNotReadyError(f"The Jenkins job {job} is disabled: applying it again enables it.")
        if answer.status == 400 or (answer.status == 500 and not await self._takes_parameters(job)):
            raise JobNotReadyError(f"The Jenkins job {job} lost its parameters: applying it again gives them back.")
        raise answers.failure(answer, what)

    async def waiting(self) -> Mapping[str, QueueItem]:
        """See the port."""
        return (await self._queue.listing()).marked

    async def waiting_nodes(self) -> Mapping[tuple[str, int], QueueItem]:
        """See the port."""
        return (await self._queue.listing()).nodes

    async def queue_item(self, item: int) -> QueueItem:
        """See the port."""
        return answers.queue_item(await self._ask_for_queue_item(item))

    async def find_build(self, job: str, build_uuid: str) -> JenkinsBuild | None:
        """See the port; a replay carries the same marker, and so does the build that was triggered anew for a ghost."""
        first: JenkinsBuild | None = None
        for page in range(MOST_PAGES):
            span = f"{page * BUILDS_PER_PAGE},{(page + 1) * BUILDS_PER_PAGE}"
            tree = f"allBuilds[{answers.MARKED_BUILD_TREE}]{{{span}}}"
            try:
                answer = await self._ask("find_build", _json(job_path(job), tree), f"list the builds of {job}")
            except JenkinsNotFoundError:
                return None
            listed, found = answers.builds_with_marker(answer, build_uuid)
            candidates = [*found, *([first] if first else [])]
            first = min(candidates, key=lambda build: (build.ghost, build.number), default=None)
            if listed < BUILDS_PER_PAGE:
                break
        return first

    async def build(self, job: str, number: int) -> JenkinsBuild:
        """See the port."""
        path = _json(f"{job_path(job)}{number}/", answers.BUILD_TREE)
        return answers.build(await self._ask("build", path, f"show build {number} of {job}"))

    async def console_tail(self, job: str, number: int, limit_bytes: int = 65536) -> bytes:
        """See the port; a console of any length is read, no more than its end is held."""
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
        return console.words_for_people(text, cut=cut, limit_bytes=limit_bytes)

    # --- commands

    async def cancel(self, item: int) -> None:
        """See the port."""
        with self._refused.watch("cancel"):
            await self._cancel(item)

    async def _cancel(self, item: int) -> None:
        answer = await self._session.post("cancel", f"queue/cancelItem?id={item}")
        if answer.status in {200, 204, 302}:
            return
        if answer.status == 404:
            await prove_healthy(self._session)
        elif answer.status == 422:
            # This refusal has no header that names the permission (recorded).
            raise answers.refusal(f"cancel the queue item {item}", "Job/Cancel")
        # 500 is what Jenkins answers for an item that already left: true only if it did.
        elif answer.status != 500 or not await self._has_left_queue(item):
            raise answers.failure(answer, f"cancel the queue item {item}")

    async def stop(self, job: str, number: int, how: str) -> None:
        """See the port."""
        if how not in {"stop", "term", "kill"}:
            raise ValueError(f"no such way to stop a build: {how}")
        with self._refused.watch("stop"):
            await self._stop(job, number, how)

    async def _stop(self, job: str, number: int, how: str) -> None:
        answer = await self._session.post("stop", f"{job_path(job)}{number}/{how}")
        if answer.status == 404:
            await prove_healthy(self._session)
        elif answer.status not in {200, 201, 204, 302}:
            raise answers.failure(answer, f"{how} build {number} of {job}")

    async def describe(self, job: str, number: int, text: str) -> None:
        """See the port."""
        path = f"{job_path(job)}{number}/submitDescription"
        answer = await self._session.post("describe", path, {"description": text})
        if answer.status not in {200, 204, 302}:
            raise await self._failure(answer, f"describe build {number} of {job}")

    # --- the controller itself

    async def check(self) -> None:
        """See the port: who we are, and whether we may create jobs (asked by a request that cannot create one).

        Other permissions show only when they are needed: recent refusals are remembered and raised here. A missing
        Run/Update is not part of it, because builds run without descriptions as well.
        """
        answer = await self._session.get("check", "whoAmI/api/json")
        if answer.status != 200:
            raise await self._failure(answer, "say who we are")
        if self._session.userinfo is not None and answers.identity(answer).anonymous:
            raise JenkinsRefusedError("Jenkins ignores the user in JENKINS_URL: correct it.")
        await prove_healthy(self._session)
        answer = await self._session.post("check", (job_path(self._folder) if self._folder else "") + "createItem")
        if answer.status == 404:
            # No such folder yet: whoever makes it creates jobs at the top as well.
            answer = await self._session.post("check", "createItem")
        if answer.status != 400:
            raise answers.failure(answer, "let us create jobs")
        self._refused.raise_remembered()

    async def close(self) -> None:
        """See the port."""
        await self._queue.close()
        await self._session.close()
        self._jobs.close()

    # --- asking

    async def _ask(self, kind: str, path: str, what: str) -> JenkinsResponse:
        """A GET within the budget; anything but 200 raises."""
        async with self.budget.poll():
            answer = await self._session.get(kind, path)
        if answer.status != 200:
            raise await self._failure(answer, what)
        return answer

    async def _ask_for_queue(self) -> Listing:
        return answers.queue_listing(await self._ask("queue", _json("queue/", answers.QUEUE_TREE), "show its queue"))

    async def _ask_for_queue_item(self, item: int) -> JenkinsResponse:
        path = _json(f"queue/item/{item}/", answers.QUEUE_ITEM_TREE)
        return await self._ask("queue_item", path, f"show the queue item {item}")

    async def _has_left_queue(self, item: int) -> bool:
        try:
            return answers.has_left_queue(await self._ask_for_queue_item(item))
        except JenkinsNotFoundError:
            return True

    async def _takes_parameters(self, job: str) -> bool:
        """Jenkins answers a plain 500 (newer: 400) for a job without parameters: this tells it from other trouble."""
        found = await self._jobs.look(job)
        return found is not None and found.takes_marker

    async def _failure(self, answer: JenkinsResponse, what: str) -> Exception:
        return await self._not_found(what) if answer.status == 404 else answers.failure(answer, what)

    async def _not_found(self, what: str) -> JenkinsNotFoundError:
        await prove_healthy(self._session)
        return JenkinsNotFoundError(f"Jenkins cannot {what}: it does not have it, or not any more.")


def _json(path: str, tree: str) -> str:
    return f"{path}api/json?tree={quote(tree)}"
