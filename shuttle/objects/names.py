"""What objects are called (contract, section 8)."""

from urllib.parse import quote


def source_object(build_uuid: str) -> str:
    """The original bytes of a build's source."""
    return build_uuid


def log_object(build_uuid: str) -> str:
    """The archived log."""
    return f"{build_uuid}.log"


def artifact_object(build_uuid: str, name: str) -> str:
    """A file that the pipeline left; percent-encoded, because object stores differ in the names they take."""
    return f"{build_uuid}/artifacts/{quote(name, safe='/')}"
