"""Sources that are images in a registry: the agent pulls them."""

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar, Self

from shuttle.errors import InvalidRequestError
from shuttle.outgoing.image import Image, parse_image
from shuttle.outgoing.userinfo import Credentials
from shuttle.sources.kind import RequestedPipeline, Source, Staging, with_plain_scheme


class ImageSource(Source):
    """A docker:// URL."""

    schemes: ClassVar[tuple[str, ...]] = ("docker",)
    checksum_refusal: ClassVar[str | None] = "an image is named by its digest, not by a checksum"

    image: Image

    @classmethod
    def check_pipeline(cls, pipeline: RequestedPipeline) -> None:
        """See the base class."""
        if not pipeline.accepts_image_source:
            raise InvalidRequestError(
                f"Name an archive: the pipeline {pipeline.name} does not take a docker:// source.", field="source.url"
            )

    @classmethod
    def read(cls, url: str) -> Self:
        """See the base class."""
        return cls(url=with_plain_scheme(url), image=parse_image(url, "source.url"))

    def with_credentials(self, credentials: Credentials) -> Self:
        """The same image with other credentials than those of its URL."""
        return self.model_copy(update={"image": replace(self.image, credentials=credentials)})

    def logged(self, shown_url: str) -> str:
        """See the base class."""
        return f"the image {shown_url}"

    def secrets(self) -> Iterator[tuple[str, str]]:
        """See the base class. The credentials may come from fields of the older API instead of the URL."""
        if self.image.credentials is not None:
            yield "source.url", self.image.credentials.secret

    @property
    def pulled_image(self) -> Image:
        """See the base class."""
        return self.image

    async def fetch(self, staging: Staging) -> None:
        """Nothing: the agent pulls the image."""
