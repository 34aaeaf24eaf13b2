"""The XML reader: plain values from plain documents; everything that two readers could read differently is refused."""

from __future__ import annotations

import contextlib
import time
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orchestration.consent.signals import xml
from orchestration.consent.signals.xml import MAX_DEPTH, MAX_ELEMENTS, MAX_XML, UnreadableXml, parse
from tests.unit.signals.documents import CHARACTERS, TEXTS

BOMB = '<!DOCTYPE x [<!ENTITY a "ha">' + "".join(
    f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(9)
)
REFUSED = {
    "entity expansion": f"{BOMB}]><x>&j;</x>",
    "an external entity": '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>',
    "a DTD without entities": "<!DOCTYPE x><x>1</x>",
    "an unknown entity": "<x>&e;</x>",
    "several roots": "<x>1</x><x>2</x>",
    "text after the root": "<x>1</x>2",
    "no root": "  ",
    "truncated": "<x><y>1</y>",
    "a stray space in a tag": "<x>< y>1</y></x>",
    "a comment that splits a word": "<x>sub<!-- -->scribe</x>",
    "a processing instruction": "<x><?php 1 ?></x>",
    "an attribute": '<x y="1"/>',
    "a namespace": '<x xmlns="urn:x"/>',
    "text beside elements": "<x>1<y>2</y></x>",
    "a NUL": "<x>\x00</x>",
    "a lone surrogate": "<x>\ud800</x>",
    "another encoding": '<?xml version="1.0" encoding="utf-16"?><x>1</x>',
    "a Chinese encoding": b'<?xml version="1.0" encoding="GB18030"?><x>1</x>',
    "UTF-16 bytes": "<x>1</x>".encode("utf-16"),
    "bytes that are no UTF-8": "<x>\u5f20</x>".encode("gb18030"),
    "too deep": "<x>" * (MAX_DEPTH + 1) + "</x>" * (MAX_DEPTH + 1),
    "too many elements": "<x>" + "<y/>" * MAX_ELEMENTS + "</x>",
    "too large": f"<x>{'1' * MAX_XML}</x>",
}


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ("<x/>", {"x": ""}),
        ("<x> 1 </x>", {"x": "1"}),
        ("<x><![CDATA[ </x> & <y> ]]></x>", {"x": "</x> & <y>"}),
        ("<x>&lt;&#20320;</x>", {"x": "<\u4f60"}),
        ("\n <x>\n <a>1</a>\n <b> </b>\n</x>\n", {"x": {"a": "1", "b": ""}}),
        ("<x><a>1</a><b>2</b><a>3</a><a/></x>", {"x": {"a": ["1", "3", ""], "b": "2"}}),
        ('<?xml version="1.0" encoding="UTF-8"?>\n<x>1</x>', {"x": "1"}),
        ("\ufeff<x>\u662f</x>".encode(), {"x": "\u662f"}),
        ("<x>" * MAX_DEPTH + "</x>" * MAX_DEPTH, None),
    ],
)
def test_xml_becomes_plain_values(document: str | bytes, expected: Any) -> None:
    assert expected is None or parse(document) == expected
    assert parse(document) == parse(document.decode() if isinstance(document, bytes) else document.encode())


@pytest.mark.parametrize("document", REFUSED.values(), ids=REFUSED)
def test_what_is_not_plain_is_refused_and_not_quoted(document: str | bytes) -> None:
    with pytest.raises(UnreadableXml) as refusal:
        parse(document)
    assert len(str(refusal.value)) < 40
    assert refusal.value.__suppress_context__ or refusal.value.__context__ is None


@pytest.mark.parametrize("body", [b"<" * 100_000_000, REFUSED["entity expansion"], REFUSED["too many elements"]])
def test_a_bomb_is_refused_at_once(body: str | bytes) -> None:
    before = time.process_time()
    with pytest.raises(UnreadableXml):
        parse(body)
    assert time.process_time() - before < 0.5


def test_size_is_looked_at_before_anything_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xml, "DefusedXMLParser", None)
    with pytest.raises(UnreadableXml, match="too large"):
        parse(b"<x>" + b"1" * MAX_XML)


NAMES = st.sampled_from(["a", "b", "List", "OpenID"])
TREES = st.recursive(
    st.text("".join(c for c in CHARACTERS if c.isprintable() or c in "\t\n ").replace("\ud800", "")),
    lambda inner: st.lists(st.tuples(NAMES, inner), min_size=1, max_size=4),
    max_leaves=8,
)


def written(name: str, tree: Any) -> ET.Element:
    element = ET.Element(name)
    if isinstance(tree, str):
        element.text = tree
    else:
        element.extend(written(inner, value) for inner, value in tree)
    return element


def plain(tree: Any) -> Any:
    """The second reader: of the tree that was written."""
    if isinstance(tree, str):
        return tree.strip()
    names = [name for name, _ in tree]
    return {
        name: [plain(v) for n, v in tree if n == name] if names.count(name) > 1 else plain(dict(reversed(tree))[name])
        for name in names
    }


@settings(deadline=None)
@given(TREES)
def test_what_was_written_is_read(tree: Any) -> None:
    assert parse(ET.tostring(written("xml", tree))) == {"xml": plain(tree)}


@settings(deadline=None)
@given(TEXTS | st.binary() | st.text("<>/x &;![CDATA]-?"))
@example("<x>&#0;</x>")
@example("<x>&#xD800;</x>")
def test_any_text_is_read_or_refused(document: str | bytes) -> None:
    with contextlib.suppress(UnreadableXml):
        assert len(parse(document)) == 1
