"""Alembic runs this for every command; the connection and its transaction come from `schema.py`."""

from alembic import context

from infra.sql.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
