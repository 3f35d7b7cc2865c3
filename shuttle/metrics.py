"""Metrics for Prometheus. Labels have few values; a build, an app or another name of a caller is never a label."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client import Counter, Gauge, Histogram

from shuttle.build import Build

_WAIT_BUCKETS = (1, 5, 15, 60, 300, 900, 3600, 14_400, math.inf)
_JENKINS_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, math.inf)

ACCEPTED = Counter("shuttle_builds_accepted_total", "Builds recorded; repeats of a request do not count.")
ENDED = Counter("shuttle_builds_ended_total", "Builds that reached a final state.", ["state"])
UNDER_WAY = Gauge(
    "shuttle_builds_under_way", "Builds that this process works on now, without those that wait for a slot."
)
WAITING = Gauge("shuttle_builds_waiting", "Builds that have no slot yet.")
OLDEST_WAITING = Gauge("shuttle_builds_waiting_oldest_seconds", "How long the oldest build without a slot has waited.")
QUEUE_WAIT = Histogram(
    "shuttle_queue_wait_seconds", "How long builds waited; counted when they end.", ["queue"], buckets=_WAIT_BUCKETS
)
ATTEMPTS = Counter("shuttle_delivery_attempts_total", "Attempts to deliver a status.", ["outcome"])
OUTBOX = Gauge("shuttle_outbox_deliveries", "Statuses that have not been delivered yet.")
OLDEST_DELIVERY = Gauge("shuttle_outbox_oldest_seconds", "How long the oldest status has waited for its delivery.")
SINKS = Gauge("shuttle_sinks_open", "Log sinks that are neither done nor given up.", ["state"])
SINK_LAG = Gauge("shuttle_sink_lag_bytes", "Recorded log bytes that open sinks have not acknowledged.", ["state"])
REPLICAS = Gauge("shuttle_replicas", "Replicas that this one considers alive, itself included.")
OWNED_APPS = Gauge("shuttle_owned_apps", "Apps that this process owns.")
TAKEN_APPS = Counter("shuttle_taken_apps_total", "Apps with open work that this process took over.")
COUNTER_AGE = Gauge(
    "shuttle_counter_age_seconds", "Seconds since this replica last raised its counter in the database."
)
DATABASE_RETRIES = Counter("shuttle_database_retries_total", "Transactions that were rolled back and repeated.")
JENKINS_REQUESTS = Counter("shuttle_jenkins_requests_total", "Requests to Jenkins.", ["kind"])
JENKINS_SECONDS = Histogram(
    "shuttle_jenkins_request_seconds",
    "Time until Jenkins answered, or until the request failed.",
    ["kind"],
    buckets=_JENKINS_BUCKETS,
)


@dataclass(frozen=True, slots=True)
class Backlog:
    """The numbers of waiting builds, deliveries and sinks. `sinks` has (number, lag in bytes) by state."""

    builds: float
    oldest_build_seconds: float
    deliveries: float
    oldest_delivery_seconds: float
    sinks: Mapping[str, tuple[int, int]]


# Shown while the database is unavailable.
UNKNOWN_BACKLOG = Backlog(math.nan, math.nan, math.nan, math.nan, {})


def show_backlog(backlog: Backlog) -> None:
    """Set the gauges to the numbers of `backlog`."""
    WAITING.set(backlog.builds)
    OLDEST_WAITING.set(backlog.oldest_build_seconds)
    OUTBOX.set(backlog.deliveries)
    OLDEST_DELIVERY.set(backlog.oldest_delivery_seconds)
    SINKS.clear()
    SINK_LAG.clear()
    for state, (count, lag_bytes) in backlog.sinks.items():
        SINKS.labels(state).set(count)
        SINK_LAG.labels(state).set(lag_bytes)


def show_replica(*, replicas: int, owned_apps: int, counter_age_seconds: float) -> None:
    """Set the gauges of this replica."""
    REPLICAS.set(replicas)
    OWNED_APPS.set(owned_apps)
    COUNTER_AGE.set(counter_age_seconds)


def count_end(build: Build | None) -> None:
    """Count the build if it has ended, and observe how long it waited for a slot and in Jenkins' queue."""
    if build is None or not build.state.final:
        return
    ENDED.labels(build.state.value).inc()
    for queue, began_at, ended_at in (
        ("slot", build.accepted_at, build.slot_at),
        ("jenkins", build.queued_at, build.running_at),
    ):
        if began_at is not None and ended_at is not None:
            QUEUE_WAIT.labels(queue).observe(max((ended_at - began_at).total_seconds(), 0))


def observe_jenkins_request(kind: str, seconds: float) -> None:
    """Count a request of that kind and observe its duration."""
    JENKINS_REQUESTS.labels(kind).inc()
    JENKINS_SECONDS.labels(kind).observe(seconds)
