"""One family of errors: each class has an HTTP status and a stable code, and its message says what to do."""

from collections.abc import Mapping
from typing import ClassVar

from shuttle.storable import storable

# Errors name fields, and a caller chooses the names in `variables`, `labels`, `metadata` and the like.
_MAX_FIELD_CHARACTERS = 300


class ShuttleError(Exception):
    """An error that callers see; `str(error)` is one sentence without secrets."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str, *, field: str | None = None, headers: Mapping[str, str] | None = None) -> None:
        # Builds and deliveries record it, and it may quote what another service has sent.
        self.message = storable(message)
        super().__init__(self.message)
        self.field = None if field is None else shortened(field)
        self.headers = dict(headers or {})


def shortened(name: str) -> str:
    """The name of a field for an error; a very long name is cut."""
    return name if len(name) <= _MAX_FIELD_CHARACTERS else name[:_MAX_FIELD_CHARACTERS] + "…"


# --- errors of requests: 4xx, and 503 if there is no room for one ---------------------------------------


class InvalidRequestError(ShuttleError):
    """A part of the request is invalid; `field` names it."""

    status = 400
    code = "invalid_request"


class InvalidJsonError(InvalidRequestError):
    """The body is not JSON; the message gives line and column."""

    code = "invalid_json"


class MalformedHttpError(ShuttleError):
    """The request is not valid HTTP."""

    status = 400
    code = "malformed_http"


class LegacyRefusalError(InvalidRequestError):
    """A refusal of the older API; its body has only `status`, which is the message."""


# How a caller may present a token.
CHALLENGE = 'Bearer realm="build shuttle", Basic realm="build shuttle"'


class UnauthorizedError(ShuttleError):
    """No credentials, or wrong ones."""

    status = 401
    code = "unauthorized"


class TokenNeededError(UnauthorizedError):
    """Without a token, only builds of the older API are accessible (SHUTTLE_LEGACY_ANONYMOUS)."""

    def __init__(self, *, field: str | None = None) -> None:
        super().__init__(
            "Send one of the service's tokens: without one, only the older API can be used, for apps that it created.",
            field=field,
            headers={"WWW-Authenticate": CHALLENGE},
        )


class ForbiddenError(ShuttleError):
    """The role of the credentials does not suffice, or the request comes from another site's page."""

    status = 403
    code = "forbidden"


class NotFoundError(ShuttleError):
    """There is nothing of that name."""

    status = 404
    code = "not_found"


class NotAcceptableError(ShuttleError):
    """The caller accepts no media type of the answer."""

    status = 406
    code = "not_acceptable"


class HeadTimeoutError(ShuttleError):
    """The head of a request did not arrive in time."""

    status = 408
    code = "head_timeout"


class BodyTimeoutError(ShuttleError):
    """The body of a request arrives too slowly, or not at all."""

    status = 408
    code = "body_timeout"


class ConflictError(ShuttleError):
    """The request conflicts with what is recorded under this name."""

    status = 409
    code = "conflict"


class GoneError(ShuttleError):
    """The build, attempt or resource existed, but has ended."""

    status = 410
    code = "gone"


class BodyTooLargeError(ShuttleError):
    """The body is larger than the limit."""

    status = 413
    code = "body_too_large"


class UnsupportedMediaTypeError(ShuttleError):
    """The body's Content-Type or Content-Encoding is not supported."""

    status = 415
    code = "unsupported_media_type"


class RangeNotSatisfiableError(ShuttleError):
    """An offset or a range beyond the end of a complete log."""

    status = 416
    code = "range_not_satisfiable"


class NothingToStopError(ShuttleError):
    """The build is unknown or already final."""

    status = 422
    code = "nothing_to_stop"


class QueueFullError(ShuttleError):
    """SHUTTLE_QUEUE_LIMIT builds are waiting already."""

    status = 429
    code = "queue_full"


class HeadTooLargeError(ShuttleError):
    """The head of a request is too large."""

    status = 431
    code = "head_too_large"


class TooManyConnectionsError(ShuttleError):
    """The limit of open connections, of this peer or in total, is reached."""

    status = 503
    code = "too_many_connections"


class BusyError(ShuttleError):
    """Other requests use all the memory or disk space for bodies; try again later."""

    status = 503
    code = "busy"


class CannotRecordError(ShuttleError):
    """The database or the object store cannot make the build durable now; try again later."""

    status = 503
    code = "cannot_record"


