"""An index of the reports on deliveries: each import and each export asks for them, and read every record before."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0002", "0001"

OF_FEEDS = sa.text("type = 'feed'")


def upgrade() -> None:
    op.create_index(
        "events_of_feeds", "events", ["feed", "batch", "seq"], sqlite_where=OF_FEEDS, postgresql_where=OF_FEEDS
    )


def downgrade() -> None:
    op.drop_index("events_of_feeds", "events")
