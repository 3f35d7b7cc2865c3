"""`GET /-/state/users/me`: the role of the caller's token in the form of a user. There are no others."""

from aiohttp import web

from shuttle.errors import NotFoundError
from shuttle.events import instant_text
from shuttle.standing import Standing
from shuttle.web import STANDING, STARTED_AT
from shuttle.web.description import describe
from shuttle.web.state.answers import answer
from shuttle.web.state.models import User


@describe(User)
async def get_me(request: web.Request) -> web.StreamResponse:
    """`GET /-/state/users/me`: made of the token's role; the times are the start of this replica."""
    role = "controller" if request[STANDING] is Standing.CONTROLLER else "reader"
    started_at = instant_text(request.app[STARTED_AT])
    body = User(
        id=int(request[STANDING]),
        username=role,
        email=f"{role}@shuttle.invalid",
        full_name=f"A {role} by SHUTTLE_TOKENS",
        is_active=True,
        created_at=started_at,
        updated_at=started_at,
    )
    return answer(request, body)


async def no_users(request: web.Request) -> web.StreamResponse:
    """Any other call about users: there is no database of users."""
    raise NotFoundError("There are no users: callers have the tokens of SHUTTLE_TOKENS.")
