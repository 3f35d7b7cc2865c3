"""This machine's own disk, where bytes lie on their way to the object store and to agents."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from shuttle.errors import LocalDiskError

_OTHERS = 0o077


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


def make_private(folder: Path) -> None:
    """Make a directory that only this user can enter; of one that others could enter, nothing in it is left to them.

    Raises:
        OSError: it cannot be made, or belongs to another user.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if folder.stat().st_mode & _OTHERS:
        for path in (folder, *folder.rglob("*")):
            if not path.is_symlink():
                with suppress(FileNotFoundError):
                    path.chmod(path.stat().st_mode & 0o700)
