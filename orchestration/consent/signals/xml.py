"""Reads one small XML document into plain dicts, lists and text, as JSON would give it. Not here: what it says.

Whatever could make two readers see two documents is refused: DTDs and entities (through `defusedxml`), comments and
processing instructions inside text, attributes, namespaces, text beside elements, other encodings than UTF-8."""

from __future__ import annotations

from typing import Any

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser, ParseError

MAX_XML = 262_144  # bytes or characters; a platform's event has some 2,000. Looked at before anything is parsed
MAX_DEPTH = 8  # WeChat's deepest event has four levels
MAX_ELEMENTS = 4_096  # a pure Python callback for each: 4,096 take some 10 ms


class UnreadableXml(ValueError):  # noqa: N818 - it is the document that is wrong
    """Says in a few words why the document is not read; quotes nothing of it."""


class _Element:
    def __init__(self) -> None:
        self.text: list[str] = []
        self.children: dict[str, Any] = {}

    def plain(self) -> Any:
        text = "".join(self.text).strip()
        if self.children and text:
            raise UnreadableXml("text beside elements")
        return self.children or text


class _PlainBuilder:
    """What the parser calls: builds the plain value, and stops at the first thing that is not plain."""

    def __init__(self) -> None:
        self.root = _Element()
        self._open = [self.root]
        self._elements = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self._elements += 1
        if self._elements > MAX_ELEMENTS:
            raise UnreadableXml("too many elements")
        if len(self._open) > MAX_DEPTH:
            raise UnreadableXml("too deep")
        if attributes or tag.startswith("{"):
            raise UnreadableXml("attributes or namespaces")
        self._open.append(_Element())

    def data(self, text: str) -> None:
        self._open[-1].text.append(text)

    def end(self, tag: str) -> None:
        value = self._open.pop().plain()
        siblings = self._open[-1].children
        if tag not in siblings:
            siblings[tag] = value
        elif isinstance(siblings[tag], list):
            siblings[tag].append(value)
        else:
            siblings[tag] = [siblings[tag], value]

    def comment(self, _: str) -> None:
        raise UnreadableXml("a comment")

    def pi(self, *_: str | None) -> None:
        raise UnreadableXml("a processing instruction")

    def close(self) -> dict[str, Any]:
        return self.root.children


def parse(data: bytes | str) -> dict[str, Any]:
    """`{root: content}`: elements are dicts, repeated ones lists, text is stripped and an empty element is `""`.

    Raises UnreadableXml, whatever the data."""
    if len(data) > MAX_XML:
        raise UnreadableXml("too large")
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        parser = DefusedXMLParser(target=_PlainBuilder(), forbid_dtd=True)
        parser.parser.XmlDeclHandler = _declared
        parser.feed(text.strip().removeprefix("\ufeff"))
        found: dict[str, Any] = parser.close()
    except UnreadableXml:
        raise
    except DefusedXmlException:
        raise UnreadableXml("a DTD or an entity") from None
    except (ParseError, UnicodeError, ValueError, LookupError):
        raise UnreadableXml("not well-formed UTF-8 XML") from None
    return found


def _declared(_: str, encoding: str | None, __: int) -> None:
    if encoding is not None and encoding.lower() not in ("utf-8", "utf8"):
        raise UnreadableXml("another encoding than UTF-8")
