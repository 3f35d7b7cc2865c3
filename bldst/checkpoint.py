"""bldst checkpoint: the artifacts and variables that a build needs to continue, and then the state.

The state is the last request, so a build that has it has everything else as well. If one of them fails, the command can
be repeated: the service answers what it has recorded already like the first time.
"""

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
        UsageError: A variable is no KEY=VALUE.
        CommandError: A file cannot be read, or the service refuses something.
    """
    name, fields = run.places["name"], run.fields
    code = fields["state_code"]
    variables = [{**_variable(pair), "set_at_state": code} for pair in fields.pop("variables", ())]
    artifacts = [{**_artifact(place, run), "state_code": code} for place in fields.pop("artifacts", ())]
    for artifact in artifacts:
        run.ask("POST", "/builds/{build}/artifacts", body=artifact)
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
