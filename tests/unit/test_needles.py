"""The search for many byte strings at once finds what a plain look finds, whatever bytes they are."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestration.retention import needles
from orchestration.retention.needles import Needles

# few different bytes, so that one is often in another: with NUL, ends of lines, what means something in an expression
BYTES = st.text(alphabet="\0\n\r\\.*x0aA$^[]\xff", min_size=4, max_size=9).map(lambda text: text.encode("latin-1"))


@given(st.dictionaries(st.text(max_size=2), st.sets(BYTES, max_size=4), max_size=6), st.lists(BYTES | st.binary()))
@example({"": {b"\\x00"}, "b": {b"....", b"\0\0\0\0"}}, [b"\0\0\0\0\0", b"\\x00"])
def test_found_is_what_is_in_it(forms: dict[str, set[bytes]], parts: list[bytes]) -> None:
    data = b"".join(parts)
    expected = {name for name, some in forms.items() if any(form in data for form in some)}
    assert Needles(forms).found(data) == expected


@given(st.binary(max_size=40), st.integers(1, 12))
def test_found_in_pieces_is_what_is_found_at_once(before: bytes, piece: int) -> None:
    """One that lies over the edge of two pieces too."""
    search = Needles({"a": {b"needle"}, "b": {b"other"}})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(needles, "MOST", piece)
        assert search.found(before + b"needle" + before) >= {"a"}
        assert "b" not in search.found(before.replace(b"other", b""))


def test_of_a_long_one_its_beginning_is_looked_for() -> None:
    long = bytes(range(256)) * 20
    assert Needles({"long": {long}}).found(b"x" + long) == {"long"}
    assert Needles({"long": {long}}).found(long[:1000]) == set()


def test_nothing_to_look_for_is_found_nowhere() -> None:
    assert Needles({}).found(b"anything") == set()
