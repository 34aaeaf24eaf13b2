"""Range(Fibonacci): the ascending numbers that GPP headers list. Not here: what they number.

IAB Tech Lab, "Global Privacy Platform String", Fibonacci Encoding and Section Encoding."""

from __future__ import annotations

from itertools import pairwise

from orchestration.consent.signals.bits import FormatError, Reader, Writer

LONGEST = 16  # bits of a code word: numbers to 1,596, where sections are numbered to 27
_NUMBERS = [1, 2]
while len(_NUMBERS) < LONGEST:
    _NUMBERS.append(_NUMBERS[-1] + _NUMBERS[-2])


def take_ids(reader: Reader, most: int) -> list[int]:
    """Int(12) items, each a bit (1 a group), the offset from the last number and, of a group, how many more follow."""
    ids: list[int] = []
    for _ in range(reader.take(12)):
        group = reader.take(1)
        first = (ids[-1] if ids else 0) + _take_number(reader)
        last = first + _take_number(reader) if group else first
        if len(ids) + last - first + 1 > most:
            raise FormatError("a header lists more than follows")
        ids.extend(range(first, last + 1))
    return ids


def _take_number(reader: Reader) -> int:
    value, previous = 0, 0
    for number in _NUMBERS:
        bit = reader.take(1)
        if bit and previous:
            return value
        value += number * bit
        previous = bit
    raise FormatError("a number of a header is too large")


def put_ids(writer: Writer, ids: list[int]) -> None:
    if any(later <= earlier for earlier, later in pairwise([0, *ids])):
        raise ValueError("the numbers of a header ascend")
    starts = [number for before, number in pairwise([0, *ids]) if number != before + 1 or before == 0]
    writer.put(len(starts), 12)
    last = 0
    for start in starts:
        end = start
        while end + 1 in ids:
            end += 1
        writer.put(int(end != start), 1)
        _put_number(writer, start - last)
        if end != start:
            _put_number(writer, end - start)
        last = end


def _put_number(writer: Writer, value: int) -> None:
    places = [place for place, number in enumerate(_NUMBERS) if number <= value]
    code = ["0"] * (places[-1] + 1)
    for place in reversed(places):
        if _NUMBERS[place] <= value:
            value -= _NUMBERS[place]
            code[place] = "1"
    writer.put(int("".join(code) + "1", 2), len(code) + 1)
