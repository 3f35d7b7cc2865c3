"""The links of packer over REST. They begin at its root: clients append them to the base that they have called."""

from collections.abc import Sequence

from shuttle.store.packer_requests import RecordedRun
from shuttle.web.packerd.models import Link


def request_link(request_id: str) -> Link:
    """The request."""
    return Link(rel="buildrequest", href=f"/build/queue/{request_id}")


def accepted_links(request_id: str) -> list[Link]:
    """The answer to an accepted request."""
    return [request_link(request_id), responses_link(request_id), Link(rel="health", href="/health")]


def responses_link(request_id: str) -> Link:
    """The runs of the request."""
    return Link(rel="buildresponses", href=f"/build/responses/{request_id}")


def response_link(run: RecordedRun) -> Link:
    """One run."""
    return Link(rel="buildresponse", href=_href(run))


def links_of_runs(request_id: str, runs: Sequence[RecordedRun]) -> list[Link]:
    """The list of the runs, and then each of them with its stages."""
    of_each = [each for run in runs for each in (response_link(run), _stages_link(run))]
    return [responses_link(request_id), *of_each]


def _stages_link(run: RecordedRun) -> Link:
    return Link(rel="buildstages", href=f"{_href(run)}/stages")


def stage_link(run: RecordedRun, name: str) -> Link:
    """One stage of a run."""
    return Link(rel="buildstage", href=f"{_href(run)}/stages/{name}")


def _href(run: RecordedRun) -> str:
    return f"/build/responses/{run.request_id}/{run.run}"
