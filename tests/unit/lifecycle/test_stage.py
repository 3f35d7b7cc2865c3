"""Staging: which errors are retried and for how long, and which end the build."""

import asyncio
import tarfile
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, cast

import pytest

from shuttle.build import Build, SourceFacts, StopCause
from shuttle.errors import (
    BuildFailedError,
    LocalDiskError,
    ObjectNotFoundError,
    ObjectStoreError,
    RetryLaterError,
    StoreError,
    UnavailableError,
)
from shuttle.lifecycle.stage import _Staging, forget_local_source, normalized_path, normalized_source, stage
from shuttle.lifecycle.stop import stop_build
from shuttle.lifecycle.stored_sources import fetch_stored_source, find_source
from shuttle.objects import ObjectInfo
from shuttle.objects.names import source_object
from shuttle.sources import FetchedSource, SourceLimits
from shuttle.sources.kinds.data import DataSource
from shuttle.sources.kinds.http import HttpSource
from shuttle.standing import Standing
from shuttle.store.transitions import begin_staging
from tests.support.product import archive
from tests.unit.lifecycle.one_build import OneBuild

DOWN = UnavailableError("https://example.org/a.tgz answers 503.")
STAGE_SECONDS = 600


@pytest.fixture
def settings() -> dict[str, str]:
    return {"SHUTTLE_STAGE_TIMEOUT_SECONDS": str(STAGE_SECONDS)}


class Answers:
    """Errors to raise, one after another, and the last one from then on; None = a success."""

    def __init__(self, *errors: Exception | None) -> None:
        self._left = list(errors)

    def next(self) -> None:
        """Raise the next error, or return."""
        error = self._left.pop(0) if len(self._left) > 1 else self._left[0]
        if error is not None:
            raise error


class Source:
    """Implements `SourceFetcher`. `passing_seconds` is how long each fetch takes."""

    def __init__(self, one: OneBuild) -> None:
        self.one = one
        self.answers = Answers(None)
        self.passing_seconds = 0.0
        self.fetches = 0
        self.places: AbstractAsyncContextManager[object] = nullcontext()

    def place(self) -> AbstractAsyncContextManager[object]:
        return self.places

    async def fetch(self, source: HttpSource, into: Path, limits: SourceLimits) -> FetchedSource:
        self.fetches += 1
        self.one.clock.forward(self.passing_seconds)
        self.answers.next()
        into.write_bytes(b"source")
        return FetchedSource(into, 6, "00" * 32, "application/gzip")


class Check:
    """Stands for the process that checks an archive."""

    def __init__(self, one: OneBuild) -> None:
        self.one = one
        self.answers = Answers(None)
        self.passing_seconds = 0.0

    async def __call__(self, original: Path, into: Path, limits: Any) -> list[str]:
        self.one.clock.forward(self.passing_seconds)
        self.answers.next()
        return []


@pytest.fixture
def source(one: OneBuild, check: Check, monkeypatch: pytest.MonkeyPatch) -> Source:
    source = Source(one)
    monkeypatch.setitem(cast("dict[type, Source]", one.services.fetchers), HttpSource, source)
    return source


@pytest.fixture
def check(one: OneBuild, monkeypatch: pytest.MonkeyPatch) -> Check:
    check = Check(one)
    monkeypatch.setattr("shuttle.lifecycle.stage.normalize", check)
    return check


async def staged(one: OneBuild) -> Build | None:
    async with asyncio.timeout(5):
        return await stage(await one.row(), one.spec, one.services)


async def reason_of_failure(one: OneBuild) -> str:
    with pytest.raises(BuildFailedError) as caught:
        await staged(one)
    return caught.value.reason


async def test_source_is_stored_and_recorded(one: OneBuild, source: Source):
    build = await staged(one)
    assert build is not None
    assert (build.source.bytes, build.source.sha256, build.waiting_for) == (6, "00" * 32, None)
    assert build.preamble.startswith("-----> Source: https://example.org/a.tgz\n")
    assert await one.services.objects.head(source_object(one.build_uuid)) is not None
    assert not list((one.services.settings.shuttle_data_dir / "sources").glob("*.original"))


@pytest.mark.parametrize("error", [DOWN, RetryLaterError("Later.", after_seconds=0), LocalDiskError("It is full.")])
async def test_temporary_error_is_retried(one: OneBuild, source: Source, error: Exception):
    source.answers = Answers(error, None)
    assert await staged(one) is not None
    assert source.fetches == 2


async def test_permanent_error_ends_the_build_at_once(one: OneBuild, source: Source):
    source.answers = Answers(BuildFailedError("source_not_found", "It is not there."))
    assert await reason_of_failure(one) == "source_not_found"
    assert source.fetches == 1


