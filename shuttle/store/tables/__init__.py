"""The tables. `migrations/` creates them; a test compares both.

Columns on steady time (see `shuttle.clock`) are those named `…_steady_at`, and `deadline_at`, `next_attempt_at`,
`asked_until`, `last_slot_at` and `announced_at`.
"""

from shuttle.store.tables.agents import artifacts, claims, log_pieces, log_segments, reports, variables
from shuttle.store.tables.builds import OPEN_RECORDS, PLATFORM_LABEL, TO_RUN, apps, builds, packer_runs
from shuttle.store.tables.delivery import attempts, deliveries, events, receivers, sinks
from shuttle.store.tables.metadata import metadata
from shuttle.store.tables.records import auto_resumes, failures, jobs, progress, reference, states
from shuttle.store.tables.service import early_sources, moves, replicas, schema_release, steady_time

__all__ = [
    "OPEN_RECORDS",
    "PLATFORM_LABEL",
    "TO_RUN",
    "apps",
    "artifacts",
    "attempts",
    "auto_resumes",
    "builds",
    "claims",
    "deliveries",
    "early_sources",
    "events",
    "failures",
    "jobs",
    "log_pieces",
    "log_segments",
    "metadata",
    "moves",
    "packer_runs",
    "progress",
    "receivers",
    "reference",
    "replicas",
    "reports",
    "schema_release",
    "sinks",
    "states",
    "steady_time",
    "variables",
]
