"""Pipeline kinds as requests see them (the real ones have their own tests), and requests to parse."""

from dataclasses import dataclass
from typing import Any

import hypothesis
from pydantic import BaseModel, ConfigDict

from shuttle.request import ParsedRequest, canonical_json, decode_json, parse_build_request
from shuttle.settings import Settings, load_settings

# The same examples everywhere, however slow the machine.
FIXED = hypothesis.settings(derandomize=True, deadline=None, max_examples=60)

SHA = "0123456789abcdefABCDEF0123456789" * 2
IMAGE = "docker://registry.example.com/org/app"


class NoOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CacheOptions(NoOptions):
    no_cache: bool = False


@dataclass(frozen=True)
class Kind:
    name: str
    Options: type[BaseModel]
    needs_destination: bool
    accepts_image_source: bool
    accepts_platforms: bool = False


PIPELINES = {
    "docker-image": Kind("docker-image", CacheOptions, needs_destination=True, accepts_image_source=True),
    "script": Kind("script", NoOptions, needs_destination=False, accepts_image_source=False, accepts_platforms=True),
}


def settings(**environment: str) -> Settings:
    return load_settings(environment)


def parse(value: Any, **environment: str) -> ParsedRequest:
    """Parse the value by way of JSON text, as a body arrives."""
    return parse_build_request(decode_json(canonical_json(value)), settings(**environment), PIPELINES)


def script(**fields: Any) -> dict[str, Any]:
    """A complete request for a pipeline that needs no destination."""
    return {"source": {"url": "https://example.com/a.tar.gz"}, "pipeline": "script"} | fields


def source(url: Any, **fields: Any) -> dict[str, Any]:
    return script(source={"url": url, **fields})


def image(reference: Any, **fields: Any) -> dict[str, Any]:
    return script(destination={"image": reference, **fields})
