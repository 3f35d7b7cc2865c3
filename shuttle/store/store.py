"""What the shuttle may ask of its state: every method is one transaction, durable when it returns."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from shuttle import metrics
from shuttle.build import Build, Checkpoint, Ending, FinalLog, SourceFacts, State, StopCause
from shuttle.clock import Anchor, Clock
from shuttle.logs import Segment
from shuttle.standing import Standing
from shuttle.store import (
    Database,
    accept,
    agent,
    apps,
    backlog,
    builds,
    claims,
    early_sources,
    log_segments,
    numbers,
    permitted,
    progress,
    repeats,
    retain,
    steady_time,
    transitions,
)
from shuttle.store.accept import Accepted, NewBuild
from shuttle.store.books import Books
from shuttle.store.builds import Artifact, Party
from shuttle.store.claims import Claim, NewClaim
from shuttle.store.intake import Intake
from shuttle.store.progress import StageEvent
from shuttle.store.tables import replicas
from shuttle.vault import Vault


class Store(Books):
    """Safe for any number of tasks of one loop; every method raises StoreError when the database is out of reach."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        clock: Clock,
        on_event: Callable[[], None],
    ) -> None:
        """See `Books`."""
        super().__init__(database, vault, clock, on_event)
        self._intake = Intake(database)

    # --- accepting

    async def recorded(self, app_id: str, build_id: str, content: bytes) -> Build | None:
        """The build that was recorded of this very request; ConflictError = of another."""
        return await self._database.run(
            lambda connection: repeats.find_recorded(connection, app_id, build_id, self._same_as(content))
        )

    async def recorded_legacy(self, build_uuid: str, content: bytes) -> Build | None:
        """Likewise for a uuid of the older API's."""
        return await self._database.run(
            lambda connection: repeats.find_recorded_legacy(connection, build_uuid, self._same_as(content))
        )

    async def take_number(self, app_id: str, job_name: str, standing: Standing) -> int:
        """See `numbers.take_number`."""
        now = self._now()
        return await self._database.run(
            lambda connection: numbers.take_number(connection, app_id, job_name, standing, now)
        )

    async def record(self, new: NewBuild, content: bytes, *, queue_limit: int | None) -> Accepted:
        """See `shuttle.store.accept.record_all`; `content` is the canonical request."""
        accepted = await self._intake.record(
            new, now=self._clock.moment(), queue_limit=queue_limit, same_request=self._same_as(content)
        )
        if not accepted.replayed:
            metrics.ACCEPTED.inc()
        if new.receivers:
            self.on_event()
        return accepted

    async def announce_source(self, build_uuid: str, *, new_object: bool) -> None:
        """See `early_sources.announce`."""
        now = self._clock.steady()
        await self._database.run(
            lambda connection: early_sources.announce(connection, build_uuid, now, new_object=new_object)
        )

    async def free_uuid(self, wanted: str | None) -> str:
        """See `shuttle.store.accept.free_uuid`."""
        return await self._database.run(lambda connection: accept.free_uuid(connection, wanted))

    def _same_as(self, content: bytes) -> Callable[[str], bool]:
        return lambda fingerprint: self._vault.matches(content, fingerprint)

    # --- reading

    async def backlog(self) -> metrics.Backlog:
        """See `backlog.backlog`."""
        now = self._clock.moment()
        return await self._database.run(lambda connection: backlog.backlog(connection, now))

    async def build(self, build_uuid: str) -> Build | None:
        """The build of that uuid."""
        return await self._database.run(lambda connection: builds.by_uuid(connection, build_uuid))

    async def build_of(self, app_id: str, build_id: str, standing: Standing) -> Build | None:
        """See `permitted.newest_of_pair`."""
        return await self._database.run(
            lambda connection: permitted.newest_of_pair(connection, app_id, build_id, standing)
        )

    async def builds_of(self, app_id: str, build_id: str, standing: Standing) -> list[Build]:
        """See `permitted.builds_of_pair`."""
        return await self._database.run(
            lambda connection: permitted.builds_of_pair(connection, app_id, build_id, standing)
        )

    async def check_app(self, app_id: str, standing: Standing) -> None:
        """See `permitted.check_app`."""
        await self._database.run(lambda connection: permitted.check_app(connection, app_id, standing))

    async def check_source(self, build_uuid: str, standing: Standing) -> None:
        """See `permitted.check_source`."""
        await self._database.run(lambda connection: permitted.check_source(connection, build_uuid, standing))

    async def has_app(self, app_id: str) -> bool:
        """Whether any build of the app was ever accepted."""
        return await self._database.run(lambda connection: builds.has_app(connection, app_id))

    async def page(
        self, *, app_id: str | None = None, before: int | None = None, state: State | None = None, limit: int = 50
    ) -> list[Build]:
        """Builds, newest first."""
        return await self._database.run(
            lambda connection: builds.page(connection, app_id=app_id, before=before, state=state, limit=limit)
        )

    async def unfinished(self) -> list[Build]:
        """Every build that is not final, in the order of acceptance."""
        return await self._database.run(builds.unfinished)

    async def unarchived(self) -> list[Build]:
        """Final builds whose log is not archived yet."""
        return await self._database.run(builds.unarchived)

    async def plan(self, build_uuid: str) -> bytes:
        """The opened plan."""
        sealed = await self._database.run(lambda connection: builds.plan_of(connection, build_uuid))
        return self._vault.open(sealed)

    async def newest_event(self, build_uuid: str) -> bytes | None:
        """The body of the newest status event."""
        return await self._database.run(lambda connection: builds.newest_event(connection, build_uuid))

    async def artifacts(self, build_uuid: str) -> list[Artifact]:
        """What the pipeline uploaded."""
        return await self._database.run(lambda connection: builds.artifacts_of(connection, build_uuid))

    async def parties(self, build_uuid: str) -> tuple[Sequence[Party], Sequence[Party], list[Artifact]]:
        """Receivers, sinks and artifacts of a build, for the read side."""
        return await self._database.run(
            lambda connection: (
                builds.receivers_of(connection, build_uuid),
                builds.sinks_of(connection, build_uuid),
                builds.artifacts_of(connection, build_uuid),
            )
        )

    async def ping(self) -> None:
        """Prove that the database can be written: one on a full disk still reads."""
        now = self._now()
        await self._database.run(lambda connection: _write_and_undo(connection, now))

    async def steady_anchor(self) -> Anchor | None:
        """See `steady_time.read`."""
        return await self._database.run(steady_time.read)

    async def record_steady_time(self) -> None:
        """See `steady_time.record`."""
        anchor = self._clock.anchor()
        await self._database.run(lambda connection: steady_time.record(connection, anchor))

    # --- apps

    async def delete_app(self, app_id: str, standing: Standing) -> list[Build]:
        """See `apps.delete_app`."""
        now = self._clock.moment()
        stopped = await self._database.run(lambda connection: apps.delete_app(connection, app_id, standing, now))
        for build in stopped:
            if build.state.final:
                self._ended(build)
        return stopped

    async def deleted_apps(self) -> list[tuple[str, str]]:
        """See `apps.deleted_apps`."""
        return await self._database.run(apps.deleted_apps)

    async def app_is_over(self, app_id: str) -> bool:
        """See `apps.app_is_over`."""
        return await self._database.run(lambda connection: apps.app_is_over(connection, app_id))

    async def app_deleted(self, app_id: str) -> None:
        """See `apps.app_deleted`."""
        await self._database.run(lambda connection: apps.app_deleted(connection, app_id))

    # --- the flow

    async def begin_staging(self, build_uuid: str) -> Build | None:
        """See `transitions.begin_staging`."""
        now = self._clock.moment()
        return await self._database.run(lambda connection: transitions.begin_staging(connection, build_uuid, now))

    async def staged(self, build_uuid: str, facts: SourceFacts, line: str) -> Build | None:
        """See `transitions.staged`."""
        now = self._now()
        return await self._database.run(lambda connection: transitions.staged(connection, build_uuid, facts, line, now))

    async def waits_for(self, build_uuid: str, why: str | None, line: str | None = None) -> Build | None:
        """See `transitions.waits_for`."""
        return await self._database.run(lambda connection: transitions.waits_for(connection, build_uuid, why, line))

    async def grant_slots(self, slots: int) -> list[str]:
        """See `transitions.grant_slots`."""
        now = self._clock.moment()
        return await self._database.run(lambda connection: transitions.grant_slots(connection, slots=slots, now=now))

    async def why_parked(self, build_uuid: str, slots: int) -> str | None:
        """See `transitions.why_parked`."""
        return await self._database.run(lambda connection: transitions.why_parked(connection, build_uuid, slots))

    async def attempt_trigger(self, build_uuid: str) -> Build | None:
        """See `transitions.attempt_trigger`."""
        now = self._now()
        return await self._database.run(lambda connection: transitions.attempt_trigger(connection, build_uuid, now))

    async def take_back_trigger(self, build_uuid: str) -> None:
        """See `transitions.take_back_trigger`."""
        await self._database.run(lambda connection: transitions.take_back_trigger(connection, build_uuid))

    async def trigger_again(self, build_uuid: str, number: int) -> Build | None:
        """See `transitions.trigger_again`."""
        return await self._database.run(lambda connection: transitions.trigger_again(connection, build_uuid, number))

    async def queued(self, build_uuid: str, *, item: int | None = None, number: int | None = None) -> Build:
        """See `transitions.queued`."""
        now = self._now()
        return await self._database.run(
            lambda connection: transitions.queued(connection, build_uuid, item, number, now)
        )

    async def request_stop(self, build_uuid: str, cause: StopCause) -> Build | None:
        """See `transitions.request_stop`."""
        now = self._clock.moment()
        build = await self._database.run(
            lambda connection: transitions.request_stop(connection, build_uuid, cause, now)
        )
        if build is not None and build.state.final:
            self._ended(build)
        return build

    async def finish(self, build_uuid: str, ending: Ending, log: FinalLog | None = None) -> Build | None:
        """See `transitions.finish`."""
        now = self._clock.moment()
        result = await self._database.run(
            lambda connection: transitions.finish(connection, build_uuid, ending, log=log, now=now)
        )
        if result is not None:
            self._ended(result)
        return result

    def _ended(self, build: Build) -> None:
        metrics.count_end(build)
        self.on_event()

    async def archived(self, build_uuid: str) -> None:
        """See `transitions.archived`."""
        now = self._now()
        await self._database.run(lambda connection: transitions.archived(connection, build_uuid, now))

    async def correct_log(self, build_uuid: str, log: FinalLog) -> None:
        """See `transitions.correct_log`."""
        await self._database.run(lambda connection: transitions.correct_log(connection, build_uuid, log))

    # --- the agent

    async def token_digest(self, build_uuid: str) -> str | None:
        """See `claims.token_digest_of`."""
        return await self._database.run(lambda connection: claims.token_digest_of(connection, build_uuid))

    async def claim(self, build_uuid: str, new: NewClaim) -> Claim:
        """See `claims.claim`."""
        now = self._clock.moment()
        claim = await self._database.run(lambda connection: claims.claim(connection, build_uuid, new, now))
        self.on_event()
        return claim

    async def claims(self, build_uuid: str) -> list[Claim]:
        """See `claims.of_build`."""
        return await self._database.run(lambda connection: claims.of_build(connection, build_uuid))

    async def begin_claim(self, claim_id: int) -> None:
        """See `claims.begin`."""
        now = self._now()
        await self._database.run(lambda connection: claims.begin(connection, claim_id, now))

    async def end_claim(self, claim_id: int, exit_status: int) -> None:
        """See `claims.end`."""
        now = self._now()
        await self._database.run(lambda connection: claims.end(connection, claim_id, exit_status, now))

    async def record_log(self, build_uuid: str, segments: Sequence[Segment], at: Checkpoint) -> None:
        """See `log_segments.record`."""
        await self._database.run(lambda connection: log_segments.record(connection, build_uuid, segments, at))

    async def log_segments(self, build_uuid: str) -> list[Segment]:
        """See `log_segments.of_build`."""
        return await self._database.run(lambda connection: log_segments.of_build(connection, build_uuid))

    async def record_progress(self, build_uuid: str, event: StageEvent) -> bool:
        """See `progress.record`."""
        return await self._database.run(lambda connection: progress.record(connection, build_uuid, event))

    async def progress(self, build_uuid: str) -> list[StageEvent]:
        """See `progress.of_build`."""
        return await self._database.run(lambda connection: progress.of_build(connection, build_uuid))

    async def record_report(
        self,
        build_uuid: str,
        report_id: str,
        body: bytes,
        *,
        failure: agent.Failure | None,
        facts: dict[str, Any],
        values: dict[str, str],
    ) -> bool:
        """See `agent.record_report`."""
        now = self._now()
        return await self._database.run(
            lambda connection: agent.record_report(
                connection, build_uuid, report_id, body, failure=failure, facts=facts, values=values, now=now
            )
        )

    async def expect_artifact(self, build_uuid: str, name: str, size_bytes: int, limits: agent.ArtifactLimits) -> None:
        """See `agent.expect_artifact`."""
        await self._database.run(
            lambda connection: agent.expect_artifact(connection, build_uuid, name, size_bytes, limits)
        )

    async def record_artifact(self, build_uuid: str, artifact: Artifact, limits: agent.ArtifactLimits) -> None:
        """See `agent.record_artifact`."""
        now = self._now()
        await self._database.run(
            lambda connection: agent.record_artifact(connection, build_uuid, artifact, limits, now)
        )

    # --- retention

    async def expired(self, kind: str, before: datetime, *, limit: int) -> list[str]:
        """See `retain.expired`."""
        return await self._database.run(lambda connection: retain.expired(connection, kind, before, limit))

    async def forgotten(self, kind: str, build_uuid: str) -> None:
        """See `retain.forgotten`."""
        now = self._now()
        await self._database.run(lambda connection: retain.forgotten(connection, kind, build_uuid, now))

    async def unpromised_sources(self, before: datetime, *, limit: int) -> list[str]:
        """See `early_sources.unpromised`."""
        return await self._database.run(lambda connection: early_sources.unpromised(connection, before, limit))

    async def forget_source(self, build_uuid: str) -> None:
        """See `early_sources.forget`."""
        await self._database.run(lambda connection: early_sources.forget(connection, [build_uuid]))

    async def drop_record(self, build_uuid: str) -> None:
        """See `retain.drop_record`."""
        await self._database.run(lambda connection: retain.drop_record(connection, build_uuid))


def _write_and_undo(connection: sa.Connection, now: datetime) -> None:
    """Leaves no row, and yet a commit has to write."""
    nobody = {"name": "", "started_at": now, "heartbeat_at": now}
    connection.execute(replicas.insert().values(nobody))
    connection.execute(replicas.delete().where(replicas.c.name == ""))
