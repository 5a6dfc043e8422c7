"""Runs, their comparisons over all and by center, and counts of failures.

Revision 0001, the first.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

RUN_KEY = "run_id"
KEYS = ("run_id", "phenotype", "arm", "against")
ENDS = ("", "_low", "_high")


def upgrade() -> None:
    """Make the tables."""
    texts = ("folder", "device", "commit_sha", "version", "plan_sha256", "config_sha256", "inputs_sha256")
    op.create_table(
        "cardioval_runs",
        sa.Column(RUN_KEY, sa.String(), nullable=False),
        sa.Column("study", sa.String(), nullable=False),
        *(
            sa.Column(name, sa.DateTime(timezone=True), nullable=False)
            for name in ("started_utc", "created_utc", "recorded_utc")
        ),
        *(sa.Column(name, sa.String(), nullable=False) for name in texts),
        sa.Column("wall_s", sa.Double(), nullable=True),
        sa.Column("versions", sa.JSON(), nullable=False),
        sa.Column("weights", sa.JSON(), nullable=False),
        sa.Column("results_schema", sa.Integer(), nullable=False),
        sa.Column("primary_phenotypes", sa.JSON(), nullable=False),
        *(sa.Column(name, sa.Integer(), nullable=True) for name in ("n_patients", "n_scans", "n_centers")),
        sa.Column("n_failures", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint(RUN_KEY, name="pk_cardioval_runs"),
    )
    op.create_index("ix_cardioval_runs_study", "cardioval_runs", ["study"])
    op.create_index("ix_cardioval_runs_started_utc", "cardioval_runs", ["started_utc"])
    op.create_table(
        "cardioval_comparisons",
        *(sa.Column(name, sa.String(), nullable=False) for name in KEYS),
        *agreement_columns(),
        sa.Column("attempted", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("sd", sa.Double(), nullable=True),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.Column("claimed", sa.Boolean(), nullable=True),
        sa.Column("reason", sa.String(), nullable=False),
        *constraints("cardioval_comparisons", KEYS),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "cardioval_center_comparisons",
        *(sa.Column(name, sa.String(), nullable=False) for name in (*KEYS, "center")),
        *agreement_columns(),
        *constraints("cardioval_center_comparisons", (*KEYS, "center")),
        sqlite_with_rowid=False,
    )
    failure_keys = (RUN_KEY, "stage", "reason_class")
    op.create_table(
        "cardioval_failures",
        *(sa.Column(name, sa.String(), nullable=False) for name in failure_keys),
        sa.Column("n", sa.Integer(), nullable=False),
        *constraints("cardioval_failures", failure_keys),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Remove them."""
    for table in ("failures", "center_comparisons", "comparisons", "runs"):
        op.drop_table(f"cardioval_{table}")


def agreement_columns() -> list[sa.Column[Any]]:
    """Number of pairs, bias and limits with their intervals."""
    names = [f"{name}{end}" for name in ("bias", "lower_limit", "upper_limit") for end in ENDS]
    return [sa.Column("n", sa.Integer(), nullable=False), *(sa.Column(n, sa.Double(), nullable=True) for n in names)]


def constraints(table: str, keys: tuple[str, ...]) -> tuple[sa.ForeignKeyConstraint, sa.PrimaryKeyConstraint]:
    """Its rows go with their run."""
    return (
        sa.ForeignKeyConstraint(
            [RUN_KEY], ["cardioval_runs.run_id"], name=f"fk_{table}_run_id_cardioval_runs", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint(*keys, name=f"pk_{table}"),
    )
