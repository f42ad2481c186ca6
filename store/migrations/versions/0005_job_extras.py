"""job extras: repeats from the cache, times of words, measured times of attempts

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

BEFORE = ["available_at", "kind", "user_id", "priority", "created_at", "id", "status"]


def upgrade() -> None:
    op.create_table(
        "job_timestamps",
        sa.Column("job_id", sa.String(length=64), nullable=False),
        sa.Column("method", sa.String(length=16), nullable=False),
        sa.Column("words", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_job_timestamps_job_id_jobs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_job_timestamps")),
    )
    # Not in a batch: columns that may be null are added in place by both databases, and rows of jobs are not copied.
    op.add_column("jobs", sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("jobs", sa.Column("cache_key", sa.String(length=64), nullable=True))
    known = sa.text("cache_key IS NOT NULL")
    op.create_index("ix_jobs_user_id_cache_key", "jobs", ["user_id", "cache_key"], unique=False, sqlite_where=known, postgresql_where=known)
    completed = sa.text("status = 'completed'")
    op.create_index("ix_jobs_completed", "jobs", ["kind", "completed_at"], unique=False, sqlite_where=completed, postgresql_where=completed)
    _pending([*BEFORE, "text_length", "speed"])


def downgrade() -> None:
    _pending(BEFORE)
    op.drop_index("ix_jobs_completed", table_name="jobs")
    op.drop_index("ix_jobs_user_id_cache_key", table_name="jobs")
    op.drop_column("jobs", "cache_key")
    op.drop_column("jobs", "claimed_at")
    op.drop_table("job_timestamps")


def _pending(columns: list[str]) -> None:
    pending = sa.text("status = 'pending'")
    op.drop_index("ix_jobs_pending", table_name="jobs")
    op.create_index("ix_jobs_pending", "jobs", columns, unique=False, sqlite_where=pending, postgresql_where=pending)
