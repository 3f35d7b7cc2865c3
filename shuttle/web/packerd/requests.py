"""Requests of packer over REST: asking for a build, running it once more, stopping it, and the list of requests."""

from aiohttp import web

from shuttle.build import StopCause
from shuttle.errors import NotAcceptableError, NothingToStopError, StoreError
from shuttle.lifecycle.accept import AcceptedBuild
from shuttle.lifecycle.packer_request import accept_request, accept_run
from shuttle.lifecycle.stop import stop_build
from shuttle.store.packer_requests import RecordedRun, newest_requests, runs_of
from shuttle.web import ACCEPTANCE, SERVICES, STANDING, WORKER
from shuttle.web.answers import acceptance_headers, json_answer
from shuttle.web.description import ACCEPT_ERRORS, JSON_ERRORS, Reply, describe
from shuttle.web.packerd.bodies import id_in, read_request
from shuttle.web.packerd.errors import UnknownError, WrongShapeError
from shuttle.web.packerd.links import accepted_links, links_of_runs, request_link
from shuttle.web.packerd.models import Buildrequest, Links, NewBuildrequest, Stopped

_LISTED = 10_000
_HEADERS = ("Shuttle-Warnings",)
_ACCEPT_ERRORS = (*ACCEPT_ERRORS, NotAcceptableError)
ID_ERRORS = (UnknownError, WrongShapeError, StoreError, NotAcceptableError)


@describe(
    body=NewBuildrequest,
    replies={202: Reply((Links,), _HEADERS)},
    errors=(*JSON_ERRORS, WrongShapeError, *_ACCEPT_ERRORS),
)
async def post_build(request: web.Request) -> web.StreamResponse:
    """`POST /build`: 202 once the build is durable."""
    wanted = await read_request(request)
    acceptance, services = request.app[ACCEPTANCE], request.app[SERVICES]
    answer = await accept_request(wanted, acceptance, request[STANDING], services)
    return _accepted(request, answer.build.build_id, answer)


@describe(replies={202: Reply((Links,), _HEADERS)}, errors=(*ID_ERRORS, *_ACCEPT_ERRORS))
async def post_run(request: web.Request) -> web.StreamResponse:
    """`POST /build/queue/{id}`: one more run of the request."""
    request_id = id_in(request)
    answer = await accept_run(request_id, request.app[ACCEPTANCE], request[STANDING], request.app[SERVICES])
    if answer is None:
        raise UnknownError
    return _accepted(request, request_id, answer)


def _accepted(request: web.Request, request_id: str, answer: AcceptedBuild) -> web.Response:
    if not answer.replayed:
        request.app[WORKER].add(answer.build, has_sinks=answer.has_sinks)
    links = [link.sent() for link in accepted_links(request_id)]
    return json_answer(links, status=202, headers=acceptance_headers(answer))


@describe(Links, replies={204: Reply(())}, errors=(StoreError, NotAcceptableError))
async def get_queue(request: web.Request) -> web.StreamResponse:
    """`GET /build/queue`: links to the newest 10,000 requests, the oldest first; 204 if there is none."""
    found = await request.app[SERVICES].database.run(newest_requests, _LISTED)
    if not found:
        return web.Response(status=204)
    return json_answer([request_link(request_id).sent() for request_id in found])


@describe(Buildrequest, errors=ID_ERRORS)
async def get_request(request: web.Request) -> web.StreamResponse:
    """`GET /build/queue/{id}`: the request, and links to its runs. Every request has at least one run."""
    runs = await known_runs(request)
    shown = Buildrequest(
        id=runs[0].request_id,
        **runs[-1].fields,
        responses=[run.build_uuid for run in runs],
        responselinks=links_of_runs(runs[0].request_id, runs),
    )
    return json_answer(shown.sent())


@describe(Stopped, errors=(*ID_ERRORS, NothingToStopError))
async def delete_run(request: web.Request) -> web.StreamResponse:
    """`DELETE /build/queue/{id}`: 200 once the stop of the newest run is durable."""
    newest = (await known_runs(request))[-1]
    if await stop_build(newest.build_uuid, StopCause.STOPPED, request.app[SERVICES]) is None:
        raise NothingToStopError(f"Run {newest.run} of this request has already ended.")
    return json_answer(Stopped())


async def known_runs(request: web.Request) -> list[RecordedRun]:
    """The runs of the request in the path; raises UnknownError if there is no such request."""
    runs = await request.app[SERVICES].database.run(runs_of, id_in(request))
    if not runs:
        raise UnknownError
    return runs