async def test_source_that_stays_unavailable_ends_the_build_after_the_time_for_staging(one: OneBuild, source: Source):
    source.answers, source.passing_seconds = Answers(DOWN), 250
    assert await reason_of_failure(one) == "source_unreachable"
    assert source.fetches == 3


class TakenPlace:
    """A place that becomes free after the time for staging."""

    def __init__(self, one: OneBuild) -> None:
        self.one = one

    async def __aenter__(self) -> None:
        self.one.clock.forward(STAGE_SECONDS)

    async def __aexit__(self, *_: object) -> None:
        pass


async def test_waits_for_other_builds_do_not_count_as_time_of_the_source(one: OneBuild, source: Source, check: Check):
    """Before, slow clones of other builds ended this one as `source_timeout`."""
    source.places, source.answers, check.answers = TakenPlace(one), Answers(DOWN, None), Answers(DOWN, None)
    source.passing_seconds = check.passing_seconds = STAGE_SECONDS - 10
    services = replace(one.services, normalizing=cast("asyncio.Semaphore", TakenPlace(one)))
    assert await stage(await one.row(), one.spec, services) is not None
    assert source.fetches == 2


async def test_time_of_a_source_ends_all_the_same(one: OneBuild, source: Source):
    source.places, source.answers, source.passing_seconds = TakenPlace(one), Answers(DOWN), STAGE_SECONDS - 10
    assert await reason_of_failure(one) == "source_unreachable"
    assert source.fetches == 2


async def test_database_that_does_not_answer_ends_no_build(
    one: OneBuild, source: Source, monkeypatch: pytest.MonkeyPatch
):
    """Before, the build failed as `source_unreachable`: the wait after an error of the source could not be recorded."""
    source.answers = Answers(DOWN)

    async def unanswered(*_: object, **__: object) -> None:
        raise StoreError("The database does not answer.")

    monkeypatch.setattr("shuttle.lifecycle.backoff.Backoff.wait", unanswered)
    with pytest.raises(StoreError):
        await staged(one)


async def test_source_that_never_arrives_ends_the_build(one: OneBuild, source: Source, monkeypatch: pytest.MonkeyPatch):
    async def hang(*_: object) -> FetchedSource:
        one.clock.forward(STAGE_SECONDS - 0.01)
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr("shuttle.lifecycle.stage._timeout_seconds", lambda *_: 0.01)
    monkeypatch.setattr(source, "fetch", hang)
    assert await reason_of_failure(one) == "source_timeout"


async def test_source_is_tried_once_more_after_a_long_downtime(one: OneBuild, source: Source):
    await one.database.run(begin_staging, one.build_uuid)
    one.clock.forward(STAGE_SECONDS * 10)
    assert await staged(one) is not None


async def test_last_try_after_a_long_downtime_takes_at_most_half_a_minute(one: OneBuild, source: Source):
    await one.database.run(begin_staging, one.build_uuid)
    one.clock.forward(STAGE_SECONDS * 10)
    source.answers, source.passing_seconds = Answers(DOWN), 12
    assert await reason_of_failure(one) == "source_unreachable"
    assert source.fetches == 3


async def test_fault_of_this_machine_delays_the_check_of_a_source(one: OneBuild, source: Source, check: Check):
    check.answers = Answers(LocalDiskError("The disk is full."), None)
    assert await staged(one) is not None


async def test_source_that_cannot_be_checked_in_time_ends_the_build(one: OneBuild, source: Source, check: Check):
    check.answers, check.passing_seconds = Answers(UnavailableError("The archive could not be checked.")), 250
    assert await reason_of_failure(one) == "archive_unchecked"


async def test_object_store_only_delays_a_build(one: OneBuild, source: Source, monkeypatch: pytest.MonkeyPatch):
    put, left = one.services.objects.put, [ObjectStoreError("It is out of space.")] * 3

    async def put_later(*given: Any, **named: Any) -> None:
        one.clock.forward(STAGE_SECONDS)
        if left:
            raise left.pop()
        await put(*given, **named)

    monkeypatch.setattr(one.services.objects, "put", put_later)
    assert await staged(one) is not None
    assert left == []


async def test_ended_build_is_not_staged(one: OneBuild, source: Source):
    await stop_build(one.build_uuid, StopCause.STOPPED, one.services)
    assert await staged(one) is None
    assert source.fetches == 0


async def test_agents_that_ask_for_the_same_source_at_the_same_time_all_get_it(one: OneBuild, tmp_path: Path):
    """Before, each made the file again, and they wrote the same temporary files: most of them got an error."""
    build = await with_stored_source(one, tmp_path)
    several = replace(one.services, normalizing=asyncio.Semaphore(3))
    paths = await asyncio.gather(*(normalized_source(build, several) for _ in range(3)))
    assert paths == [normalized_path(build, build.source.sha256 or "", one.services)] * 3
    assert [path.name for path in paths[0].parent.iterdir()] == [paths[0].name]


