"""How does Alembic reach the history? By the connection that ``flows.history_schema`` hands it, inside its transaction."""

from alembic import context

from flows.history_models import PREFIX, Base
from flows.history_schema import VERSION_TABLE


def ours(name: str | None, kind: str, parents: object) -> bool:
    """Leave alone what else lies in the database."""
    del parents
    return kind != "table" or (str(name).startswith(PREFIX) and name != VERSION_TABLE)


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
    include_name=ours,
    render_as_batch=True,  # SQLite changes a table by copying it
)
with context.begin_transaction():
    context.run_migrations()
