"""Names of objects in the object store (docs/contract.md, "Objects")."""

from urllib.parse import quote

from shuttle.build import Api, Build


def source_object(build_uuid: str) -> str:
    """The source as it was fetched."""
    return build_uuid


def log_object(build_uuid: str) -> str:
    """The archived log."""
    return f"{build_uuid}.log"


def piece_object(build_uuid: str, offset_bytes: int, size_bytes: int) -> str:
    """A piece of a running log. Its size is in the name, so that a shorter piece never replaces a longer one."""
    return f"{build_uuid}.log.{offset_bytes}-{size_bytes}"


def log_objects(build: Build) -> tuple[str, ...]:
    """All names of a build's archived log."""
    names = (log_object(build.build_uuid),)
    return (*names, legacy_log_object(build.app_id, build.build_id)) if build.api is Api.LEGACY else names


def legacy_log_object(app_id: str, build_id: str) -> str:
    """The second name of the archived log of a build of the older API: the one that the old shuttle used."""
    return f"{quote(app_id, safe='')}-{quote(build_id, safe='')}.logs"


def artifact_object(build_uuid: str, name: str) -> str:
    """An artifact; its name is percent-encoded, because object stores allow different characters."""
    return f"{build_uuid}/artifacts/{quote(name, safe='/')}"
