"""The kinds of sources that a request can name, and the form in which specs record a source."""

from collections.abc import Mapping
from typing import Any

from shuttle.errors import InvalidRequestError
from shuttle.outgoing.urls import named
from shuttle.sources.kind import RequestedPipeline, Source
from shuttle.sources.kinds.data import DataSource
from shuttle.sources.kinds.earlier_build import EarlierSource
from shuttle.sources.kinds.git import GitSource
from shuttle.sources.kinds.http import HttpSource
from shuttle.sources.kinds.image import ImageSource

# The kinds that `source.url` can name; the first one that claims a URL reads it.
KINDS: tuple[type[Source], ...] = (GitSource, HttpSource, ImageSource, DataSource)

# Earlier versions require these fields; after a rollback they read the specs of builds that are not over yet.
_ABSENT: Mapping[str, Any] = {"headers": {}, "object": None, "image": None}
_PREFIX = "source_"


def read_source(url: str, pipeline: RequestedPipeline) -> Source:
    """The checked source of `source.url`; `pipeline` is that of the request.

    Raises:
        InvalidRequestError: the URL is invalid, or of no kind that the pipeline takes.
    """
    kind = _kind_of(url)
    kind.check_pipeline(pipeline)
    return kind.read(url)


def _kind_of(url: str) -> type[Source]:
    for kind in KINDS:
        if kind.claims(url):
            return kind
    schemes = named(scheme for kind in KINDS for scheme in kind.schemes)
    raise InvalidRequestError(f"Write the source as a URL with the scheme {schemes}.", field="source.url")


def recorded_fields(source: Mapping[str, Any]) -> dict[str, Any]:
    """The source's fields as a spec records them among those of the request.

    A field without a value is left out, except for those that earlier versions require.
    """
    lacked = {name for name, value in source.items() if value is None} - _ABSENT.keys()
    return {_PREFIX + name: value for name, value in {**_ABSENT, **source}.items() if name not in lacked}


def recorded_source(fields: Mapping[str, Any]) -> Source:
    """The source in the fields of a recorded request."""
    source = {name.removeprefix(_PREFIX): value for name, value in fields.items() if name.startswith(_PREFIX)}
    kind = EarlierSource if source.get("object") is not None else _kind_of(source["url"])
    return kind.model_validate(source)
