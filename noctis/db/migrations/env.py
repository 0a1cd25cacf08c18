"""Alembic's entry: runs on the connection that `noctis.db.migrate` hands over."""

from alembic import context

from noctis.db.models import Base

connection = context.config.attributes["connection"]
context.configure(
    connection=connection, target_metadata=Base.metadata, render_as_batch=True, compare_server_default=True
)
with context.begin_transaction():
    context.run_migrations()
