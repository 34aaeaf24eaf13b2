"""US national sections of GPP strings for tests."""

from __future__ import annotations

from orchestration.consent.signals.gpp_sections import BY_SECTION
from orchestration.consent.signals.gpp_us import UsSection

NATIONAL = 7


def national(*, gpc: bool | None = None, **fields: int) -> UsSection:
    """A section in which every notice was given and nobody opted out, but for these fields."""
    layout = BY_SECTION[NATIONAL][0]
    usual = {"Version": 1, "MspaCoveredTransaction": 2, "MspaOptOutOptionMode": 0, "MspaServiceProviderMode": 0}
    usual |= {name: 1 for name, _ in layout.fields if name.endswith("Notice")}
    usual |= {name: 2 for name, _ in layout.fields if name.endswith("OptOut")}
    said = usual | fields
    return UsSection(layout, {name: (said.get(name, 0),) * count for name, count in layout.fields}, gpc)
