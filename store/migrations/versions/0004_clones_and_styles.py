"""clones and styles

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("clones", schema=None) as batch_op:
        batch_op.add_column(sa.Column("reference_style", sa.String(length=50), nullable=True))
        batch_op.add_column(sa.Column("embedding", sa.LargeBinary(), nullable=True))
    with op.batch_alter_table("clone_samples", schema=None) as batch_op:
        batch_op.add_column(sa.Column("style", sa.String(length=50), nullable=True))
        batch_op.add_column(sa.Column("quality_score", sa.Float(), nullable=True))
        batch_op.add_column(sa.Column("used", sa.Boolean(), nullable=True))
        batch_op.add_column(sa.Column("reason_code", sa.String(length=64), nullable=True))
        batch_op.add_column(sa.Column("reason", sa.Text(), nullable=True))
    op.create_table(
        "clone_references",
        sa.Column("clone_id", sa.String(length=64), nullable=False),
        sa.Column("style", sa.String(length=50), nullable=False),
        sa.Column("path", sa.String(length=255), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("duration", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["clone_id"], ["clones.id"], name=op.f("fk_clone_references_clone_id_clones"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("clone_id", "style", name=op.f("pk_clone_references")),
    )
    op.create_table(
        "clone_consents",
        sa.Column("clone_id", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.String(length=64), nullable=False),
        sa.Column("who", sa.String(length=200), nullable=False),
        sa.Column("relation", sa.String(length=32), nullable=False),
        sa.Column("statement", sa.Text(), nullable=False),
        sa.Column("accepted", sa.Boolean(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("client_address", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(["clone_id"], ["clones.id"], name=op.f("fk_clone_consents_clone_id_clones"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("clone_id", name=op.f("pk_clone_consents")),
    )
    _describe_those_there_are()


def _describe_those_there_are() -> None:
    """A clone of before has one reference, of one sample, which its metrics name."""
    samples = sa.table("samples", sa.column("id"), sa.column("style"), sa.column("quality_metrics", sa.JSON()))
    clones = sa.table(
        "clones", sa.column("id"), sa.column("reference_path"), sa.column("reference_style"), sa.column("quality_metrics", sa.JSON())
    )
    links = sa.table("clone_samples", *map(sa.column, ("clone_id", "sample_id", "style", "used", "reason_code", "reason")))
    connection = op.get_bind()
    connection.execute(links.update().values(style=sa.select(samples.c.style).where(samples.c.id == links.c.sample_id).scalar_subquery()))
    for clone in connection.execute(sa.select(clones).where(clones.c.reference_path.is_not(None))).all():
        chosen = (clone.quality_metrics or {}).get("reference_sample_id")
        style = connection.scalar(sa.select(samples.c.style).where(samples.c.id == chosen))
        connection.execute(clones.update().where(clones.c.id == clone.id).values(reference_style=style))
        of_clone = links.update().where(links.c.clone_id == clone.id)
        connection.execute(of_clone.where(links.c.sample_id == chosen).values(used=True))
        left_out = {"used": False, "reason_code": "REFERENCE_FULL", "reason": "Another sample was chosen"}
        connection.execute(of_clone.where(links.c.sample_id != chosen).values(left_out))


def downgrade() -> None:
    op.drop_table("clone_consents")
    op.drop_table("clone_references")
    # Never by making the table anew: to SQLite that is a deletion of its rows, which takes along what refers to them.
    with op.batch_alter_table("clone_samples", schema=None, recreate="never") as batch_op:
        for column in ("reason", "reason_code", "used", "quality_score", "style"):
            batch_op.drop_column(column)
    with op.batch_alter_table("clones", schema=None, recreate="never") as batch_op:
        batch_op.drop_column("embedding")
        batch_op.drop_column("reference_style")
