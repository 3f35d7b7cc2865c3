"""The dashboard of `bldst`: how many builds there are, and the newest of them."""

from functools import partial

from aiohttp import web

from shuttle.errors import NotFoundError, StoreError
from shuttle.store.record_lists import BuildFilter, count_records, page_of_records
from shuttle.store.references import Kind, referred
from shuttle.store.tx import Tx
from shuttle.web import SERVICES
from shuttle.web.description import describe
from shuttle.web.models import ResponseBody
from shuttle.web.state.answers import answer
from shuttle.web.state.build_models import BuildEntries, BuildEntry
from shuttle.web.state.builds import listed
from shuttle.web.state.details import InvalidShapeError
from shuttle.web.state.names import key_in
from shuttle.web.state.pages import PAGE_QUERY, page_of

_RECENT = 10


class Dashboard(ResponseBody):
    """How many builds there are. The numbers by status appear twice, by the names of two generations of clients."""

    total_builds: int
    active_builds: int
    completed_builds: int
    failed_builds: int
    builds_by_platform: dict[str, int]
    builds_by_state: dict[str, int]
    status_counts: dict[str, int]
    recent_builds: list[BuildEntry]


@describe(Dashboard, errors=(StoreError,))
async def get_summary(request: web.Request) -> web.StreamResponse:
    """`GET /-/state/dashboard/summary`: numbers, and the ten newest builds."""
    counts = await request.app[SERVICES].database.run(count_records)
    newest = await listed(request, partial(page_of_records, which=BuildFilter(), skip=0, limit=_RECENT))
    by_status = counts.by_status
    body = Dashboard(
        total_builds=sum(by_status.values()),
        active_builds=by_status["pending"] + by_status["running"],
        completed_builds=by_status["completed"],
        failed_builds=by_status["failed"],
        builds_by_platform=dict(counts.by_platform),
        builds_by_state={str(code): count for code, count in sorted(counts.by_state.items())},
        status_counts=dict(by_status),
        recent_builds=newest,
    )
    return answer(request, body)


@describe(BuildEntries, parameters=PAGE_QUERY, errors=(InvalidShapeError, StoreError))
async def get_recent(request: web.Request) -> web.StreamResponse:
    """`GET /-/state/dashboard/recent`: the newest builds."""
    page = page_of(request)
    newest = partial(page_of_records, which=BuildFilter(), skip=page.skip, limit=page.limit)
    return answer(request, BuildEntries(await listed(request, newest)))


@describe(BuildEntries, parameters=PAGE_QUERY, errors=(InvalidShapeError, NotFoundError, StoreError))
async def get_platform(request: web.Request) -> web.StreamResponse:
    """`GET /-/state/dashboard/platform/{platform}`: the newest builds of a platform; it may be a plain label."""
    page, key = page_of(request), key_in(request, "platform", Kind.PLATFORM.noun)
    services = request.app[SERVICES]

    def name_of(tx: Tx) -> str:
        if page_of_records(tx, BuildFilter(platform=key), skip=0, limit=1):
            return key
        return referred(tx, Kind.PLATFORM, key).name

    which = BuildFilter(platform=await services.database.run(name_of))
    return answer(
        request,
        BuildEntries(await listed(request, partial(page_of_records, which=which, skip=page.skip, limit=page.limit))),
    )
