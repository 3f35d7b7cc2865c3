"""Names of objects in the object store (docs/contract.md, "Objects")."""

from urllib.parse import quote

from shuttle.build import Api, Build


def source_object(build_uuid: str) -> str:
    """The original bytes of a build's source."""
    return build_uuid


def log_object(build_uuid: str) -> str:
    """The archived log."""
    return f"{build_uuid}.log"


def log_objects(build: Build) -> tuple[str, ...]:
    """Every name that the archived log of a build has."""
    names = (log_object(build.build_uuid),)
    return (*names, legacy_log_object(build.app_id, build.build_id)) if build.api is Api.LEGACY else names


def legacy_log_object(app_id: str, build_id: str) -> str:
    """The archived log of a build of the older API, once more, under the name that the old shuttle gave it."""
    return f"{quote(app_id, safe='')}-{quote(build_id, safe='')}.logs"


def artifact_object(build_uuid: str, name: str) -> str:
    """A file that the pipeline left; percent-encoded, because object stores differ in the names they take."""
    return f"{build_uuid}/artifacts/{quote(name, safe='/')}"
