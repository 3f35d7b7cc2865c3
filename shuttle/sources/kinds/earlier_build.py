"""The stored source of an earlier build, for a rebuild, and for a build that resumes another one."""

from dataclasses import replace

from shuttle.errors import BuildFailedError, ObjectNotFoundError, TokenNeededError
from shuttle.outgoing.userinfo import without_userinfo
from shuttle.sources import FetchedSource
from shuttle.sources.kind import Source, Staging


class EarlierSource(Source):
    """`object` is the uuid of the build, as it was written. No `source.url` of the new API names a source of this kind.

    If the source came from git, its commit, its branch and the URL of its repository are kept.
    """

    object: str
    commit: str | None = None
    branch: str | None = None
    git_url: str | None = None

    @classmethod
    def of(cls, url: str, build_uuid: str) -> "EarlierSource":
        """The source that this URL of the shuttle names."""
        return cls(url=without_userinfo(url), object=build_uuid)

    @property
    def earlier_build(self) -> str:
        """See the base class."""
        return self.object

    @property
    def repository(self) -> str | None:
        """See the base class."""
        return self.git_url

    async def fetch(self, staging: Staging) -> FetchedSource:
        """See the base class; the copy is checked and stored again for the new build."""
        try:
            fetched = await staging.copy_earlier(self.object)
            return replace(fetched, commit=self.commit, branch=self.branch)
        except TokenNeededError:
            raise BuildFailedError(
                "source_refused", f"Only callers with a token may use the source of build {self.object}."
            ) from None
        except ObjectNotFoundError:
            message = f"The source of build {self.object} is not, or no longer, in the object store."
            raise BuildFailedError("source_not_found", message) from None
