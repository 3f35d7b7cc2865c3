"""`docker://` URLs: registry, image and credentials."""

import re
from dataclasses import dataclass, field

from shuttle.errors import InvalidRequestError
from shuttle.outgoing.urls import split_url
from shuttle.outgoing.userinfo import Credentials, split_userinfo

# The grammar of the distribution specification: lower-case components, one separator between two of their parts.
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_REST = re.compile(r"/(?P<repository>[^:@]*)(?::(?P<tag>[^@]*))?(?:@(?P<digest>.*))?", re.DOTALL)
_MAX_NAME_CHARACTERS = 255


@dataclass(frozen=True, slots=True)
class Image:
    """One image. `registry` is `host[:port]`; `tag` and `digest` are None if the URL has none."""

    registry: str
    repository: str
    tag: str | None = None
    digest: str | None = None
    credentials: Credentials | None = field(default=None, repr=False)

    @property
    def reference(self) -> str:
        """The reference for docker, buildah, podman and skopeo; without a tag it means `latest`."""
        if self.digest is not None:
            return f"{self.registry}/{self.repository}@{self.digest}"
        return self.tagged(self.tag or "latest")

    def tagged(self, tag: str) -> str:
        """The reference of the same image with another tag."""
        return f"{self.registry}/{self.repository}:{tag}"


def parse_image(url: str, name: str) -> Image:
    """The image of `docker://[user[:pass]@]host[:port]/org/repo[:tag][@digest]`.

    Raises:
        InvalidRequestError: the URL is invalid; the error names the field `name`.
    """
    if url[:9].lower() != "docker://":
        raise InvalidRequestError("Name the image as docker://host[:port]/org/repo[:tag].", field=name)
    url_parts = split_url(url, name)
    parts = _REST.fullmatch(url_parts.rest)
    registry = _registry(url_parts.host, url_parts.port)
    if parts is None or not _REPOSITORY.fullmatch(parts["repository"]):
        raise InvalidRequestError(
            "Write the image's name after the host in lower-case letters, digits and single separators.", field=name
        )
    if len(registry) + 1 + len(parts["repository"]) > _MAX_NAME_CHARACTERS:
        raise InvalidRequestError(f"Use at most {_MAX_NAME_CHARACTERS} characters for the image's name.", field=name)
    if parts["tag"] is not None:
        check_tag(parts["tag"], name)
    if parts["digest"] is not None and not _DIGEST.fullmatch(parts["digest"]):
        raise InvalidRequestError("Write the image's digest as sha256: and 64 lower-case hex digits.", field=name)
    _, credentials = split_userinfo(url)
    return Image(registry, parts["repository"], parts["tag"], parts["digest"], credentials)


def parse_destination(url: str, name: str) -> Image:
    """The image of a destination, which cannot have a digest: the push determines it."""
    image = parse_image(url, name)
    if image.digest is not None:
        raise InvalidRequestError("Name the destination by a tag; its digest is known after the push.", field=name)
    return image


def check_tag(tag: str, name: str) -> None:
    """Refuse an invalid tag."""
    if not _TAG.fullmatch(tag):
        raise InvalidRequestError(
            "Write a tag of up to 128 letters, digits, '_', '.' and '-', not beginning with '.' or '-'.", field=name
        )


def _registry(host: str, port: int | None) -> str:
    """`host[:port]`. A one-label host always gets its port: tools read `name/org/repo` as a path on Docker Hub."""
    if port is None and "." not in host and host != "localhost" and not host.startswith("["):
        port = 443
    return host if port is None else f"{host}:{port}"
