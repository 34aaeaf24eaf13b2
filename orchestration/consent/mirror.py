"""Keeps what a build has read of the ledger, so that the next one reads only what came since. Not here: its meaning.

The pieces hold records with random references, as the ledger does; who is erased drops out when tokens are joined.
What does not fit together, byte for byte under a key of the home, is thrown away and read again."""

from __future__ import annotations

import contextlib
import hashlib
import shutil

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from orchestration.atomic import replace, write_bytes
from orchestration.consent.chain import GENESIS
from orchestration.consent.ledger import Ledger
from orchestration.consent.staging import RECORDS, resolve_subjects, split_by_type, subjects_of
from orchestration.errors import VerifyError
from orchestration.home import Home
from orchestration.identity.keys import Keys, SubjectRegistry
from orchestration.parquet import read_table
from orchestration.policy.schema import Policy

MAX_PIECES = 20
Head = tuple[int, str]  # sequence and hash of a ledger record
START: Head = (0, GENESIS)


class Piece(BaseModel):
    """One file: the records after `since` up to `until`, and the keyed hash of both and of its bytes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    since: Head
    until: Head
    check: str

    @property
    def name(self) -> str:
        return f"{self.since[0]}-{self.until[0]}-{self.check[:16]}.parquet"


PIECES = TypeAdapter(list[Piece])


class Mirror:
    """The pieces in `warehouse/ledger/` of one home. Hold the home's lock."""

    def __init__(self, home: Home, keys: Keys) -> None:
        self._folder, self._key = home.warehouse / "ledger", keys.derive("ledger-mirror")
        self._index = self._folder / "pieces.json"

    def read(self, ledger: Ledger, head: Head) -> pa.Table:
        """The records up to `head`, which the ledger must hold, with the columns of `staging.RECORDS`."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        pieces, tables = self._kept(ledger)
        known = pieces[-1].until if pieces else START
        if known[0] < head[0]:
            new = _records(ledger, known, head)
            tables.append(new)
            pieces.append(self._written(new, known, head))
            if len(pieces) > MAX_PIECES:
                tables = [pa.concat_tables(tables)]
                pieces = [self._written(tables[0], START, head)]
            self._note(pieces)
        records = pa.concat_tables([RECORDS.empty_table(), *tables])
        return records if known[0] <= head[0] else records.filter(pc.less_equal(records["seq"], head[0]))

    def staged(self, ledger: Ledger, registry: SubjectRegistry, policy: Policy, head: Head) -> dict[str, pa.Table]:
        """What `ledger.staged` gives up to `head`."""
        tables = split_by_type(self.read(ledger, head))
        return resolve_subjects(tables, subjects_of(tables, registry), policy)

    def _kept(self, ledger: Ledger) -> tuple[list[Piece], list[pa.Table]]:
        """The pieces and their records where each is sound, they join, and the ledger holds where they end."""
        pieces: list[Piece] = []
        with contextlib.suppress(OSError, ValidationError):
            pieces = PIECES.validate_json(self._index.read_bytes())
        tables = [self._opened(piece) for piece in pieces]
        starts = [START, *(piece.until for piece in pieces)]
        is_whole = all(piece.since == start for piece, start in zip(pieces, starts, strict=False))
        sound = [table for table in tables if table is not None]
        if pieces and len(sound) == len(pieces) and is_whole and ledger.holds(pieces[-1].until):
            return pieces, sound
        return [], []

    def _opened(self, piece: Piece) -> pa.Table | None:
        with contextlib.suppress(OSError, pa.ArrowException):
            data = (self._folder / piece.name).read_bytes()
            if self._check(piece.since, piece.until, data) == piece.check:
                table = read_table(pa.BufferReader(data))
                return table if table.schema.equals(RECORDS) else None  # another Assent reads other columns
        return None

    def _written(self, records: pa.Table, since: Head, until: Head) -> Piece:
        aside = self._folder / "tmp_piece.parquet"
        pq.write_table(records, aside, compression="zstd")
        aside.chmod(0o600)
        piece = Piece(since=since, until=until, check=self._check(since, until, aside.read_bytes()))
        replace(aside, self._folder / piece.name)
        return piece

    def _note(self, pieces: list[Piece]) -> None:
        """From here on these pieces count, and no other file of the folder."""
        write_bytes(self._index, PIECES.dump_json(pieces))
        kept = {self._index.name, *(piece.name for piece in pieces)}
        for path in self._folder.iterdir():
            if path.name not in kept:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _check(self, since: Head, until: Head, data: bytes) -> str:
        bounds = f"{since[0]} {since[1]} {until[0]} {until[1]} ".encode()
        keyed = hashlib.blake2b(bounds, key=self._key, digest_size=32)
        keyed.update(data)
        return keyed.hexdigest()


def _records(ledger: Ledger, known: Head, head: Head) -> pa.Table:
    records = ledger.records(known[0], head[0])
    if records.num_rows != head[0] - known[0]:
        raise VerifyError("the ledger lacks records", where="ledger", remedy="Run `assent verify`; restore the ledger")
    return records
