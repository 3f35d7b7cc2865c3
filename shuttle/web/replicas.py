"""`GET /-/replicas`: the processes that serve from the database, and what each of them works for."""

from aiohttp import web

from shuttle.errors import StoreError
from shuttle.events import instant_text
from shuttle.store.ownership import owned_work
from shuttle.web import MEMBERSHIP, SERVICES
from shuttle.web.answers import json_answer
from shuttle.web.description import describe
from shuttle.web.models import ReplicaEntry, ReplicaList


@describe(ReplicaList, errors=(StoreError,))
async def list_replicas(request: web.Request) -> web.StreamResponse:
    """`GET /-/replicas`: all replicas that are considered alive, the answering one first."""
    work = await request.app[SERVICES].database.run(owned_work)
    return json_answer(
        ReplicaList(
            replicas=[
                ReplicaEntry(
                    name=replica.name,
                    instance=replica.instance,
                    version=replica.version,
                    url=replica.url,
                    started_at=instant_text(replica.started_at),
                    counter_age_seconds=round(age_seconds, 1),
                    apps=work.apps.get(replica.instance, 0),
                    builds=work.builds.get(replica.instance, 0),
                )
                for replica, age_seconds in request.app[MEMBERSHIP].ages()
            ]
        )
    )
