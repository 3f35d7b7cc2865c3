"""A file that an upload in a thread reads, until the task that waits for the upload is cancelled."""

import io
import threading
from types import TracebackType
from typing import BinaryIO, Self


class StoppableFile:
    """Reads `file`; once `stopped` is set, a read raises OSError, so that the upload ends without an object.

    A thread cannot be cancelled. An upload that went on after its task might replace a newer object of the same name.
    """

    def __init__(self, file: BinaryIO, stopped: threading.Event) -> None:
        self._file = file
        self._stopped = stopped

    def read(self, size: int = -1) -> bytes:
        """Like the file's; raises OSError after the stop."""
        if self._stopped.is_set():
            raise OSError("the upload was cancelled")
        return self._file.read(size)

    def seek(self, position: int, whence: int = io.SEEK_SET) -> int | None:
        """Like the file's."""
        return self._file.seek(position, whence)

    def tell(self) -> int:
        """Like the file's."""
        return self._file.tell()

    def close(self) -> None:
        """Close the file. Idempotent."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
