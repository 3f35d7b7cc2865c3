"""What a kind of source decides: how its URL is read, what of it is secret or shown, and how its bytes are fetched."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from shuttle.errors import InvalidRequestError
from shuttle.outgoing.image import Image
from shuttle.outgoing.url_query import query_values, spellings, without_query
from shuttle.outgoing.urls import split_url
from shuttle.outgoing.userinfo import split_userinfo, without_userinfo
from shuttle.sources import FetchedSource, SourceLimits

# The log's first lines are for people; `GET /:app/:build` shows the whole URL.
_LOGGED_URL_CHARACTERS = 300


class RequestedPipeline(Protocol):
    """The pipeline of a request, as its source sees it."""

    @property
    def name(self) -> str:
        """The name that requests use."""

    @property
    def accepts_image_source(self) -> bool:
        """Whether it accepts a docker:// source."""


class Staging(Protocol):
    """The ways to bring a source into a local file. All of them retry while a host or a store is unavailable."""

    async def download(self, source: "Source") -> FetchedSource:
        """Fetch it by the fetcher of its kind, within SHUTTLE_STAGE_TIMEOUT_SECONDS. Raises BuildFailedError."""

    async def copy_own(self) -> FetchedSource:
        """Copy what acceptance has stored for this build. Raises ObjectNotFoundError."""

    async def copy_earlier(self, build_uuid: str) -> FetchedSource:
        """Copy the stored source of an earlier build.

        Raises ObjectNotFoundError, and TokenNeededError if the caller of this build may not read that source.
        """


class Source(BaseModel):
    """A checked source. It has secrets and is recorded only encrypted.

    A kind is a subclass with a row in `catalogue.py`. The defaults are those of a kind that is downloaded from a
    URL, whose userinfo and query are secret.
    """

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    schemes: ClassVar[tuple[str, ...]] = ()
    # Why a source of this kind has no checksum; None = it may have one.
    checksum_refusal: ClassVar[str | None] = None

    url: str = Field(repr=False)

    @classmethod
    def claims(cls, url: str) -> bool:
        """Whether the URL is one of this kind."""
        return url[:16].partition(":")[0].lower() in cls.schemes

    @classmethod
    def check_pipeline(cls, pipeline: RequestedPipeline) -> None:
        """Refuse the kind if the pipeline does not take it. Raises InvalidRequestError for the field `source.url`."""

    @classmethod
    def read(cls, url: str) -> Self:
        """Check all that the URL alone shows to be wrong. Raises InvalidRequestError for the field `source.url`."""
        split_url(url, "source.url")
        return cls(url=with_plain_scheme(url))

    def with_headers(self, headers: dict[str, str]) -> Self:
        """The source with the headers of the request. Raises InvalidRequestError."""
        if headers:
            raise InvalidRequestError(
                "Leave the headers out: they are sent with http and https sources only.", field="source.headers"
            )
        return self

    def with_checkout(self, subdir: str | None, submodules: bool | None, *, with_git: bool = False) -> Self:
        """The source with what the request says of a repository's checkout. Raises InvalidRequestError.

        `with_git` is the option `git` of the pipeline.
        """
        if with_git:
            raise InvalidRequestError(
                "Leave the option git out: it is for git sources only.", field="pipeline.options.git"
            )
        for name, value in (("subdir", subdir), ("submodules", submodules)):
            if value is not None:
                raise InvalidRequestError(f"Leave {name} out: it is for git sources only.", field=f"source.{name}")
        return self

    @property
    def shown_url(self) -> str:
        """The URL without secrets."""
        return without_query(without_userinfo(self.url))

    def logged(self, shown_url: str) -> str:
        """The source in the log's first lines."""
        return shown_url[:_LOGGED_URL_CHARACTERS]

    def secrets(self) -> Iterator[tuple[str, str]]:
        """The secrets as given, each with the path of its field."""
        credentials = split_userinfo(self.url)[1]
        if credentials is not None:
            yield "source.url", credentials.secret
        yield from (("source.url", value) for value in query_values(self.url))

    def secret_spellings(self) -> Iterator[str]:
        """Other forms of the secrets in which a log may show them."""
        for value in query_values(self.url):
            yield from sorted(spellings(value))

    @property
    def data_url(self) -> str | None:
        """The URL, if it contains the source itself: acceptance stores what it contains. Otherwise None."""
        return None

    def without_content(self) -> Self:
        """The source as it is recorded: its content is in the object store."""
        return self

    @property
    def earlier_build(self) -> str | None:
        """The uuid of the earlier build whose stored source is used, which callers need permission to read; or None."""
        return None

    @property
    def pulled_image(self) -> Image | None:
        """The image that the agent pulls, if the source is one."""
        return None

    @property
    def repository(self) -> str | None:
        """The URL of the git repository, without credentials and ref, if the source is one."""
        return None

    async def fetch(self, staging: Staging) -> FetchedSource | None:
        """The original bytes in a local file; None = the agent fetches the source. Raises BuildFailedError."""
        return await staging.download(self)


_S_contra = TypeVar("_S_contra", bound=Source, contravariant=True)


class SourceFetcher(Protocol[_S_contra]):
    """Fetches sources of one kind into a local file. Safe for any number of tasks of one event loop."""

    def place(self) -> AbstractAsyncContextManager[object]:
        """What the caller holds during `fetch`: one of the places, if only so many sources are fetched at once."""

    async def fetch(self, source: _S_contra, into: Path, limits: SourceLimits) -> FetchedSource:
        """Stream the source into the file `into`, without holding it in memory.

        Raises:
            BuildFailedError: a retry is pointless (`source_not_found`, `source_refused`, `source_too_large`, …).
            UnavailableError: a retry may succeed; the caller retries until the stage's timeout.
        """


Fetchers = Mapping[type[Source], SourceFetcher[Any]]


def with_plain_scheme(url: str) -> str:
    """The URL with its scheme in lower case, as later steps expect it; schemes ignore case (RFC 3986, 3.1)."""
    scheme, colon, _ = url[:16].partition(":")
    return url if scheme.islower() else scheme.lower() + colon + url[len(scheme) + 1 :]
