"""Bits of a base64url segment, read and written strictly. Not here: what any field means (tcf, gpp).

TCF and GPP write six bits per character, most significant bit first, without `=` (RFC 4648 section 5)."""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from binascii import a2b_base64

SEGMENT = re.compile(r"[A-Za-z0-9_-]+")
# Encoders fill the last field up to whole characters (6 bits), bytes (8) or base64 quanta (24 bits), all with zeros:
# 23 bits is the most that such filling leaves. More is content that no field accounts for.
FILL = 23


class FormatError(Exception):
    """What does not add up, in words that quote nothing of the payload."""


class Reader:
    """A cursor over one segment. Raises FormatError where the segment is too short, never reads past its end."""

    __slots__ = ("at", "data", "length")

    def __init__(self, segment: str) -> None:
        if SEGMENT.fullmatch(segment) is None:
            raise FormatError("a segment is empty or not base64url")
        self.data = a2b_base64((segment + "A" * (-len(segment) % 4)).replace("-", "+").replace("_", "/"))
        self.length = 6 * len(segment)
        self.at = 0

    def take(self, bits: int) -> int:
        start = self.at
        end = start + bits
        if end > self.length:
            raise FormatError("a segment ends before its fields do")
        self.at = end
        chunk = int.from_bytes(self.data[start >> 3 : (end + 7) >> 3], "big")
        return (chunk >> (-end & 7)) & ((1 << bits) - 1)

    def ranges(self) -> list[tuple[int, int]]:
        """Int(12) entries, each one number (a bit 0, Int(16)) or an inclusive range (a bit 1, two Int(16)) of them."""
        count = self.take(12)
        left = min(33 * count, self.length - self.at)
        window = self.take(left)
        found = []
        try:
            for _ in range(count):
                left -= 17
                start = end = window >> left & 0x1FFFF
                if start > 0xFFFF:
                    left -= 16
                    start, end = start & 0xFFFF, window >> left & 0xFFFF
                if not 0 < start <= end:
                    raise FormatError("a range that ends before it starts")
                found.append((start, end))
        except ValueError:  # a shift by less than nothing
            raise FormatError("a segment ends before its fields do") from None
        self.at -= left
        return found

    def finish(self) -> None:
        """Nothing but zero filling may follow the last field."""
        left = self.length - self.at
        if left > FILL:
            raise FormatError("a segment goes on after its fields")
        if left and self.take(left):
            raise FormatError("the filling of a segment is not zero")


class Writer:
    """The same in the other direction: whole bytes, as the reference implementations write them, filled with zeros."""

    __slots__ = ("length", "value")

    def __init__(self) -> None:
        self.value = 0
        self.length = 0

    def put(self, value: int, bits: int) -> None:
        if not 0 <= value < 1 << bits:
            raise ValueError(f"a value does not fit its {bits} bits")
        self.value = (self.value << bits) | value
        self.length += bits

    def segment(self) -> str:
        size = -(-self.length // 8)
        data = (self.value << (size * 8 - self.length)).to_bytes(size, "big")
        return urlsafe_b64encode(data).decode("ascii").rstrip("=")
