"""What is kept of every run? The tables of the history: numbers, pseudonyms of centers and hashes; no patient.

A change here needs a migration in ``flows/migrations/versions``; a test compares both.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, DateTime, Dialect, Double, ForeignKey, MetaData
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

NAMES = {
    "ix": "ix_%(column_0_label)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
# of a record that waits in a file
RECORD_SCHEMA = 1
# beside other tables of a database that is shared, for instance with Prefect
PREFIX = "cardioval_"
# the rows of SQLite lie in the order of their key, so that the key is not stored twice
COMPACT = {"sqlite_with_rowid": False}


class Moment(TypeDecorator[datetime]):
    """A time with its zone, UTC: SQLite, which keeps no zone, gets and gives the same moment."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Into the database."""
        if value is None:
            return None
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Out of the database."""
        del dialect
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """All tables."""

    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map = {dict[str, Any]: JSON, list[Any]: JSON, datetime: Moment, float: Double}  # noqa: RUF012 (SQLAlchemy's way)


class Run(Base):
    """A run: what was asked, on what it rests, and how it ended."""

    __tablename__ = f"{PREFIX}runs"

    run_id: Mapped[str] = mapped_column(primary_key=True)
    study: Mapped[str] = mapped_column(index=True)
    started_utc: Mapped[datetime] = mapped_column(index=True)
    created_utc: Mapped[datetime]
    recorded_utc: Mapped[datetime]
    folder: Mapped[str]
    wall_s: Mapped[float | None]
    device: Mapped[str]
    commit_sha: Mapped[str]
    version: Mapped[str]
    versions: Mapped[dict[str, Any]]
    weights: Mapped[list[Any]]
    plan_sha256: Mapped[str]
    config_sha256: Mapped[str]
    inputs_sha256: Mapped[str]
    results_schema: Mapped[int]
    primary_phenotypes: Mapped[list[Any]]
    n_patients: Mapped[int | None]
    n_scans: Mapped[int | None]
    n_centers: Mapped[int | None]
    n_failures: Mapped[int]


class Agreement:
    """Columns of a comparison: number, bias and limits with their intervals."""

    n: Mapped[int]
    bias: Mapped[float | None]
    bias_low: Mapped[float | None]
    bias_high: Mapped[float | None]
    lower_limit: Mapped[float | None]
    lower_limit_low: Mapped[float | None]
    lower_limit_high: Mapped[float | None]
    upper_limit: Mapped[float | None]
    upper_limit_low: Mapped[float | None]
    upper_limit_high: Mapped[float | None]


class Comparison(Agreement, Base):
    """A phenotype and an arm against its reference: the verdict and what it rests on."""

    __tablename__ = f"{PREFIX}comparisons"
    __table_args__ = COMPACT

    run_id: Mapped[str] = mapped_column(ForeignKey(Run.run_id, ondelete="CASCADE"), primary_key=True)
    phenotype: Mapped[str] = mapped_column(primary_key=True)
    arm: Mapped[str] = mapped_column(primary_key=True)
    against: Mapped[str] = mapped_column(primary_key=True)
    attempted: Mapped[int]
    failed: Mapped[int]
    sd: Mapped[float | None]
    verdict: Mapped[str]
    claimed: Mapped[bool | None]
    reason: Mapped[str]
    margin_lower: Mapped[float | None]
    margin_upper: Mapped[float | None]
    margin_limits: Mapped[float | None]


class CenterComparison(Agreement, Base):
    """The same of one center."""

    __tablename__ = f"{PREFIX}center_comparisons"
    __table_args__ = COMPACT

    run_id: Mapped[str] = mapped_column(ForeignKey(Run.run_id, ondelete="CASCADE"), primary_key=True)
    phenotype: Mapped[str] = mapped_column(primary_key=True)
    arm: Mapped[str] = mapped_column(primary_key=True)
    against: Mapped[str] = mapped_column(primary_key=True)
    center: Mapped[str] = mapped_column(primary_key=True)


class FailureCount(Base):
    """How many scans, or arms of scans, failed at a stage for a class of reasons."""

    __tablename__ = f"{PREFIX}failures"
    __table_args__ = COMPACT

    run_id: Mapped[str] = mapped_column(ForeignKey(Run.run_id, ondelete="CASCADE"), primary_key=True)
    stage: Mapped[str] = mapped_column(primary_key=True)
    reason_class: Mapped[str] = mapped_column(primary_key=True)
    n: Mapped[int]


class Quality(Base):
    """Image quality or overlap of labels of an arm, over patients."""

    __tablename__ = f"{PREFIX}quality"
    __table_args__ = COMPACT

    run_id: Mapped[str] = mapped_column(ForeignKey(Run.run_id, ondelete="CASCADE"), primary_key=True)
    metric: Mapped[str] = mapped_column(primary_key=True)
    arm: Mapped[str] = mapped_column(primary_key=True)
    modality: Mapped[str] = mapped_column(primary_key=True)
    n: Mapped[int]
    mean: Mapped[float | None]
    sd: Mapped[float | None]
    low: Mapped[float | None]
    high: Mapped[float | None]


CHILDREN: dict[str, type[Base]] = {
    "comparisons": Comparison,
    "centers": CenterComparison,
    "failures": FailureCount,
    "quality": Quality,
}
