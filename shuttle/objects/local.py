"""This machine's own disk, where bytes lie on their way to the object store and to agents."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from stat import S_ISLNK

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
    """Make a directory that only this user can enter, and its files this user's own, a key from a backup for example.

    Folders in it are searched only where others could enter them: there may be a million objects.

    Raises:
        OSError: it cannot be made, or belongs to another user.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    was_open = _close(folder)
    for path in folder.iterdir():
        if (_close(path) or was_open) and path.is_dir() and not path.is_symlink():
            for inner in path.rglob("*"):
                _close(inner)


def _close(path: Path) -> bool:
    """Leave others nothing of it; whether they had anything. Links are not followed."""
    try:
        mode = path.lstat().st_mode
        if S_ISLNK(mode) or not mode & _OTHERS:
            return False
        path.chmod(mode & 0o700)
    except FileNotFoundError:
        return False
    return True
