"""ratings of voices

Revision ID: 0010
Revises: 0009
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "voice_ratings",
        sa.Column("user_id", sa.String(length=64), nullable=False),
        sa.Column("voice_id", sa.String(length=64), nullable=False),
        sa.Column("clone_id", sa.String(length=64), nullable=True),
        sa.Column("rating", sa.SmallInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["clone_id"], ["clones.id"], name=op.f("fk_voice_ratings_clone_id_clones"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_voice_ratings_user_id_users"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", "voice_id", name=op.f("pk_voice_ratings")),
    )
    with op.batch_alter_table("voice_ratings", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_voice_ratings_clone_id"), ["clone_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_voice_ratings_voice_id"), ["voice_id", "user_id", "rating"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("voice_ratings", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_voice_ratings_voice_id"))
        batch_op.drop_index(batch_op.f("ix_voice_ratings_clone_id"))
    op.drop_table("voice_ratings")
