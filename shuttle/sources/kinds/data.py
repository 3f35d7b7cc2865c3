"""Sources in data: URLs: the request contains them, and acceptance stores them."""

from collections.abc import Iterator
from typing import ClassVar, Self

from shuttle.errors import BuildFailedError, InvalidRequestError, ObjectNotFoundError
from shuttle.sources import FetchedSource
from shuttle.sources.kind import Source, Staging, with_plain_scheme


class DataSource(Source):
    """A data: URL. Its content is checked when it is decoded."""

    schemes: ClassVar[tuple[str, ...]] = ("data",)

    @classmethod
    def read(cls, url: str) -> Self:
        """See the base class."""
        if "," not in url or not url.isascii():
            raise InvalidRequestError(
                "Write data:[type][;base64],… in ASCII, with a comma before the data.", field="source.url"
            )
        return cls(url=with_plain_scheme(url))

    @property
    def shown_url(self) -> str:
        """The URL without its content."""
        return self.url[:200].partition(",")[0]

    def secrets(self) -> Iterator[tuple[str, str]]:
        """See the base class: a data: URL has no secrets."""
        return iter(())

    def secret_spellings(self) -> Iterator[str]:
        """See the base class: a data: URL has no secrets."""
        return iter(())

    @property
    def data_url(self) -> str:
        """See the base class."""
        return self.url

    def without_content(self) -> Self:
        """See the base class."""
        return self.model_copy(update={"url": "data:"})

    async def fetch(self, staging: Staging) -> FetchedSource:
        """See the base class."""
        try:
            return await staging.copy_own()
        except ObjectNotFoundError:
            raise BuildFailedError("source_lost", "The source is no longer in the object store.") from None
