"""Figures for Prometheus: few, and never labelled by a build, an app or anything a caller names."""

from prometheus_client import Counter, Gauge

ACCEPTED = Counter("shuttle_builds_accepted_total", "Builds recorded; repeats of a request do not count.")
ENDED = Counter("shuttle_builds_ended_total", "Builds that reached a final state.", ["state"])
UNDER_WAY = Gauge("shuttle_builds_under_way", "Builds that this process works on now, waiting ones left out.")
ATTEMPTS = Counter("shuttle_delivery_attempts_total", "RetryPolicy at status webhooks.", ["outcome"])
JENKINS_REQUESTS = Counter("shuttle_jenkins_requests_total", "Requests to Jenkins.", ["kind"])


def count_jenkins_request(kind: str) -> None:
    """One more request of that kind."""
    JENKINS_REQUESTS.labels(kind).inc()
