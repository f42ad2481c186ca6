"""limits and admin: counters, limits of single users, sizes of files, changed settings, the audit log

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

USER_LIMITS = (
    ("limit_requests_per_minute", sa.Integer),
    ("limit_samples_per_day", sa.Integer),
    ("limit_jobs_per_day", sa.Integer),
    ("limit_storage_bytes", sa.BigInteger),
)


def upgrade() -> None:
    op.create_table(
        "counters",
        sa.Column("key", sa.String(length=96), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("ends_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_counters")),
    )
    op.create_index(op.f("ix_counters_ends_at_ms"), "counters", ["ends_at_ms"], unique=False)

    op.create_table(
        "setting_overrides",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_by", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_setting_overrides")),
    )

    op.create_table(
        "audit_log",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("actor_id", sa.String(length=64), nullable=False),
        sa.Column("action", sa.String(length=32), nullable=False),
        sa.Column("subject", sa.String(length=64), nullable=False),
        sa.Column("before", sa.JSON(), nullable=False),
        sa.Column("after", sa.JSON(), nullable=False),
        sa.Column("request_id", sa.String(length=128), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_log")),
    )
    op.create_index("ix_audit_log_created_at", "audit_log", ["created_at", "id"], unique=False)

    # Columns come and go with statements of their own: a copy of the table, which a batch makes on SQLite, would
    # drop the old one and with it every row that refers to it.
    for name, kind in USER_LIMITS:
        op.add_column("users", sa.Column(name, kind(), nullable=True))
    op.add_column("samples", sa.Column("prepared_size", sa.Integer(), nullable=True))
    op.add_column("clones", sa.Column("reference_size", sa.Integer(), nullable=True))
    op.create_index(
        "ix_jobs_stored",
        "jobs",
        ["user_id", "output_size"],
        unique=False,
        sqlite_where=sa.text("output_size IS NOT NULL"),
        postgresql_where=sa.text("output_size IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_jobs_stored", "jobs")
    op.drop_column("clones", "reference_size")
    op.drop_column("samples", "prepared_size")
    for name, _ in reversed(USER_LIMITS):
        op.drop_column("users", name)
    op.drop_index("ix_audit_log_created_at", "audit_log")
    op.drop_table("audit_log")
    op.drop_table("setting_overrides")
    op.drop_index(op.f("ix_counters_ends_at_ms"), "counters")
    op.drop_table("counters")
