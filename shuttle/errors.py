"""One family of errors: the HTTP status and the stable code sit on the class, the message says what to do."""

from collections.abc import Mapping
from typing import ClassVar


class ShuttleError(Exception):
    """Anything that the shuttle tells a caller; `str(error)` is one sentence without secrets."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str, *, field: str | None = None, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.headers = dict(headers or {})


# --- what a request can do wrong: 4xx ---------------------------------------------------------------


class InvalidRequestError(ShuttleError):
    """A field of the request cannot be used as it is; `field` names it."""

    status = 400
    code = "invalid_request"


class InvalidJsonError(InvalidRequestError):
    """The body is not JSON; the message gives line and column."""

    code = "invalid_json"


class NotYetSupportedError(InvalidRequestError):
    """A scheme or field that is planned and that this version does not serve yet."""

    code = "not_supported_yet"


class MalformedHttpError(ShuttleError):
    """What came is not HTTP."""

    status = 400
    code = "malformed_http"


class LegacyRefusalError(InvalidRequestError):
    """What the older API answers to a request that it cannot take; the message is its whole `status`."""


# How a caller may present a token.
CHALLENGE = 'Bearer realm="build shuttle", Basic realm="build shuttle"'


class UnauthorizedError(ShuttleError):
    """No credentials, or wrong ones."""

    status = 401
    code = "unauthorized"


class TokenNeededError(UnauthorizedError):
    """A caller without a token wants what is not the older API's (SHUTTLE_LEGACY_ANONYMOUS)."""

    def __init__(self, *, field: str | None = None) -> None:
        super().__init__(
            "Send one of the service's tokens: without one, only builds of the older API can be used.",
            field=field,
            headers={"WWW-Authenticate": CHALLENGE},
        )


class ForbiddenError(ShuttleError):
    """Known credentials whose role is too small."""

    status = 403
    code = "forbidden"


class NotFoundError(ShuttleError):
    """Nothing of that name."""

    status = 404
    code = "not_found"


class HeadTimeoutError(ShuttleError):
    """The head of a request did not arrive in time."""

    status = 408
    code = "head_timeout"


class BodyTimeoutError(ShuttleError):
    """The body of a request arrives too slowly, or not at all."""

    status = 408
    code = "body_timeout"


class ConflictError(ShuttleError):
    """The name is taken by something else."""

    status = 409
    code = "conflict"


class GoneError(ShuttleError):
    """What was asked for existed and is over."""

    status = 410
    code = "gone"


class BodyTooLargeError(ShuttleError):
    """More bytes than the limit, noticed while reading."""

    status = 413
    code = "body_too_large"


class UnsupportedMediaTypeError(ShuttleError):
    """A Content-Type other than JSON."""

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
    """The head of a request is longer than it may be."""

    status = 431
    code = "head_too_large"


class TooManyConnectionsError(ShuttleError):
    """No connection more is taken, of this peer or of anybody; one of them has to end first."""

    status = 503
    code = "too_many_connections"


class BusyError(ShuttleError):
    """The bodies that are being received take all the room that there is for them."""

    status = 503
    code = "busy"


class CannotRecordError(ShuttleError):
    """The database or the object store cannot make the build durable now; ask again later."""

    status = 503
    code = "cannot_record"


# --- what ends a build: `code` is the build's reason -------------------------------------------------


class BuildFailedError(ShuttleError):
    """Found while the build was under way; ends it `failed` with `reason` and the message."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


# --- what others do to us: never ends a build ---------------------------------------------------------


class UnavailableError(ShuttleError):
    """Somebody we depend on does not answer as it should now: wait with backoff, keep the build."""

    status = 503
    code = "unavailable"


class RetryLaterError(UnavailableError):
    """A host that answers, and says after how many seconds it wants to be asked again."""

    code = "retry_later"

    def __init__(self, message: str, *, after_seconds: float) -> None:
        super().__init__(message)
        self.after_seconds = after_seconds


class StoreError(UnavailableError):
    """The database cannot be reached or written."""

    code = "store_unavailable"


class StoreFaultError(StoreError):
    """The database works, and refused what we asked of it: a fault of ours. Builds wait as if it were out of reach, for
    nothing of theirs may be lost; callers are not told to ask again."""

    status = 500
    code = "internal_error"


class ObjectStoreError(UnavailableError):
    """The object store refuses, is slow or is out of space."""

    code = "object_store_unavailable"


class LocalDiskError(UnavailableError):
    """The disk of SHUTTLE_DATA_DIR takes nothing (full, broken): ask again when it has room."""

    code = "disk_unavailable"


class KafkaUnavailableError(UnavailableError):
    """A Kafka cluster cannot be reached, refuses us, or does not acknowledge: send again what was not acknowledged."""

    code = "kafka_unavailable"


class RecordTooLargeError(ShuttleError):
    """A single Kafka message is larger than the topic takes; sent again as it is, it fails again."""

    code = "record_too_large"


class ObjectNotFoundError(ShuttleError):
    """No object of that name in the object store."""

    status = 404
    code = "object_not_found"


class JenkinsUnavailableError(UnavailableError):
    """Refused, reset, timed out, 5xx or unreadable: what Jenkins did is unknown."""

    code = "jenkins_unavailable"


class JenkinsRefusedError(UnavailableError):
    """401 or 403: the credentials or permissions in JENKINS_URL do not suffice.

    `permission` is what Jenkins said is missing, as its pages call it (`Job/Cancel`); None where it did not say.
    """

    code = "jenkins_refused"

    def __init__(self, message: str, *, permission: str | None = None) -> None:
        super().__init__(message)
        self.permission = permission


class JenkinsNotFoundError(ShuttleError):
    """A healthy Jenkins says that the job, build or queue item is not there."""

    status = 404
    code = "jenkins_not_found"


class AddressRefusedError(ShuttleError):
    """An outgoing address that policy forbids (link-local, metadata, loopback)."""

    status = 400
    code = "address_refused"


class SettingsError(ShuttleError):
    """The environment does not describe a shuttle that can start; the message lists every problem."""

    code = "bad_settings"


class KeyMissingError(UnavailableError):
    """A recorded secret that none of the keys in use opens."""

    code = "key_missing"


class JobNotReadyError(UnavailableError):
    """Jenkins certainly queued nothing: the job is disabled, or lost its parameters."""

    code = "job_not_ready"


class ForeignJobError(ShuttleError):
    """A Jenkins job of our name that does not carry our marker: never changed, never deleted."""

    status = 409
    code = "foreign_job"
