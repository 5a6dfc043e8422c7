"""Image quality and overlap of labels, and the margins that a verdict was held against.

Revision 0002, after 0001. Runs recorded before have no margins and no image quality.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

MARGINS = ("margin_lower", "margin_upper", "margin_limits")
KEYS = ("run_id", "metric", "arm", "modality")


def upgrade() -> None:
    """Add them."""
    for name in MARGINS:
        op.add_column("cardioval_comparisons", sa.Column(name, sa.Double(), nullable=True))
    op.create_table(
        "cardioval_quality",
        *(sa.Column(name, sa.String(), nullable=False) for name in KEYS),
        sa.Column("n", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.Double(), nullable=True) for name in ("mean", "sd", "low", "high")),
        sa.ForeignKeyConstraint(
            ["run_id"], ["cardioval_runs.run_id"], name="fk_cardioval_quality_run_id_cardioval_runs", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint(*KEYS, name="pk_cardioval_quality"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Remove them."""
    op.drop_table("cardioval_quality")
    with op.batch_alter_table("cardioval_comparisons") as table:
        for name in MARGINS:
            table.drop_column(name)
