"""Reference data: the same five calls for platforms, OS versions, image types, cloud providers and so on."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from aiohttp import web
from pydantic import BaseModel, RootModel

from shuttle.errors import ConflictError, NotFoundError, StoreError
from shuttle.store.references import (
    Kind,
    Reference,
    change_reference,
    create_reference,
    deactivate_reference,
    known_reference,
    page_of_references,
)
from shuttle.web import SERVICES, Handler
from shuttle.web.description import describe
from shuttle.web.state import reference_models as models
from shuttle.web.state.answers import IGNORED_HEADERS, NO_CONTENT, answer, created, created_replies, no_content
from shuttle.web.state.bodies import SHAPE_ERRORS, read_shape
from shuttle.web.state.details import InvalidShapeError
from shuttle.web.state.names import key_in
from shuttle.web.state.pages import PAGE_QUERY, WITH_DEACTIVATED, flag_of, page_of


@dataclass(frozen=True, slots=True)
class Collection:
    """The reference data of one kind: its paths, and the models of its bodies and answers."""

    kind: Kind
    paths: tuple[str, ...]
    new: type[models.ReferenceChange]
    change: type[models.ReferenceChange]
    entry: type[BaseModel]
    entries: type[RootModel[Any]]
    shown: Callable[[Reference], BaseModel]


COLLECTIONS = (
    Collection(
        Kind.PLATFORM,
        ("/platforms",),
        models.NewPlatform,
        models.PlatformChange,
        models.Platform,
        models.Platforms,
        models.platform_entry,
    ),
    Collection(
        Kind.OS_VERSION,
        ("/os-versions", "/os_versions"),
        models.NewOsVersion,
        models.OsVersionChange,
        models.OsVersion,
        models.OsVersions,
        models.os_version_entry,
    ),
    Collection(
        Kind.IMAGE_TYPE,
        ("/image-types", "/image_types"),
        models.NewReference,
        models.ReferenceChange,
        models.ImageType,
        models.ImageTypes,
        models.image_type_entry,
    ),
    Collection(
        Kind.CLOUD_PROVIDER,
        ("/cloud-providers", "/cloud_providers"),
        models.NewReference,
        models.ReferenceChange,
        models.CloudProvider,
        models.CloudProviders,
        models.cloud_provider_entry,
    ),
    Collection(
        Kind.OS_DISTRIBUTION,
        ("/os-distributions", "/os_distributions"),
        models.NewReference,
        models.ReferenceChange,
        models.OsDistribution,
        models.OsDistributions,
        models.os_distribution_entry,
    ),
    Collection(
        Kind.IMAGE_VARIANT,
        ("/image-variants", "/image_variants"),
        models.NewReference,
        models.ReferenceChange,
        models.ImageVariant,
        models.ImageVariants,
        models.image_variant_entry,
    ),
)


class Handlers(NamedTuple):
    """The five calls about one kind."""

    post: Handler
    list_all: Handler
    get: Handler
    put: Handler
    delete: Handler


def handlers_of(of: Collection) -> Handlers:
    """The handlers of one kind of reference data."""
    kind = of.kind

    @describe(body=of.new, replies=created_replies(of.entry), errors=(*SHAPE_ERRORS, ConflictError, StoreError))
    async def post(request: web.Request) -> web.StreamResponse:
        values = (await read_shape(request, of.new)).given()
        name = values.pop("name")
        found, is_new = await request.app[SERVICES].database.run(create_reference, kind, name, values)
        return created(request, of.shown(found), is_new=is_new)

    @describe(of.entries, parameters=(*PAGE_QUERY, WITH_DEACTIVATED), errors=(InvalidShapeError, StoreError))
    async def list_all(request: web.Request) -> web.StreamResponse:
        page, with_deactivated = page_of(request), flag_of(request, WITH_DEACTIVATED.name) or False
        found = await request.app[SERVICES].database.run(
            page_of_references, kind, skip=page.skip, limit=page.limit, with_deactivated=with_deactivated
        )
        return answer(request, of.entries([of.shown(each) for each in found]))

    @describe(of.entry, errors=(NotFoundError, StoreError))
    async def get(request: web.Request) -> web.StreamResponse:
        key = key_in(request, "reference_id", kind.noun)
        return answer(request, of.shown(await request.app[SERVICES].database.run(known_reference, kind, key)))

    @describe(
        of.entry,
        body=of.change,
        errors=(*SHAPE_ERRORS, NotFoundError, ConflictError, StoreError),
        headers=IGNORED_HEADERS,
    )
    async def put(request: web.Request) -> web.StreamResponse:
        key = key_in(request, "reference_id", kind.noun)
        values = (await read_shape(request, of.change)).given()
        name = values.pop("name", None)
        changed = await request.app[SERVICES].database.run(change_reference, kind, key, values, name=name)
        return answer(request, of.shown(changed))

    @describe(replies=NO_CONTENT, errors=(NotFoundError, StoreError))
    async def delete(request: web.Request) -> web.StreamResponse:
        await request.app[SERVICES].database.run(deactivate_reference, kind, key_in(request, "reference_id", kind.noun))
        return no_content()

    return Handlers(post, list_all, get, put, delete)
