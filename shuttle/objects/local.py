"""This machine's own disk, where bytes lie on their way to the object store and to agents."""

from collections.abc import Iterator
from contextlib import contextmanager

from shuttle.errors import LocalDiskError


@contextmanager
def local_disk() -> Iterator[None]:
    """What the disk refuses in here is a LocalDiskError; what a connection does stays what it is."""
    try:
        yield
    except (ConnectionError, TimeoutError):
        raise
    except OSError as error:
        raise LocalDiskError(
            f"This machine's disk cannot be used ({error.strerror or error}): free or repair that of SHUTTLE_DATA_DIR."
        ) from error
