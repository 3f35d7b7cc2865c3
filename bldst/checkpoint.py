"""bldst checkpoint: one request with a state, its artifacts and its variables."""

import hashlib
import os
from typing import Any, Dict
from urllib.parse import urlsplit

from bldst.errors import CommandError, UsageError
from bldst.run import Run

_CHUNK_BYTES = 2**20


def record_checkpoint(run: Run) -> int:
    """Record the checkpoint.

    Raises:
        CommandError: A file cannot be read, or the service does not record artifacts and variables with a state.
    """
    fields = run.fields
    name = run.places["name"]
    body = {"status": "completed", "state_name": name, "message": name, **fields}
    body["artifacts"] = [_artifact(place, run) for place in fields.get("artifacts", ())]
    body["variables"] = [_variable(pair) for pair in fields.get("variables", ())]
    answer = run.client.send("POST", run.fill("/builds/{build}/state"), body=body)
    data = answer.require_success()
    ignored = {"artifacts", "variables"} & set(
        (answer.header("Shuttle-Ignored-Fields") or "").replace(",", " ").split()
    )
    if ignored:
        raise CommandError("the service recorded the state, but not the {}".format(" and ".join(sorted(ignored))))
    if run.output.chosen:
        run.output.show_data(data, run.command)
    run.say("checkpoint {} is recorded at state {}".format(name, fields["state_code"]))
    return 0


def _variable(pair: str) -> Dict[str, Any]:
    key, equals, value = pair.partition("=")
    if not equals or not key:
        raise UsageError(f"--var takes KEY=VALUE, not {key!r}")
    return {"variable_key": key, "variable_value": value, "is_required_for_resume": True}


def _artifact(place: str, run: Run) -> Dict[str, Any]:
    return {**(_reference(place) if "://" in place else _file(place, run)), "is_resumable": True}


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


def _file(path: str, run: Run) -> Dict[str, Any]:
    """Describe a file of this machine by its size and checksum; its bytes are not sent."""
    digest = hashlib.sha256()
    size = 0
    try:
        with open(path, "rb") as file:
            for chunk in iter(lambda: file.read(_CHUNK_BYTES), b""):
                digest.update(chunk)
                size += len(chunk)
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from None
    run.say(f"{path} is recorded with its checksum; the file stays on this machine")
    return {
        "artifact_name": os.path.basename(path),
        "artifact_type": "file",
        "artifact_path": os.path.abspath(path),
        "storage_backend": "local",
        "size_bytes": size,
        "checksum": digest.hexdigest(),
        "checksum_algorithm": "sha256",
    }
