"""The failures of a build below `/-/state`; a failure ends a record."""

from aiohttp import web

from shuttle.errors import ConflictError, ForbiddenError, InvalidRequestError, NotFoundError, StoreError
from shuttle.store.record_failures import FailureReport, failures_of, record_failure
from shuttle.web import SERVICES
from shuttle.web.description import describe
from shuttle.web.state.answers import answer, created, created_replies
from shuttle.web.state.bodies import SHAPE_ERRORS, read_shape
from shuttle.web.state.build_forms import failure_entry
from shuttle.web.state.builds_named import build_in
from shuttle.web.state.failure_models import Failure, Failures, NewFailure


@describe(
    body=NewFailure,
    replies=created_replies(Failure),
    errors=(*SHAPE_ERRORS, ForbiddenError, NotFoundError, ConflictError, StoreError),
)
async def post_failure(request: web.Request) -> web.StreamResponse:
    """`POST /-/state/builds/{build}/failures`: 201; `…/failure` is the same and answers 200."""
    build = await build_in(request)
    body = await read_shape(request, NewFailure)
    message = body.error_message or body.message
    if message is None:
        raise InvalidRequestError("Add error_message: what failed, as one sentence.", field="error_message")
    report = FailureReport(
        code=body.state,
        kind=body.failure_type or body.error_code or "error",
        message=message,
        component=body.component,
        retryable=bool(body.retryable),
        retry_attempt=body.retry_attempt or 0,
        details=body.error_details,
    )
    written, row = await request.app[SERVICES].database.run(record_failure, build.build_uuid, report)
    return created(request, failure_entry(written, row), is_new=not request.path.rstrip("/").endswith("/failure"))


@describe(Failures, errors=(ForbiddenError, NotFoundError, StoreError))
async def list_failures(request: web.Request) -> web.StreamResponse:
    """`GET /-/state/builds/{build}/failures`: the failures in the order in which they were reported."""
    build = await build_in(request)
    rows = await request.app[SERVICES].database.run(failures_of, build.build_uuid)
    return answer(request, Failures([failure_entry(build, row) for row in rows]))
