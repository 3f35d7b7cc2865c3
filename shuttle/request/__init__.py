"""Requests for builds: their JSON, their ids, and the checked request (docs/contract.md, "Requests")."""

from shuttle.request.body import canonical_json, compact_json, decode_json
from shuttle.request.ids import UUID, check_id, decode_id, extended_id, legacy_app
from shuttle.request.legacy import LegacyRequest, read_legacy_request
from shuttle.request.long_text import LARGE_BODY_BYTES, MAX_JSON_BYTES, decode_large_json
from shuttle.request.model import (
    VARIABLE_OPTIONS,
    AutoResume,
    BuildRequest,
    PackerRun,
    ParsedRequest,
    PipelineKind,
    Pipelines,
    Platform,
    Resumed,
)
from shuttle.request.parse import DEFAULT_PIPELINE, parse_build_request
from shuttle.request.resume import ResumeRequest, is_resume, read_resume_request
from shuttle.request.secrets import secrets_of

__all__ = [
    "DEFAULT_PIPELINE",
    "LARGE_BODY_BYTES",
    "MAX_JSON_BYTES",
    "UUID",
    "VARIABLE_OPTIONS",
    "AutoResume",
    "BuildRequest",
    "LegacyRequest",
    "PackerRun",
    "ParsedRequest",
    "PipelineKind",
    "Pipelines",
    "Platform",
    "ResumeRequest",
    "Resumed",
    "canonical_json",
    "check_id",
    "compact_json",
    "decode_id",
    "decode_json",
    "decode_large_json",
    "extended_id",
    "is_resume",
    "legacy_app",
    "parse_build_request",
    "read_legacy_request",
    "read_resume_request",
    "secrets_of",
]
