"""training

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "training_samples",
        sa.Column("job_id", sa.String(length=64), nullable=False),
        sa.Column("sample_id", sa.String(length=64), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_training_samples_job_id_jobs"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["sample_id"], ["samples.id"], name=op.f("fk_training_samples_sample_id_samples"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "sample_id", name=op.f("pk_training_samples")),
    )
    with op.batch_alter_table("training_samples", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_training_samples_sample_id"), ["sample_id"], unique=False)

    op.create_table(
        "clone_trainings",
        sa.Column("clone_id", sa.String(length=64), nullable=False),
        sa.Column("job_id", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["clone_id"], ["clones.id"], name=op.f("fk_clone_trainings_clone_id_clones"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_clone_trainings_job_id_jobs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("clone_id", name=op.f("pk_clone_trainings")),
    )
    with op.batch_alter_table("clone_trainings", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_clone_trainings_job_id"), ["job_id"], unique=False)


def downgrade() -> None:
    op.drop_table("clone_trainings")
    op.drop_table("training_samples")
