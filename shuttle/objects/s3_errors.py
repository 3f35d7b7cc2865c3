"""Describes S3's errors for operators in one sentence each, without keys, signatures and secret URLs."""

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

_WRONG_REGION = "S3_LOCATION does not match S3_BUCKET: set the region or the endpoint of the bucket."
_OVERLOADED = "S3 is overloaded or has an internal error; the shuttle retries automatically."
_NO_BUCKET = "The bucket of S3_BUCKET does not exist: create it, or correct S3_BUCKET or S3_LOCATION."
_NO_PERMISSION = (
    "S3 refuses the key of S3_ACCESS_KEY: it needs s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket."
)

# Codes of Amazon's API reference ("Error responses"). The response to a HEAD has only a status.
_SENTENCES: Mapping[str, str] = {
    "NoSuchBucket": _NO_BUCKET,
    "404": _NO_BUCKET,
    "InvalidBucketName": "S3_BUCKET is not a valid bucket name.",
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
    "RequestTimeTooSkewed": "The clock of this machine is wrong: S3 accepts a difference of 15 minutes at most.",
    "SlowDown": _OVERLOADED,
    "ServiceUnavailable": _OVERLOADED,
    "InternalError": _OVERLOADED,
    "RequestTimeout": _OVERLOADED,
    "500": _OVERLOADED,
    "503": _OVERLOADED,
    "EntityTooLarge": "S3 refuses an object of this size.",
    "QuotaExceeded": "The bucket's quota is exhausted: delete objects or raise the quota.",
    "XMinioStorageFull": "S3 has no free space: delete objects or add storage.",
}

_CONNECTION_SENTENCES: tuple[tuple[type[Exception], str], ...] = (
    (SSLError, "The certificate of the S3 endpoint is not trusted; SHUTTLE_CA_FILE can name its CA."),
    (EndpointConnectionError, "S3 cannot be reached: check S3_LOCATION, and whether the server runs."),
    (ConnectTimeoutError, "S3 cannot be reached: check S3_LOCATION, and whether the server runs."),
    (ReadTimeoutError, "S3 timed out; the shuttle retries automatically."),
    (ParamValidationError, "S3_BUCKET is not a valid bucket name."),
)


def code_of(error: ClientError) -> str:
    """S3's error code, or the HTTP status if the response had no body."""
    return error.response.get("Error", {}).get("Code", "")


def is_missing(error: ClientError) -> bool:
    """Whether the object does not exist; a 404 to a HEAD may also mean a missing bucket."""
    return code_of(error) in {"NoSuchKey", "404"}


def is_below_object(error: ClientError) -> bool:
    """Whether the name would be below another object; servers that use folders (versitygw, MinIO) refuse that."""
    return code_of(error) in {"ObjectParentIsFile", "XMinioParentIsObject"}


def describe_s3_error(error: Exception, action: str) -> str:
    """Say what happened and what to do; `action` is what failed, as a participle (`read`, `written`)."""
    if isinstance(error, ClientError):
        code = code_of(error)
        return _SENTENCES.get(code, f"An object could not be {action}: S3 answers {code or 'with an error'}.")
    for kind, sentence in _CONNECTION_SENTENCES:
        if isinstance(error, kind):
            return sentence
    reason = type(error).__name__ if isinstance(error, BotoCoreError) else getattr(error, "strerror", None)
    return f"An object could not be {action}: the connection to S3 failed ({reason or 'it was closed'})."
