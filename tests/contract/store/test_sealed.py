"""The encrypted values with which a start checks its keys."""

from datetime import UTC, datetime

from shuttle.store import Database, Tx
from shuttle.store.sealed import sealed_samples
from shuttle.store.tables import apps, auto_resumes, builds
from tests.support.shuttle_store import build_row

AT = datetime(2026, 1, 1, tzinfo=UTC)


async def test_failed_build_that_waits_for_its_resume_is_sampled(database: Database):
    """Its key may be older than that of every other build, and without it the build is never resumed."""

    def insert(tx: Tx) -> None:
        tx.execute(apps.insert(), {"app_id": "app", "job_name": "job", "created_at": AT})
        plans = (b"ended", b"waits for its resume", b"newest")
        tx.execute(builds.insert(), [build_row("app", number, AT, plan=plan) for number, plan in enumerate(plans)])
        tx.execute(auto_resumes.insert(), {"build_uuid": "u1", "app_id": "app", "due_steady_at": AT})

    await database.run(insert)
    assert await database.run(sealed_samples) == [b"newest", b"waits for its resume"]
