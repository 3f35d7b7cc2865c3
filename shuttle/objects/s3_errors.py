"""What S3's refusals mean for the operator: one sentence each, without keys, signatures or addresses with secrets."""

from collections.abc import Mapping

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ParamValidationError,
    ReadTimeoutError,
    SSLError,
)

_WRONG_REGION = "S3_LOCATION does not fit S3_BUCKET: name the region or the endpoint where the bucket is."
_OVERLOADED = "S3 is overloaded or out of order; the shuttle tries again by itself."
_NO_BUCKET = "S3_BUCKET names a bucket that is not there: create it, or correct S3_BUCKET or S3_LOCATION."
_NO_PERMISSION = (
    "S3 refuses the key of S3_ACCESS_KEY: it needs s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket."
)

# Codes of Amazon's API reference ("Error responses"); a HEAD has only the status.
_SENTENCES: Mapping[str, str] = {
    "NoSuchBucket": _NO_BUCKET,
    "404": _NO_BUCKET,
    "InvalidBucketName": "S3_BUCKET is not the name of a bucket.",
    "InvalidAccessKeyId": "S3 does not know the key of S3_ACCESS_KEY: correct it, or check S3_LOCATION.",
    "SignatureDoesNotMatch": "S3_SECRET_KEY does not belong to S3_ACCESS_KEY.",
    "AccessDenied": _NO_PERMISSION,
    "AllAccessDisabled": _NO_PERMISSION,
    "403": f"{_NO_PERMISSION[:-1]}; or S3_ACCESS_KEY or S3_SECRET_KEY is wrong.",
    "PermanentRedirect": _WRONG_REGION,
    "TemporaryRedirect": _WRONG_REGION,
    "AuthorizationHeaderMalformed": _WRONG_REGION,
    "301": _WRONG_REGION,
    "307": _WRONG_REGION,
    "400": _WRONG_REGION,
    "RequestTimeTooSkewed": "The clock of this machine is wrong: S3 accepts 15 minutes at most.",
    "SlowDown": _OVERLOADED,
    "ServiceUnavailable": _OVERLOADED,
    "InternalError": _OVERLOADED,
    "RequestTimeout": _OVERLOADED,
    "500": _OVERLOADED,
    "503": _OVERLOADED,
    "EntityTooLarge": "S3 refuses an object of this size.",
    "QuotaExceeded": "The bucket's quota is used up: make room.",
    "XMinioStorageFull": "S3 is out of space: make room.",
}

_CONNECTION_SENTENCES: tuple[tuple[type[Exception], str], ...] = (
    (SSLError, "The certificate of the S3 endpoint is not trusted; SHUTTLE_CA_FILE can name its CA."),
    (EndpointConnectionError, "S3 cannot be connected to: check S3_LOCATION, or whether it is up."),
    (ConnectTimeoutError, "S3 cannot be connected to: check S3_LOCATION, or whether it is up."),
    (ReadTimeoutError, "S3 does not answer in time; the shuttle tries again by itself."),
    (ParamValidationError, "S3_BUCKET is not the name of a bucket."),
)


def code_of(error: ClientError) -> str:
    """S3's own code, or the HTTP status where the answer had no body."""
    return error.response.get("Error", {}).get("Code", "")


def is_missing(error: ClientError) -> bool:
    """The object is not there; a 404 to a HEAD may also mean the bucket."""
    return code_of(error) in {"NoSuchKey", "404"}


def is_below_object(error: ClientError) -> bool:
    """The server keeps objects as files of folders, and one of the name's folders is a file: versitygw, MinIO."""
    return code_of(error) in {"ObjectParentIsFile", "XMinioParentIsObject"}


def sentence(error: Exception, done: str) -> str:
    """Say what happened and what to do; `done` is what the object could not be (`read`, `written`)."""
    if isinstance(error, ClientError):
        code = code_of(error)
        return _SENTENCES.get(code, f"An object could not be {done}: S3 answers {code or 'with an error'}.")
    for kind, words in _CONNECTION_SENTENCES:
        if isinstance(error, kind):
            return words
    reason = type(error).__name__ if isinstance(error, BotoCoreError) else getattr(error, "strerror", None)
    return f"An object could not be {done}: the connection to S3 failed ({reason or 'it broke off'})."
