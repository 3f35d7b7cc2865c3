"""Sources at http:// and https:// URLs, which the shuttle downloads."""

import re
from collections.abc import Iterator
from typing import ClassVar, Self

from pydantic import Field

from shuttle.errors import InvalidRequestError
from shuttle.outgoing.userinfo import split_userinfo
from shuttle.sources.kind import Source

_DOWNLOAD_HEADERS = re.compile(r"range|if-.*|accept-encoding", re.IGNORECASE)


class HttpSource(Source):
    """`headers` are sent to the host of `url` only."""

    schemes: ClassVar[tuple[str, ...]] = ("http", "https")

    headers: dict[str, str] = Field(default_factory=dict, repr=False)

    def with_headers(self, headers: dict[str, str]) -> Self:
        """See the base class."""
        for name in headers:
            if _DOWNLOAD_HEADERS.fullmatch(name):
                message = "Leave this header out: the download of a source depends on it."
                raise InvalidRequestError(message, field=f"source.headers.{name}")
            if name.lower() == "authorization" and split_userinfo(self.url)[1] is not None:
                message = "Give the source's credentials once: in the URL or in an Authorization header."
                raise InvalidRequestError(message, field=f"source.headers.{name}")
        return self.model_copy(update={"headers": headers})

    def secrets(self) -> Iterator[tuple[str, str]]:
        """See the base class."""
        yield from super().secrets()
        yield from ((f"source.headers.{name}", value) for name, value in self.headers.items())