async def test_an_object_store_that_hangs_does_not_hold_up_the_checks_of_other_sources(
    one: OneBuild, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    build, reading = await with_stored_source(one, tmp_path), asyncio.Event()

    async def hang(*_: object) -> None:
        reading.set()
        await asyncio.Event().wait()

    monkeypatch.setattr("shuttle.lifecycle.stage.copy_object", hang)
    asking = asyncio.create_task(normalized_source(build, one.services))
    await reading.wait()
    assert not one.services.normalizing.locked()
    asking.cancel()


async def with_stored_source(one: OneBuild, folder: Path) -> Build:
    """The running build, on a replica that has its source in the object store only."""
    build = await one.running()
    (folder / "source").write_bytes(archive({"build.sh": "true"}))
    await one.services.objects.put(source_object(one.build_uuid), folder / "source", content_type="application/gzip")
    digest = sha256((folder / "source").read_bytes()).hexdigest()
    return replace(build, source=SourceFacts(digest, 1, "application/gzip"))


class Branch:
    """Implements `SourceFetcher`: `text` is what the archive's only file has when it is fetched."""

    def __init__(self) -> None:
        self.text = ""

    def place(self) -> AbstractAsyncContextManager[object]:
        return nullcontext()

    async def fetch(self, source: HttpSource, into: Path, limits: SourceLimits) -> FetchedSource:
        packed = archive({"a": self.text})
        into.write_bytes(packed)
        return FetchedSource(into, len(packed), sha256(packed).hexdigest(), "application/gzip")


async def test_a_replica_that_lost_the_app_while_it_stored_a_source_hands_out_the_recorded_one(
    one: OneBuild, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Before, it handed out what it had fetched itself, although the branch had moved before that was recorded."""
    branch, storing, put = Branch(), asyncio.Event(), one.services.objects.put
    monkeypatch.setitem(cast("dict[type, Branch]", one.services.fetchers), HttpSource, branch)

    async def hang(*_: object, **__: object) -> None:
        storing.set()
        await asyncio.Event().wait()

    branch.text = "first"
    monkeypatch.setattr(one.services.objects, "put", hang)
    first = asyncio.create_task(staged(one))
    await storing.wait()
    first.cancel()

    branch.text = "second"
    monkeypatch.setattr(one.services.objects, "put", put)
    elsewhere = one.services.settings.model_copy(update={"shuttle_data_dir": tmp_path / "elsewhere"})
    build = await stage(await one.row(), one.spec, replace(one.services, settings=elsewhere))
    assert build is not None
    with tarfile.open(await normalized_source(build, one.services)) as tar:
        assert cast("IO[bytes]", tar.extractfile("a")).read() == b"second"
    forget_local_source(build, one.services)
    assert [path.name for path in (one.services.settings.shuttle_data_dir / "sources").iterdir()] == []


async def test_a_stored_source_that_another_one_has_replaced_is_not_used(
    one: OneBuild, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A replica that has lost the app may end its upload after the recorded source was stored."""
    branch, objects = Branch(), one.services.objects
    monkeypatch.setitem(cast("dict[type, Branch]", one.services.fetchers), HttpSource, branch)
    build = await staged(one)
    assert build is not None
    forget_local_source(build, one.services)
    (tmp_path / "late").write_bytes(archive({"a": "late"}))
    await objects.put(source_object(one.build_uuid), tmp_path / "late", content_type="application/gzip")
    with pytest.raises(ObjectNotFoundError):
        await normalized_source(build, one.services)
    with pytest.raises(ObjectNotFoundError):
        await fetch_stored_source(one.build_uuid, Standing.CONTROLLER, one.services, tmp_path / "copy")

    async def head(_name: str) -> ObjectInfo:
        return ObjectInfo(1, "application/gzip", sha256((tmp_path / "late").read_bytes()).hexdigest())

    monkeypatch.setattr(objects, "head", head)
    assert await find_source(one.build_uuid, one.services) is None


async def test_a_source_of_a_request_that_another_one_has_replaced_is_lost(one: OneBuild, tmp_path: Path):
    data = replace(await with_stored_source(one, tmp_path), source=SourceFacts("00" * 32, 1, "application/gzip"))
    with pytest.raises(BuildFailedError) as caught:
        await DataSource(url="data:").fetch(_Staging(data, Standing.CONTROLLER, one.services))
    assert caught.value.reason == "source_lost"
