"""mParticle: the consent state of an event batch. Not here: mParticle's own forwarding rules.

Read from: mParticle, «Event Batch Schema» (`ConsentState`, `GDPRConsentPurpose`, `CCPAConsentPurpose`) and its SDK
reference: for CCPA «true represents a data sale opt-out, false declining one».

Codes: `gdpr.<purpose>`, granted by `consented: true` alone; `ccpa.<purpose>` (`ccpa.data_sale_opt_out`), refused, or
silent where the opt-out was declined, and never granted. Each purpose has its own time: one Signal per moment. A state
is whole: a last Signal, of the batch's own time, refuses the GDPR purposes that it does not hold (`gdpr.*`), and a
batch without a state refuses every code (`*`).
Values, of the batch: mpid, mp_deviceid, batch_id, source_request_id, timestamp_unixtime_ms,
user_identities.customer_id, .email, .mobile_number, .other; of the purpose: purpose.timestamp_unixtime_ms, .document,
.location, .hardware_id, .regulation; effectiveDate: the purpose's time, or in a last Signal the batch's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from orchestration.consent.signals.document import MAX_ENTRIES, Said, at, broken, by_moment, code, read_each, values_at
from orchestration.consent.signals.signal import Answer, Signal

PARTIAL = True
TEXTS = (
    "mpid",
    "mp_deviceid",
    "batch_id",
    "source_request_id",
    "user_identities.customer_id",
    "user_identities.email",
    "user_identities.mobile_number",
    "user_identities.other",
)
PURPOSE_TEXTS = ("document", "location", "hardware_id", "regulation")
AT = "timestamp_unixtime_ms"


def read(document: Any) -> list[Signal]:
    """One Signal of each moment at which purposes of the batch were answered."""
    return read_each(document, _batch)


def _batch(batch: dict[str, Any]) -> list[Signal]:
    values = values_at(batch, TEXTS, {AT: "milliseconds"})
    state = batch.get("consent_state")
    dated = values | {"effectiveDate": values[AT]} if AT in values else values
    if state is None:
        return [Signal({"*": "refused"}, dated)]
    regimes = [at(state, "gdpr"), at(state, "ccpa")]
    if not isinstance(state, dict) or not all(regime is None or isinstance(regime, dict) for regime in regimes):
        return [broken("consent_state is no object of objects", values)]
    if sum(len(regime or {}) for regime in regimes) > MAX_ENTRIES:
        return [broken(f"more than {MAX_ENTRIES} purposes", values)]
    try:
        signals = by_moment(_purposes(state, values))
    except ValueError:
        return [broken("a refused purpose whose name cannot be read", values)]
    told = {name for signal in signals for name in signal.answers if name.startswith("gdpr.")}
    return [*signals, Signal({"gdpr.*": "refused", **dict.fromkeys(sorted(told), "silent")}, dated)]


def _purposes(state: dict[str, Any], values: dict[str, str]) -> Iterator[Said]:
    for regime in ("gdpr", "ccpa"):
        for purpose, given in (state.get(regime) or {}).items():
            answer, name = _answer(regime, at(given, "consented")), code(purpose)
            own = {f"purpose.{path}": value for path, value in _own(given).items()}
            if f"purpose.{AT}" in own:
                own["effectiveDate"] = own[f"purpose.{AT}"]
            if name is not None:
                yield {f"{regime}.{name}": answer}, {**values, **own}
            elif answer == "refused":
                raise ValueError


def _own(purpose: Any) -> dict[str, str]:
    return values_at(purpose, PURPOSE_TEXTS, {AT: "milliseconds"})


def _answer(regime: str, consented: Any) -> Answer:
    if regime == "gdpr":
        return "granted" if consented is True else "refused"
    return "silent" if consented is False else "refused"
