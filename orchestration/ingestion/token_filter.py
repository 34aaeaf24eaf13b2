"""Which tokens a file of the lake may hold, told by a few bits of each in its footer: a Bloom filter.

Whoever looks for somebody's tokens then opens the files that may hold one, and no others. A token is keyed and evenly
spread, so its own digits are the hashes. A file without a filter may hold anything. Not here: looking into files."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

NAME = b"assent.tokens"
TOKEN_DIGITS = 32
WORDS = 4  # of 32 bits; the first is left out: a part holds subjects of one range, whose first digits are alike
HASHES = WORDS - 1
# 10 bits a token and 3 hashes say "maybe" of 1.7% of what is not there, and are about 1% of the size of a lake in which
# people leave five touchpoints a visit. Without it, looking for one person takes 7% of what copying the lake does.
BITS = 10
MOST_TOKENS = 200_000  # beyond that a footer would grow by more than a third of a megabyte
Hashes = npt.NDArray[np.uint64]


def is_of_tokens(column: str) -> bool:
    """Whether a column of a lake file, of touchpoints or links, may hold tokens."""
    return column in ("subject_token", "token_a", "token_b") or column.endswith("_token")


def hashes_of(tokens: pa.Array) -> Hashes | None:
    """Of each token (no nulls) HASHES numbers of 32 bits; None where one is no token by its form."""
    if not len(tokens):
        return np.zeros((0, HASHES), np.uint64)
    _, places, data = tokens.cast(pa.string()).buffers()
    offsets = np.frombuffer(places, np.int32)[tokens.offset : tokens.offset + len(tokens) + 1]
    if (np.diff(offsets) != TOKEN_DIGITS).any():
        return None
    text = data.slice(offsets[0], offsets[-1] - offsets[0])
    try:
        words = np.frombuffer(binascii.unhexlify(text), ">u4").reshape(len(tokens), WORDS)
    except binascii.Error:
        return None
    return words[:, 1:].astype(np.uint64)


def filter_of(table: pa.Table) -> bytes | None:
    """The filter of a file with these rows, as text for its footer; None where it would be too large, or what lies in
    its columns of tokens is none."""
    columns = [table[name] for name in table.column_names if is_of_tokens(name)]
    texts = [chunk for column in columns if pa.types.is_string(column.type) for chunk in column.chunks]
    if not texts or len(texts) < sum(column.num_chunks for column in columns):
        return None
    tokens = pc.unique(pa.chunked_array(texts)).drop_null()
    hashes = hashes_of(tokens) if len(tokens) <= MOST_TOKENS else None
    if hashes is None:
        return None
    bits = np.zeros(max(len(tokens) * BITS // 8, 8) * 8, np.bool_)
    bits[_places(hashes, len(bits))] = True
    return base64.b64encode(np.packbits(bits).tobytes())


def may_hold(path: Path, hashes: Hashes | None) -> bool:
    """Whether the file may hold one of the tokens with these hashes (None: tokens of another form)."""
    written = (pq.read_metadata(path).metadata or {}).get(NAME)
    if written is None or hashes is None:
        return True
    try:
        packed = np.frombuffer(base64.b64decode(written, validate=True), np.uint8)
    except binascii.Error:
        return True
    if not len(packed):
        return True
    places = _places(hashes, len(packed) * 8)
    found = packed[places >> 3] >> (7 - (places & 7)).astype(np.uint8) & 1
    return bool(found.all(axis=1).any())


def _places(hashes: Hashes, bits: int) -> npt.NDArray[np.int64]:
    return (hashes * np.uint64(bits) >> np.uint64(32)).astype(np.int64)
