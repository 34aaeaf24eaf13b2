"""What people read for each code, in both languages: the policy's labels, the vocabulary's, the report's own."""

from __future__ import annotations

from dataclasses import dataclass

from orchestration.policy.schema import Label, Policy
from orchestration.policy.vocabulary import vocabulary

REPORTS_OWN = {
    "not_selected": ("不符合该人群包条件", "Not chosen by the segment's rule"),
    "not_seen": ("期间内没有触点", "No touchpoint in the period"),
    "no_longer_known": ("已不再识别到", "No longer known"),
    "newly_known": ("此前未识别到", "Not known before"),
    "identity_change": ("标识关系变化", "Identifiers were joined or parted"),
    "permit": ("允许", "Permitted"),
    "all": ("全部", "All"),
    "known": ("已识别到个人", "Known as a person"),
    "permitted": ("该目的允许使用", "Permitted for the purpose"),
    "in_segment": ("进入人群包", "In the segment"),
    "own": ("自有", "Own"),
    "processor": ("受托处理者", "Processor"),
    "controller": ("个人信息处理者", "Controller"),
    "ingestion": ("数据接入", "Ingestion"),
    "dbt": ("模型测试（dbt）", "Model tests (dbt)"),
    "identity": ("身份", "Identity"),
    "consent": ("同意台账", "Consent ledger"),
    "warehouse": ("数仓", "Warehouse"),
    "marts": ("人群包", "Segments"),
    "static": ("路径证明（SQL）", "Proof of every path (SQL)"),
    "twins": ("无干扰证明（对照数据）", "Proof by worlds that differ"),
    "exports": ("导出文件", "Export files"),
    "written": ("已导出", "Exported"),
    "withheld": ("未导出", "Withheld"),
}


@dataclass(frozen=True)
class Text:
    """One text in both languages."""

    zh: str
    en: str


class Labels:
    """Code → text. A code without a label is shown as it is."""

    def __init__(self, policy: Policy) -> None:
        words = vocabulary()
        lists = (words.reasons, words.quarantine_reasons, words.refusal_reasons, words.channels, words.categories)
        self._shared = {code: Text(*both) for code, both in REPORTS_OWN.items()}
        self._shared |= {word.name: _text(word.label) for one in lists for word in one}
        self._quarantine = {word.name: _text(word.label) for word in words.quarantine_reasons}
        self._own = {
            "source": {s.name: _text(s.label) for s in policy.sources.sources},
            "purpose": {p.name: _text(p.label) for p in policy.purposes.purposes},
            "segment": {s.name: _text(s.label) for s in policy.segments.segments},
            "destination": {d.name: _text(d.label) for d in policy.destinations.destinations},
            "controller": {c.name: _text(c.label) for c in policy.organisation.controllers},
            "quarantine": self._quarantine,
        }

    def __call__(self, code: str, kind: str = "") -> Text:
        """The text of `code`; `kind` picks among equal codes (a segment may be named as its purpose is)."""
        return self._own.get(kind, {}).get(code) or self._shared.get(code) or Text(code, code)


def _text(label: Label) -> Text:
    return Text(label.zh, label.en)
