"""Finish and settle: the final state with the log's sum, then the log whole, archived, and local files gone."""

import asyncio
import hashlib

from shuttle.build import Build, Ending, log_without_jenkins, reason_line
from shuttle.errors import JenkinsNotFoundError, UnavailableError
from shuttle.lifecycle import Ports
from shuttle.lifecycle.patience import Patience
from shuttle.lifecycle.plan import Plan
from shuttle.lifecycle.stage import forget_local_source
from shuttle.lifecycle.tail import Tail, read_to_the_end, spool_preamble, tail
from shuttle.logs.archive import LogSum, archive, digest
from shuttle.logs.spool import Spool, SpoolError
from shuttle.logs.transform import LOG_CUT, LogTransform
from shuttle.objects.names import log_objects


async def finish(build: Build, plan: Plan, ending: Ending, ports: Ports) -> Build | None:
    """→ a final state; its status tells the sum of a log that is whole but for the reason line, which is known."""
    try:
        known = await _sum_of_spool(build, ending, ports)
    except SpoolError:
        known = await _sum_of_jenkins(build, plan, ending, ports)
    if known is None:
        return await ports.store.finish(build.build_uuid, ending)
    size_bytes, sha256 = known
    return await ports.store.finish(build.build_uuid, ending, log_bytes=size_bytes, log_sha256=sha256)


async def _sum_of_spool(build: Build, ending: Ending, ports: Ports) -> tuple[int, str] | None:
    """None = nothing of Jenkins' text is in the log."""
    spool = ports.library.spool(build.build_uuid)
    if build.claimed_at is None and spool.size_bytes <= len(build.preamble.encode()):
        return None
    return await asyncio.to_thread(digest, spool.path, _line_after(spool, ending))


async def _sum_of_jenkins(build: Build, plan: Plan, ending: Ending, ports: Ports) -> tuple[int, str] | None:
    """Without a spool the log is what Jenkins' text makes of it: what a later spool will hold, once it can be made.

    None = nothing of that text is in the log, or Jenkins cannot show it (gone, or away until the build's deadline).
    """
    patience = Patience(build.build_uuid, ports)
    while build.claimed_at is not None:
        try:
            return await _read_for_sum(build, plan, ending, ports)
        except JenkinsNotFoundError:
            return None
        except UnavailableError as error:
            if ports.now() >= build.deadline_at:
                return None
            await patience.wait(f"Jenkins: {error.message}")
    return None


async def _read_for_sum(build: Build, plan: Plan, ending: Ending, ports: Ports) -> tuple[int, str]:
    summed = LogSum()
    summed.append(build.preamble.encode())
    at = Tail(summed, LogTransform(plan.log_rules, written_bytes=summed.size_bytes), 0, summed.size_bytes)
    await read_to_the_end(build, at, ports, _keep_nothing)
    summed.append(_line_after(summed, ending))
    return summed.size_bytes, summed.sha256()


async def _keep_nothing(_at: Tail) -> None:
    """No checkpoint without a spool."""


def _line_after(log: Spool | LogSum, ending: Ending) -> bytes:
    """The reason line as it follows this text: on a line of its own, if the pipeline has not written it there already.

    Nothing where the log's cap allows no more.
    """
    line, written = reason_line(ending), log.ending()
    if written.endswith(LOG_CUT) or b"\n" + line in b"\n" + written:
        return b""
    return b"\n" + line if written and not written.endswith(b"\n") else line


async def settle(build: Build, plan: Plan, ports: Ports) -> None:
    """After the end: complete the spool, archive it, and remove what lies here once nobody needs it.

    Trouble in the object store or with the disk never changes a result: the log is completed and archived when they
    are well again.
    """
    patience = Patience(build.build_uuid, ports)
    while True:
        try:
            spool = ports.library.spool(build.build_uuid)
            await _complete(build, plan, spool, ports)
            break
        except SpoolError as error:
            await patience.wait(f"the spool: {error.message}")
    forget_local_source(build, ports)
    while True:
        try:
            for name in log_objects(build):
                await archive(spool.path, ports.objects, name)
            break
        except UnavailableError as error:
            await patience.wait(f"the object store: {error.message}")
    await ports.store.archived(build.build_uuid)
    ports.signals.deleted.set()


async def _complete(build: Build, plan: Plan, spool: Spool, ports: Ports) -> None:
    """Bring the spool to the bytes whose sum the final status told; after a crash that may mean reading again."""
    if build.log_bytes is not None and spool.size_bytes < build.log_bytes:
        ending = Ending(build.state, build.reason, build.message)
        without_jenkins = log_without_jenkins(build.preamble, ending)
        if hashlib.sha256(without_jenkins).hexdigest() == build.log_sha256:
            spool.append(without_jenkins[spool.size_bytes :])
        else:
            await _read_again(build, plan, spool, ports, ending)
    spool.end()


async def _read_again(build: Build, plan: Plan, spool: Spool, ports: Ports, ending: Ending) -> None:
    missing = (build.log_bytes or 0) - spool.size_bytes
    if missing > len(reason_line(ending)) + 1:
        spool_preamble(build, spool)
        patience = Patience(build.build_uuid, ports)
        while True:
            try:
                await tail(build, plan, ports)
                break
            except JenkinsNotFoundError:
                break  # its text is gone with it; what we have is what there is
            except UnavailableError as error:
                await patience.wait(f"Jenkins: {error.message}")
    spool.append(_line_after(spool, ending))
