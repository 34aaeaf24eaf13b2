"""A segment as a text of 0 and 1, and numbers cut from its front. Not here: fields."""

from __future__ import annotations

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


class NotSoundError(Exception):
    pass


def bits_of(segment: str) -> str:
    if segment == "":
        raise NotSoundError
    bits = ""
    for character in segment:
        if character not in ALPHABET:
            raise NotSoundError
        bits = bits + format(ALPHABET.index(character), "06b")
    return bits


def cut(bits: str, size: int) -> tuple[int, str]:
    """The number that the first bits are, and the bits after them."""
    if len(bits) < size:
        raise NotSoundError
    number = 0
    for bit in bits[:size]:
        number = number * 2 + int(bit)
    return number, bits[size:]


def nothing_left(bits: str) -> None:
    """What follows the last field is zeros, fewer than a base64 quantum of 24 bits."""
    if len(bits) >= 24 or "1" in bits:
        raise NotSoundError
