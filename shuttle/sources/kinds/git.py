"""Sources that are git repositories at a branch, a tag or a commit: the shuttle clones them."""

import re
from collections.abc import Iterator
from typing import ClassVar, Self
from urllib.parse import unquote_to_bytes

from shuttle.errors import InvalidRequestError
from shuttle.outgoing.urls import split_url
from shuttle.outgoing.userinfo import Credentials, split_userinfo, without_userinfo
from shuttle.sources.kind import Source, with_plain_scheme

# https://host/path.git#ref
_WITH_REF = re.compile(r"(?i:https?)://[^/?#]*/[^?#]*\.git/?#")
_PREFIX = "git+"
_MAX_REF = 255
_MAX_SUBDIR = 1024
# git-check-ref-format(1), and no `-` at the beginning, where git would read an option.
_BAD_REF = re.compile(r"^[-/]|[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|^@$|//|/$|\.$|(?:^|/)\.|\.lock(?:/|$)")


class GitSource(Source):
    """A repository at a ref: `git+https://…#ref`, or an http(s) URL whose path ends in .git, with a fragment.

    `url` is as given, with a scheme in lower case. `subdir` is the folder that becomes the source's root. `with_git`:
    the source has the folder .git.
    """

    schemes: ClassVar[tuple[str, ...]] = ("git+http", "git+https")
    checksum_refusal: ClassVar[str | None] = "a git source is named by its commit, not by a checksum"

    subdir: str | None = None
    submodules: bool = False
    with_git: bool = False

    @classmethod
    def claims(cls, url: str) -> bool:
        """See the base class."""
        return super().claims(url) or _WITH_REF.match(url) is not None

    @classmethod
    def read(cls, url: str) -> Self:
        """See the base class."""
        rest = split_url(url, "source.url").rest
        if "?" in rest.partition("#")[0]:
            raise InvalidRequestError(
                "Leave the query out of a git URL; credentials belong before the host's name.", field="source.url"
            )
        read = cls(url=with_plain_scheme(url))
        if read.ref is not None:
            _check_ref(read.ref)
        if read.credentials is not None and not (read.credentials.user + read.credentials.password).isprintable():
            raise InvalidRequestError(
                "Write the credentials of a git URL without control characters.", field="source.url"
            )
        return read

    def with_checkout(self, subdir: str | None, submodules: bool | None, *, with_git: bool = False) -> Self:
        """See the base class."""
        if subdir is not None:
            _check_subdir(subdir)
            if with_git:
                raise InvalidRequestError(
                    "Leave out source.subdir or the option git: .git is in the root of the repository.",
                    field="pipeline.options.git",
                )
        return self.model_copy(update={"subdir": subdir, "submodules": bool(submodules), "with_git": with_git})

    @property
    def shown_url(self) -> str:
        """See the base class; the ref is no secret."""
        return without_userinfo(self.url)

    @property
    def repository(self) -> str:
        """The http(s) URL that git gets, without credentials and ref."""
        return split_userinfo(self.url.removeprefix(_PREFIX).partition("#")[0])[0]

    @property
    def credentials(self) -> Credentials | None:
        """The credentials for the host of the repository, and no other."""
        return split_userinfo(self.url)[1]

    @property
    def ref(self) -> str | None:
        """The branch, tag, commit, or full name `refs/…`; None = the repository's default branch."""
        fragment = self.url.partition("#")[2]
        return unquote_to_bytes(fragment).decode("utf-8", "replace") or None

    def secrets(self) -> Iterator[tuple[str, str]]:
        """See the base class."""
        if self.credentials is not None:
            yield "source.url", self.credentials.secret


def is_ref(text: str) -> bool:
    """Whether the text can name a branch, a tag or a commit."""
    return 0 < len(text) <= _MAX_REF and "\ufffd" not in text and _BAD_REF.search(text) is None


def _check_ref(ref: str) -> None:
    if not is_ref(ref):
        raise InvalidRequestError(
            "Write a branch, a tag or a commit after the # of the git URL, percent-encoded where needed.",
            field="source.url",
        )


def _check_subdir(subdir: str) -> None:
    parts = subdir.split("/")
    if (
        len(subdir) > _MAX_SUBDIR
        or not subdir.isprintable()
        or any(part in {"", ".", ".."} or part.lower() == ".git" for part in parts)
    ):
        raise InvalidRequestError(
            "Write source.subdir as the path of a folder in the repository, like services/shop.",
            field="source.subdir",
        )
