"""library: favourite voices, how much voices are used, their previews

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# What has ended before there was a counter. How long it took was not measured.
COUNT_JOBS = """
INSERT INTO voice_usage
    (voice_id, clone_id, completed, failed, audio_s, timed, timed_audio_s, synthesis_s, last_used_at)
SELECT clones.id, clones.id,
    SUM(CASE WHEN jobs.status = 'completed' THEN 1 ELSE 0 END), SUM(CASE WHEN jobs.status = 'failed' THEN 1 ELSE 0 END),
    SUM(CASE WHEN jobs.status = 'completed' THEN COALESCE(jobs.duration, 0) ELSE 0 END), 0, 0, 0, MAX(jobs.updated_at)
FROM jobs JOIN clones ON clones.id = jobs.voice_model_id
WHERE jobs.kind = 'synthesis' AND jobs.status IN ('completed', 'failed')
GROUP BY clones.id
"""


def upgrade() -> None:
    op.create_table(
        "voice_favorites",
        sa.Column("user_id", sa.String(length=64), nullable=False),
        sa.Column("voice_id", sa.String(length=64), nullable=False),
        sa.Column("clone_id", sa.String(length=64), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["clone_id"], ["clones.id"], name=op.f("fk_voice_favorites_clone_id_clones"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_voice_favorites_user_id_users"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", "voice_id", name=op.f("pk_voice_favorites")),
    )
    with op.batch_alter_table("voice_favorites", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_voice_favorites_clone_id"), ["clone_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_voice_favorites_voice_id"), ["voice_id"], unique=False)

    op.create_table(
        "voice_usage",
        sa.Column("voice_id", sa.String(length=64), nullable=False),
        sa.Column("clone_id", sa.String(length=64), nullable=True),
        sa.Column("completed", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("audio_s", sa.Float(), nullable=False),
        sa.Column("timed", sa.Integer(), nullable=False),
        sa.Column("timed_audio_s", sa.Float(), nullable=False),
        sa.Column("synthesis_s", sa.Float(), nullable=False),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["clone_id"], ["clones.id"], name=op.f("fk_voice_usage_clone_id_clones"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("voice_id", name=op.f("pk_voice_usage")),
    )
    with op.batch_alter_table("voice_usage", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_voice_usage_clone_id"), ["clone_id"], unique=False)
    op.execute(COUNT_JOBS)

    op.create_table(
        "voice_previews",
        sa.Column("voice_id", sa.String(length=64), nullable=False),
        sa.Column("clone_id", sa.String(length=64), nullable=True),
        sa.Column("job_id", sa.String(length=64), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=128), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["clone_id"], ["clones.id"], name=op.f("fk_voice_previews_clone_id_clones"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_voice_previews_job_id_jobs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("voice_id", name=op.f("pk_voice_previews")),
    )
    with op.batch_alter_table("voice_previews", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_voice_previews_clone_id"), ["clone_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_voice_previews_job_id"), ["job_id"], unique=False)


def downgrade() -> None:
    for table, columns in (
        ("voice_previews", ("job_id", "clone_id")),
        ("voice_usage", ("clone_id",)),
        ("voice_favorites", ("voice_id", "clone_id")),
    ):
        with op.batch_alter_table(table, schema=None) as batch_op:
            for column in columns:
                batch_op.drop_index(batch_op.f(f"ix_{table}_{column}"))
        op.drop_table(table)
