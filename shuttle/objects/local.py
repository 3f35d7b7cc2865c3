"""The local disk: errors of temporary files, and private permissions of the data directory."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from stat import S_ISLNK

from shuttle.errors import LocalDiskError

# Temporary files in SHUTTLE_DATA_DIR. Retention removes those that a killed process has left.
ARTIFACT_PREFIX = "artifact-"
DATA_SOURCE_PREFIX = "data-source-"

_OTHERS = 0o077


@contextmanager
def local_disk() -> Iterator[None]:
    """Turn errors of the disk into LocalDiskError; errors of connections are not changed."""
    try:
        yield
    except (ConnectionError, TimeoutError):
        raise
    except OSError as error:
        raise LocalDiskError(
            f"The disk of SHUTTLE_DATA_DIR cannot be used ({error.strerror or error}): free space on it or repair it."
        ) from error


def make_private(folder: Path) -> None:
    """Create a directory that only this user can access, and restrict the files in it, such as a restored key.

    Folders in it are searched only if other users could enter them, because there may be a million objects.

    Raises:
        OSError: the directory cannot be created, or belongs to another user.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    was_open = _restrict(folder)
    for path in folder.iterdir():
        if (_restrict(path) or was_open) and path.is_dir() and not path.is_symlink():
            for inner in path.rglob("*"):
                _restrict(inner)


def _restrict(path: Path) -> bool:
    """Remove other users' permissions; returns whether they had any. Links are not followed."""
    try:
        mode = path.lstat().st_mode
        if S_ISLNK(mode) or not mode & _OTHERS:
            return False
        path.chmod(mode & 0o700)
    except FileNotFoundError:
        return False
    return True
