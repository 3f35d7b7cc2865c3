"""Git sources: recognised, but not supported yet."""

import re
from typing import ClassVar, NoReturn

from shuttle.errors import NotYetSupportedError
from shuttle.outgoing.urls import split_url
from shuttle.sources.kind import Source

# https://host/path.git#ref
_WITH_REF = re.compile(r"(?i:https?)://[^/?#]*/[^?#]*\.git/?#")


class GitSource(Source):
    """A repository at a ref: `git+https://…`, or an http(s) URL of a path in .git with a fragment."""

    schemes: ClassVar[tuple[str, ...]] = ("git+http", "git+https")

    @classmethod
    def claims(cls, url: str) -> bool:
        """See the base class."""
        return super().claims(url) or _WITH_REF.match(url) is not None

    @classmethod
    def read(cls, url: str) -> NoReturn:
        """See the base class."""
        split_url(url, "source.url")
        raise NotYetSupportedError("Name an archive: git sources are not supported yet.", field="source.url")
