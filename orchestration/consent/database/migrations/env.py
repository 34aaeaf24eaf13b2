"""What alembic runs for every upgrade: on the connection that it is given, within its transaction."""

from __future__ import annotations

from alembic import context

from orchestration.consent.models import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
context.run_migrations()
