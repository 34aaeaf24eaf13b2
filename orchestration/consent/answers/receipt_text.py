"""Receipts as text that people read, in Chinese or English. Not here: the form for programs (`receipt_jsonld.py`)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

from orchestration.consent.answers.receipts import HeldFile, Receipt
from orchestration.consent.answers.wording import Language, in_language, wording
from orchestration.consent.models import moment
from orchestration.policy.schema import Policy
from orchestration.policy.vocabulary import vocabulary


class Reader:
    """Tells receipts in one language, with the policy's labels and in its zone."""

    def __init__(self, policy: Policy, language: Language) -> None:
        self._language, self._zone = language, ZoneInfo(policy.organisation.zone)
        self._controllers = {controller.name: controller for controller in policy.organisation.controllers}
        self._purposes = {purpose.name: purpose.label for purpose in policy.purposes.purposes}
        self._destinations = {destination.name: destination for destination in policy.destinations.destinations}

    def lines(self, receipt: Receipt) -> Iterator[str]:
        """The receipt line by line; nothing in it names the person."""
        row = receipt.record
        yield self._say(receipt.kind)
        yield self._line("receipt_id", receipt.receipt_id)
        controller = self._controllers.get(row["controller"])
        if controller is not None:
            yield self._line("controller", in_language(controller.label, self._language))
            if controller.contact is not None:
                yield self._line("contact", controller.contact)
        yield self._line("purpose", self._purpose(row["purpose"]) if row["purpose"] else self._say("all_purposes"))
        if row["channel"]:
            yield self._line("channel", in_language(vocabulary().label("channels", row["channel"]), self._language))
        yield self._line("decided", self._time(moment(row["effective_at"])))
        yield self._line("recorded", self._time(moment(row["recorded_at"])))
        if row["notice_id"]:
            parts = (row["notice_id"], row["notice_version"], row["notice_language"])
            yield self._line("notice", " ".join(part for part in parts if part))
        yield from self._stops(receipt)

    def _stops(self, receipt: Receipt) -> Iterator[str]:
        if receipt.stops is None:
            return
        yield self._say("stops", at=self._time(receipt.stops.stops_at))
        for file in receipt.stops.files:
            yield self._file(file)
        if not receipt.stops.files:
            yield self._say("no_files")
        if receipt.stops.goes_on:
            separator = "、" if self._language == "zh-CN" else ", "
            yield self._say("contract", purposes=separator.join(map(self._purpose, receipt.stops.goes_on)))
        yield self._say("history")
        yield self._say("deletion")

    def _file(self, file: HeldFile) -> str:
        destination = self._destinations[file.destination]
        name = in_language(destination.label, self._language)
        if file.role == "controller":
            return self._say("given", destination=name, entity=destination.legal_entity)
        return self._say("files", destination=name, by=self._time(file.last_use_by))

    def _purpose(self, name: str) -> str:
        label = self._purposes.get(name)
        return name if label is None else in_language(label, self._language)

    def _line(self, text: str, value: str) -> str:
        return f"{self._say(text)}：{value}" if self._language == "zh-CN" else f"{self._say(text)}: {value}"

    def _say(self, text: str, **values: str) -> str:
        return wording().say(text, self._language, **values)

    def _time(self, at: datetime) -> str:
        return at.astimezone(self._zone).isoformat(sep=" ", timespec="seconds")
