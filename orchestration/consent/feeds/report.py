"""What became of the deliveries of a consent feed, in numbers that add up."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ImportReport:
    """What became of the deliveries. `read = accepted + duplicates + quarantined + without_effect +
    suppressed`."""

    read: int = 0
    accepted: int = 0
    duplicates: int = 0
    quarantined: int = 0
    quarantined_by_reason: dict[str, int] = field(default_factory=dict)
    without_effect: int = 0  # payloads that say nothing of any scope of ours
    suppressed: int = 0  # about somebody who was erased (F5)
    presumed_denials: int = 0  # records that quarantined rows caused, beside what was read
    refused: dict[str, str] = field(default_factory=dict)  # file → reason
    redelivered: int = 0  # files that were imported before
    waiting: int = 0  # files without their completion marker
    is_incomplete: bool = False  # somebody's restriction may be missing: what depends on the feed stops

    def __add__(self, other: ImportReport) -> ImportReport:
        return ImportReport(
            self.read + other.read,
            self.accepted + other.accepted,
            self.duplicates + other.duplicates,
            self.quarantined + other.quarantined,
            dict(sorted((Counter(self.quarantined_by_reason) + Counter(other.quarantined_by_reason)).items())),
            self.without_effect + other.without_effect,
            self.suppressed + other.suppressed,
            self.presumed_denials + other.presumed_denials,
            self.refused | other.refused,
            self.redelivered + other.redelivered,
            self.waiting + other.waiting,
            self.is_incomplete or other.is_incomplete,
        )