# --- errors that end a build ------------------------------------------------------------------------


class BuildFailedError(ShuttleError):
    """Ends a build in any of its steps as `failed`, with `reason` and the message."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


# --- failures of other services: an UnavailableError never ends a build -------------------------------


class UnavailableError(ShuttleError):
    """A service that the shuttle depends on is unavailable: wait with backoff, keep the build."""

    status = 503
    code = "unavailable"


class RetryLaterError(UnavailableError):
    """A host asks for a retry after a number of seconds."""

    code = "retry_later"

    def __init__(self, message: str, *, after_seconds: float) -> None:
        super().__init__(message)
        self.after_seconds = after_seconds


class StoreError(UnavailableError):
    """The database cannot be reached or written."""

    code = "store_unavailable"


class BeingFilledError(StoreError):
    """`shuttle migrate` is filling the database: that may take hours, and nobody may serve from it meanwhile."""


class OutcomeUnknownError(StoreError):
    """The database did not answer in time, so the transaction may have been committed, or may be committed later."""


class NotOwnerError(ShuttleError):
    """Another replica owns the app. Tasks of this replica that worked for the app end, and record nothing more."""

    status = 503
    code = "not_owner"

    def __init__(self) -> None:
        super().__init__("Another replica works for this app; send the request again.", headers={"Retry-After": "1"})


class StoreFaultError(StoreError):
    """The database works but refused a statement, which is a bug of the shuttle.

    Builds wait as if the database were unreachable, so that nothing of them is lost; callers are not asked to retry.
    """

    status = 500
    code = "internal_error"


class ObjectStoreError(UnavailableError):
    """The object store refuses, is too slow or is out of space."""

    code = "object_store_unavailable"


class LocalDiskError(UnavailableError):
    """The disk of SHUTTLE_DATA_DIR cannot be written (full, broken): retry when it has space."""

    code = "disk_unavailable"


class KafkaUnavailableError(UnavailableError):
    """A Kafka cluster is unreachable, refuses, or does not acknowledge: send unacknowledged records again."""

    code = "kafka_unavailable"


class RecordTooLargeError(ShuttleError):
    """A single Kafka message is larger than the topic accepts; a retry without change fails again."""

    code = "record_too_large"


class ObjectNotFoundError(ShuttleError):
    """There is no object of that name in the object store."""

    status = 404
    code = "object_not_found"


class JenkinsUnavailableError(UnavailableError):
    """A connection failed or timed out, or a response was 5xx or unreadable: what Jenkins did is unknown."""

    code = "jenkins_unavailable"


class JenkinsRefusedError(UnavailableError):
    """401 or 403: the credentials in JENKINS_URL are wrong, or their permissions do not suffice.

    `permission` is the missing permission as Jenkins names it (`Job/Cancel`); None if the response did not name it.
    """

    code = "jenkins_refused"

    def __init__(self, message: str, *, permission: str | None = None) -> None:
        super().__init__(message)
        self.permission = permission


class JenkinsNotFoundError(ShuttleError):
    """A healthy Jenkins answers that the job, build or queue item does not exist."""

    status = 404
    code = "jenkins_not_found"


class AddressRefusedError(ShuttleError):
    """The policy forbids an outgoing address (link-local, metadata, loopback)."""

    status = 400
    code = "address_refused"


class SettingsError(ShuttleError):
    """The settings are invalid; the message lists every problem."""

    code = "bad_settings"


class DatabaseInUseError(SettingsError):
    """Another process uses the SQLite file. It may end soon, so a supervisor such as systemd should start it again."""

    code = "database_in_use"


class MovedError(SettingsError):
    """The content of the SQLite file was moved to PostgreSQL, or is being moved."""


class MoveRefusedError(ShuttleError):
    """A database cannot be moved as requested."""

    status = 409
    code = "move_refused"


class KeyMissingError(UnavailableError):
    """None of the keys in use decrypts a recorded secret."""

    code = "key_missing"


class JobNotReadyError(UnavailableError):
    """Jenkins certainly queued nothing: the job is disabled, or has lost its parameters."""

    code = "job_not_ready"


class ForeignJobError(ShuttleError):
    """A Jenkins job has the app's name but not the shuttle's marker: it is never changed or deleted."""

    status = 409
    code = "foreign_job"
