"""bldst checkpoint: the artifacts and variables that a build needs to continue, and then the state.

Files are uploaded. The state is sent last, so a build that has the state has its artifacts and variables, too. If a
request fails, repeat the command: for a part that it has recorded already, the service gives the same answer again.
"""

import hashlib
import os
from contextlib import ExitStack
from typing import Any, BinaryIO, Dict, List
from urllib.parse import urlsplit

from bldst.errors import CommandError, UsageError
from bldst.run import Run


def record_checkpoint(run: Run) -> int:
    """Record the checkpoint.

    Raises:
        UsageError: A variable is no KEY=VALUE.
        CommandError: A file cannot be read, or the service refuses something.
    """
    name, fields = run.places["name"], run.fields
    code = fields["state_code"]
    variables = [{**_variable(pair), "set_at_state": code} for pair in fields.pop("variables", ())]
    artifacts: List[str] = fields.pop("artifacts", [])
    with ExitStack() as stack:
        # All of them are opened before the first request.
        files = {place: stack.enter_context(_opened(place)) for place in artifacts if "://" not in place}
        for place in artifacts:
            if place in files:
                _upload(place, files[place], code, run)
            else:
                body = {**_reference(place), "is_resumable": True, "state_code": code}
                run.ask("POST", "/builds/{build}/artifacts", body=body)
    for variable in variables:
        run.ask("POST", "/builds/{build}/variables", body=variable)
    state = run.ask("POST", "/builds/{build}/state", body={"status": name, **fields})
    if run.output.chosen:
        run.output.show_data(state, run.command)
    counts = f"{len(artifacts)} artifacts and {len(variables)} variables"
    run.say(f"checkpoint {name} is recorded at state {code} with {counts}")
    return 0


def _variable(pair: str) -> Dict[str, Any]:
    key, equals, value = pair.partition("=")
    if not equals or not key:
        raise UsageError(f"--var takes KEY=VALUE, not {key!r}")
    return {"variable_key": key, "variable_value": value, "is_required_for_resume": True}


def _reference(url: str) -> Dict[str, Any]:
    parts = urlsplit(url)
    key = parts.path.strip("/")
    reference = {
        "artifact_name": key.rpartition("/")[2] or parts.netloc,
        "artifact_type": "reference",
        "artifact_path": url,
        "storage_backend": parts.scheme,
    }
    return {**reference, "storage_bucket": parts.netloc, "storage_key": key} if parts.scheme == "s3" else reference


def _opened(path: str) -> BinaryIO:
    try:
        return open(path, "rb")
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from None


def _upload(path: str, file: BinaryIO, code: int, run: Run) -> None:
    """Send the file under its own name.

    Raises:
        CommandError: It cannot be read, was changed meanwhile, or was refused.
    """
    run.places["file"] = os.path.basename(path)
    hashed = _HashedFile(file)
    try:
        size_bytes = os.fstat(file.fileno()).st_size
        where = "/builds/{build}/artifacts/{file}/content"
        stored = run.upload(where, hashed, size_bytes, {"state_code": code})  # type: ignore[arg-type]
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from None
    if stored.get("checksum") != hashed.digest.hexdigest():
        raise CommandError(f"{path} was changed while it was sent: repeat the command")
    run.say(f"{path} is uploaded ({size_bytes} bytes)")


class _HashedFile:
    """A file whose SHA-256 is computed while it is read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """Read the next bytes."""
        chunk = self._file.read(size)
        self.digest.update(chunk)
        return chunk

    def seek(self, position: int) -> None:
        """Go back to the beginning, which is the only position that is used."""
        self._file.seek(position)
        self.digest = hashlib.sha256()
