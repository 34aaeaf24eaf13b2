"""An index of the other ends of links: one person's records are found from either end, and read every record before."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0003", "0002"

IS_LINK = sa.text("object_ref IS NOT NULL")


def upgrade() -> None:
    op.create_index("events_by_object", "events", ["object_ref"], sqlite_where=IS_LINK, postgresql_where=IS_LINK)


def downgrade() -> None:
    op.drop_index("events_by_object", "events")
