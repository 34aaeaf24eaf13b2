"""The tables of the ledger, what makes them append-only, and on PostgreSQL the roles that may use them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from orchestration.consent.database import postgres
from orchestration.consent.database.store import backend
from orchestration.errors import HomeError

revision, down_revision = "0001", None

SEQUENCE = sa.BigInteger().with_variant(sa.Integer, "sqlite")
TEXTS_TO_EVENT = (
    *(("subject_ref", 32), ("controller", 48), ("purpose", 48), ("category", 48), ("recipient", 48)),
    *(("channel", 16), ("decision", 16), ("basis", 16), ("method", 32)),
)
TEXTS_OF_NOTICE = (
    *(("notice_id", 48), ("notice_version", 32), ("notice_language", 8), ("locale", 24)),
    *(("jurisdiction", 8), ("fact", 48), ("state", 16), ("object_ref", 32)),
)


def upgrade() -> None:
    op.create_table(
        "events",
        sa.Column("seq", SEQUENCE, primary_key=True, autoincrement=False),
        sa.Column("event_key", sa.String(32), nullable=False, unique=True),
        sa.Column("type", sa.String(16), nullable=False),
        *(sa.Column(name, sa.String(length)) for name, length in TEXTS_TO_EVENT),
        sa.Column("is_separate", sa.SmallInteger),
        sa.Column("is_guardian", sa.SmallInteger),
        *(sa.Column(name, sa.String(length)) for name, length in TEXTS_OF_NOTICE),
        sa.Column("until_at", sa.BigInteger),
        sa.Column("effective_at", sa.BigInteger, nullable=False),
        sa.Column("recorded_at", sa.BigInteger, nullable=False),
        sa.Column("feed", sa.String(48), nullable=False),
        sa.Column("batch", sa.String(32)),
        sa.Column("detail_commitment", sa.String(64), nullable=False),
        sa.Column("prev_hash", sa.String(64), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
    )
    op.create_index("events_by_subject", "events", ["subject_ref"])
    op.create_table(
        "details",
        sa.Column("seq", SEQUENCE, sa.ForeignKey("events.seq"), primary_key=True, autoincrement=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
    )
    connection = op.get_bind()
    backend(connection).install_guards(connection)
    if connection.dialect.name == "postgresql":
        postgres.install_roles(connection)


def downgrade() -> None:
    connection = op.get_bind()
    if connection.exec_driver_sql("SELECT 1 FROM events LIMIT 1").first() is not None:
        raise HomeError(
            "the ledger holds records, and this would delete them", where="ledger", remedy="Keep it, or move it aside"
        )
    op.drop_table("details")
    op.drop_table("events")
    if connection.dialect.name == "postgresql":  # the roles stay: other databases of the server may use them
        for function in postgres.FUNCTIONS:
            connection.exec_driver_sql(f"DROP FUNCTION {function}()")
