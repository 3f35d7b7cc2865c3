"""The jobs of other CI systems by which a build is run."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from shuttle.errors import ConflictError, NotFoundError
from shuttle.store.tables import jobs
from shuttle.store.tx import Tx

MAX_OF_RECORD = 100


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job, as its CI system describes it."""

    job_id: str
    fields: Mapping[str, Any]
    created_at: datetime
    updated_at: datetime


_COLUMNS = [jobs.c[name] for name in JobRow.__dataclass_fields__]


def add_job(tx: Tx, build_uuid: str, fields: Mapping[str, Any]) -> tuple[JobRow, bool]:
    """Record the job; returns it and whether it is new: an equal one is not recorded again.

    The caller has locked the build. Raises ConflictError if the build has MAX_OF_RECORD jobs.
    """
    known = jobs_of(tx, build_uuid)
    for row in known:
        if dict(row.fields) == dict(fields):
            return row, False
    if len(known) >= MAX_OF_RECORD:
        raise ConflictError(f"A build may have at most {MAX_OF_RECORD} jobs.")
    row = JobRow(str(uuid.uuid4()), dict(fields), tx.now.at, tx.now.at)
    values = {name: getattr(row, name) for name in JobRow.__dataclass_fields__}
    tx.execute(jobs.insert(), {"build_uuid": build_uuid} | values)
    return row, True


def jobs_of(tx: Tx, build_uuid: str) -> list[JobRow]:
    """The build's jobs, the oldest first."""
    query = sa.select(*_COLUMNS).where(jobs.c.build_uuid == build_uuid).order_by(jobs.c.created_at, jobs.c.job_id)
    return [JobRow(*row) for row in tx.execute(query)]


def known_job(tx: Tx, build_uuid: str, job_id: str) -> JobRow:
    """The job with this id; raises NotFoundError if there is none."""
    for row in jobs_of(tx, build_uuid):
        if row.job_id == job_id.lower():
            return row
    raise NotFoundError("Job not found")


def change_job(tx: Tx, build_uuid: str, job_id: str, fields: Mapping[str, Any]) -> JobRow:
    """Change these fields of the job; raises NotFoundError if there is none."""
    row = known_job(tx, build_uuid, job_id)
    values = {"fields": {**row.fields, **fields}, "updated_at": tx.now.at}
    tx.execute(jobs.update().where(jobs.c.build_uuid == build_uuid, jobs.c.job_id == row.job_id).values(values))
    return known_job(tx, build_uuid, row.job_id)
