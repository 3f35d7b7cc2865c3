"""`POST /-/state/token`, for `bldst auth login`: the password is one of the service's tokens; there are no users.

The service has no second secret: the answer's token is the password. With SHUTTLE_TOKENS empty, any password is good.
"""

from aiohttp import web
from yarl import URL

from shuttle.errors import ForbiddenError, UnauthorizedError
from shuttle.web import GATE
from shuttle.web.body import read_body
from shuttle.web.description import describe
from shuttle.web.state.answers import IGNORED_HEADERS, answer
from shuttle.web.state.bodies import SHAPE_ERRORS, StateBody, shape_of
from shuttle.web.state.models import AccessToken
from shuttle.web.storable import Text

# Anyone may send this body, so the limit is small: reading 160,000 names takes a second.
_MAX_BODY_BYTES = 16 * 1024
# Tokens of SHUTTLE_TOKENS do not expire; clients expect a number.
_EXPIRES_IN_SECONDS = 365 * 24 * 3600


class Credentials(StateBody):
    """The form of an OAuth2 password grant, or the same as JSON; only the password counts."""

    username: Text
    password: Text


@describe(
    AccessToken,
    body=Credentials,
    body_types=("application/x-www-form-urlencoded", "application/json"),
    errors=(*SHAPE_ERRORS, UnauthorizedError, ForbiddenError),
    headers=IGNORED_HEADERS,
)
async def post_token(request: web.Request) -> web.StreamResponse:
    """`POST /-/state/token`: the password, if it is a token. A body that does not begin with `{` is a form."""
    raw = await read_body(request, _MAX_BODY_BYTES)
    if raw.lstrip().startswith(b"{"):
        credentials = shape_of(request, Credentials, raw)
    else:
        form = URL.build(query_string=raw.decode("utf-8", "replace"), encoded=True).query
        credentials = shape_of(request, Credentials, dict(form))
    gate = request.app[GATE]
    if gate.standing_of(credentials.password) is None and not gate.is_open(request):
        raise UnauthorizedError("Incorrect username or password", headers={"WWW-Authenticate": "Bearer"})
    body = AccessToken(access_token=credentials.password, expires_in=_EXPIRES_IN_SECONDS)
    response = answer(request, body)
    response.headers["Cache-Control"] = "no-store"
    return response
