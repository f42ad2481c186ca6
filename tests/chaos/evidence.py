"""What the stores hold when all is over, and every step that a job took on the way there."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from store.database import Database
from store.models import Base, Clone, Job, Sample
from store.models.library import VoiceUsage
from store.repositories.objects import columns_with_keys
from store.stores import Stores
from tests.chaos.sounds import Heard, pcm_of

# The database writes down itself how the status of each job changes, in the transaction that changes it: what no client saw is there too.
RECORDER = """
CREATE TABLE chaos_steps (
    seq bigserial PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp(),
    job_id text NOT NULL, was text, became text, attempt int NOT NULL, lease_until timestamptz
);
CREATE FUNCTION chaos_step() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO chaos_steps (job_id, became, attempt) VALUES (NEW.id, NEW.status, NEW.attempt);
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO chaos_steps (job_id, was, attempt, lease_until) VALUES (OLD.id, OLD.status, OLD.attempt, OLD.lease_until);
    ELSIF NEW.status <> OLD.status OR NEW.attempt > OLD.attempt THEN
        INSERT INTO chaos_steps (job_id, was, became, attempt, lease_until)
        VALUES (NEW.id, OLD.status, NEW.status, NEW.attempt, OLD.lease_until);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER chaos_step AFTER INSERT OR UPDATE OR DELETE ON jobs FOR EACH ROW EXECUTE FUNCTION chaos_step();
"""


@dataclass(frozen=True, slots=True)
class Row:
    """A job as it is at the end."""

    id: str
    user_id: str
    kind: str
    status: str
    attempt: int
    text: str
    seed: int | None
    voice_id: str | None
    key: str | None
    output_path: str | None
    output_size: int | None
    duration: float | None
    error_code: str | None


@dataclass(frozen=True, slots=True)
class Step:
    """A change of a job's status. `was` is None where the job began, `became` where it was deleted.

    at, lease_until: seconds of Unix time; the latter of the lease that ended with this step.
    """

    job_id: str
    was: str | None
    became: str | None
    attempt: int
    at: float
    lease_until: float | None

    @property
    def lease_ran_out(self) -> bool:
        """Whether somebody took back what its holder had left, instead of the holder giving it back."""
        return self.was == "processing" and self.lease_until is not None and self.lease_until <= self.at


@dataclass(frozen=True, slots=True)
class Survivor:
    """A process that still runs: what it holds now and what it held when it had just started."""

    name: str
    kind: str
    files: int
    files_at_start: int
    faults_survived: int
    left_behind: int  # child processes of its killed predecessors that still run


@dataclass(frozen=True, slots=True)
class Connections:
    """To the database, as that sees them."""

    open: int
    processes: int
    idle_in_transaction: int
    waiting_for_locks: int


@dataclass(slots=True)
class Evidence:
    """Everything that the checks look at.

    Attributes:
        rows: jobs by id.
        steps: of each job that ever was, in order.
        objects: sizes in bytes by key.
        named: which row names a key.
        references: what the model is given of each clone (mono, 24 kHz, 16 bit), and its status.
        heard: the sounds of completed jobs, by the job's id.
        listened_to: recordings and clones whose embedding is in their row; `vectors`: those in the index.
        usage: how many jobs each voice has completed, as the transactions that ended them counted.
    """

    rows: dict[str, Row] = field(default_factory=dict)
    steps: dict[str, list[Step]] = field(default_factory=dict)
    objects: dict[str, int] = field(default_factory=dict)
    named: dict[str, str] = field(default_factory=dict)
    references: dict[str, tuple[str, bytes | None]] = field(default_factory=dict)
    heard: dict[str, Heard] = field(default_factory=dict)
    usage: dict[str, int] = field(default_factory=dict)
    listened_to: set[str] = field(default_factory=set)
    vectors: set[str] = field(default_factory=set)
    survivors: list[Survivor] = field(default_factory=list)
    connections: Connections | None = None


async def install_recorder(database: Database) -> None:
    async with database.engine.begin() as connection:
        raw = await connection.get_raw_connection()
        assert raw.driver_connection is not None
        await raw.driver_connection.execute(RECORDER)


async def unfinished(database: Database) -> int:
    """How many jobs of any kind have not ended."""
    async with database.read() as session:
        return int(await session.scalar(text("SELECT count(*) FROM jobs WHERE status IN ('pending', 'processing')")) or 0)


async def gather_rows(evidence: Evidence, stores: Stores) -> None:
    """Rows, steps, objects and vectors."""
    objects = stores.objects
    async with stores.database.read() as session:
        evidence.rows = {job.id: _row(job) for job in await session.scalars(select(Job))}
        evidence.steps = await _steps(session)
        evidence.named = {key: row_id async for key, row_id in _named(session)}
        evidence.usage = {usage.voice_id: usage.completed for usage in await session.scalars(select(VoiceUsage))}
        clones = list(await session.scalars(select(Clone)))
        for model in (Clone, Sample):
            evidence.listened_to.update(await session.scalars(select(model.id).where(model.embedding.is_not(None))))
    evidence.vectors = set(await stores.vectors.ids())
    evidence.objects = {stat.key: stat.size async for stat in objects.list()}
    for clone in clones:
        there = clone.reference_path in evidence.objects
        content = await objects.get(clone.reference_path) if there and clone.reference_path else None
        evidence.references[clone.id] = (clone.status, content and pcm_of(content))


OPEN_S = 30.0
"""A transaction that is open for so long was left open."""


async def gather_connections(database: Database, processes: int) -> Connections:
    """What the database sees of everybody but us. Looked at again for a while where a transaction is open, as short ones always are."""
    seen = """
        SELECT count(*), count(*) FILTER (WHERE state LIKE 'idle in transaction%'), count(*) FILTER (WHERE wait_event_type = 'Lock')
        FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
    """
    until = time.monotonic() + OPEN_S
    while True:
        async with database.read() as session:
            there, idle, waiting = (await session.execute(text(seen))).one()
        if not (idle or waiting) or time.monotonic() > until:
            return Connections(int(there), processes, int(idle), int(waiting))
        await asyncio.sleep(0.05)


def _row(job: Job) -> Row:
    return Row(
        job.id, job.user_id, job.kind, job.status, job.attempt, job.text_content, job.config.get("seed"), job.voice_model_id,
        job.idempotency_key, job.output_path, job.output_size, job.duration, job.error_code,
    )  # fmt: skip


async def _steps(session: AsyncSession) -> dict[str, list[Step]]:
    found: dict[str, list[Step]] = defaultdict(list)
    for row in await session.execute(text("SELECT job_id, was, became, attempt, at, lease_until FROM chaos_steps ORDER BY seq")):
        until = row.lease_until.timestamp() if row.lease_until else None
        found[row.job_id].append(Step(row.job_id, row.was, row.became, row.attempt, row.at.timestamp(), until))
    return dict(found)


async def _named(session: AsyncSession) -> AsyncIterator[tuple[str, str]]:
    """Every key that a row names, and what the row is."""
    for table, columns in columns_with_keys().items():
        there = Base.metadata.tables[table]
        for column in columns:
            for row in await session.execute(select(there.c[column], *there.primary_key).where(there.c[column].is_not(None))):
                yield row[0], f"{table} {'/'.join(map(str, row[1:]))}"
