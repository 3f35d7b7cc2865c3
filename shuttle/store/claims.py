"""Claims: each attempt of a pipeline's step to run a build, with the digests of its tokens.

A token is looked up by its digest alone. So a wrong token costs the same for a known and for an unknown uuid in the
path. The time of a lookup reveals nothing about a token, because only SHA-256 digests are compared.
"""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from shuttle.errors import ConflictError, GoneError
from shuttle.store.builds import lock_build
from shuttle.store.platform_ends import end_platform
from shuttle.store.platforms import open_platform
from shuttle.store.progress import begin_claim_stage
from shuttle.store.records import begin_record
from shuttle.store.tables import builds, claims
from shuttle.store.transitions import start_running
from shuttle.store.tx import Topic, Tx

_OVER = "This build is over, or was stopped: there is nothing to run."
_MAX_CLAIMS = 100


@dataclass(frozen=True, slots=True)
class Claim:
    """An attempt of the main step (`branch` "") or of a parallel branch; digests are SHA-256 in hex.

    `with_credentials`: the agent gets registry credentials. `exit_status` is from the supervisor's last call.
    """

    claim_id: int
    build_uuid: str
    branch: str
    nonce_digest: str
    setup_digest: str
    run_digest: str
    with_credentials: bool
    begun_at: datetime | None
    voided_at: datetime | None
    ended_at: datetime | None
    exit_status: int | None


@dataclass(frozen=True, slots=True)
class NewClaim:
    """A requested claim; `number` is the number of the Jenkins build in which the step runs."""

    number: int
    branch: str
    nonce_digest: str
    setup_digest: str
    run_digest: str


_COLUMNS = [claims.c[name] for name in Claim.__dataclass_fields__]


def claim_build(tx: Tx, build_uuid: str, new: NewClaim) -> Claim:
    """Record an attempt to run the build, or this branch of it.

    The first claim makes the build `running`. Until `begin`, the same nonce returns the same claim; another nonce means
    that Jenkins has restarted the step, and voids the earlier attempt.

    Raises:
        ConflictError: another Jenkins build has claimed it, the branch has begun, the build was never triggered, or it
            has 100 claims.
        GoneError: the build is over or stopped.
    """
    build = lock_build(tx, build_uuid)
    if build is None or build.state.final or build.stop_cause is not None:
        raise GoneError(_OVER)
    if build.build_number not in {None, new.number}:
        raise ConflictError(f"Jenkins build {build.build_number} runs this build: another one may not claim it.")
    if build.claimed_at is None and not start_running(tx, build, new.number):
        raise ConflictError("This build was never triggered in Jenkins, so it cannot be claimed.")
    earlier = claims_of(tx, build_uuid)
    current = next((old for old in earlier if old.branch == new.branch and old.voided_at is None), None)
    if current is not None:
        if current.begun_at is not None:
            raise ConflictError("This step has already begun: a second run would repeat its work.")
        if current.nonce_digest == new.nonce_digest:
            return current
        tx.execute(claims.update().where(claims.c.claim_id == current.claim_id).values(voided_at=tx.now.at))
    if len(earlier) >= _MAX_CLAIMS:
        raise ConflictError(f"A build may be claimed at most {_MAX_CLAIMS} times.")
    row = {
        "build_uuid": build_uuid,
        "branch": new.branch,
        "nonce_digest": new.nonce_digest,
        "setup_digest": new.setup_digest,
        "run_digest": new.run_digest,
        "with_credentials": all(old.begun_at is None for old in earlier),
        "claimed_at": tx.now.at,
    }
    tx.execute(claims.insert(), row)
    begin_claim_stage(tx, build_uuid, new.branch)
    child = open_platform(tx, build, new.branch)
    if child is not None:
        begin_claim_stage(tx, begin_record(tx, child).build_uuid, "")
    tx.notify(Topic.BUILD, build_uuid)
    return claims_of(tx, build_uuid)[-1]


def claims_of(tx: Tx, build_uuid: str) -> list[Claim]:
    """All attempts, in the order of their claims."""
    query = sa.select(*_COLUMNS).where(claims.c.build_uuid == build_uuid).order_by(claims.c.claim_id)
    return [Claim(*row) for row in tx.execute(query)]


def begin_claim(tx: Tx, claim_id: int) -> None:
    """Record that the user's code is about to run; only the first call has an effect."""
    tx.execute(
        claims.update().where(claims.c.claim_id == claim_id, claims.c.begun_at.is_(None)).values(begun_at=tx.now.at)
    )


def end_claim(tx: Tx, claim: Claim, exit_status: int) -> None:
    """Record the exit status of the supervisor's last call; only the first call has an effect.

    If the claim is that of a platform's branch, the platform's record ends, too.
    """
    build = lock_build(tx, claim.build_uuid)
    mine = (claims.c.claim_id == claim.claim_id, claims.c.ended_at.is_(None))
    ended = tx.execute(claims.update().where(*mine).values(ended_at=tx.now.at, exit_status=exit_status)).rowcount
    if ended and build is not None and not build.state.final:
        end_platform(tx, build, claim.branch, exit_status)


def build_of_token(tx: Tx, digest: str) -> str | None:
    """The uuid of the build whose own token has this digest."""
    found: str | None = tx.execute(sa.select(builds.c.build_uuid).where(builds.c.token_digest == digest)).scalar()
    return found


def find_setup_token(tx: Tx, digest: str) -> Claim | None:
    """The attempt whose setup token has this digest."""
    return _claim_of(tx, claims.c.setup_digest == digest)


def find_run_token(tx: Tx, digest: str) -> Claim | None:
    """The attempt whose run token has this digest."""
    return _claim_of(tx, claims.c.run_digest == digest)


def _claim_of(tx: Tx, condition: sa.ColumnElement[bool]) -> Claim | None:
    """The oldest such attempt.

    If an attempt that was voided claims again, its new claim has the same tokens, because they are derived from the
    nonce. They stay invalid, because its old claim is found first.
    """
    row = tx.execute(sa.select(*_COLUMNS).where(condition).order_by(claims.c.claim_id).limit(1)).first()
    return None if row is None else Claim(*row)
