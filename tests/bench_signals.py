"""Strings per second and core: how fast consent strings are decoded, by CPU time, best of several. Not here: checks.

Each kind is 2,000 distinct strings, made by our encoder from a fixed seed; `asked` adds two look-ups of each. Goal of
TCF core strings: 50,000 per second and core."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence

import click

from orchestration.consent.signals import gpp, tcf
from orchestration.consent.signals.gpp_sections import LAYOUTS, SIX_BITS
from orchestration.consent.signals.gpp_us import UsSection
from orchestration.consent.signals.tcf_model import DISCLOSURE_DUE, Ids, Publisher, Restriction, TcString

GOAL = 50_000
DAY = 864_000  # deciseconds
DISTINCT = 2_000
NATIONAL = next(layout for layout in LAYOUTS if (layout.name, layout.version) == ("usnat", 2))


def core(chance: random.Random, vendors: int, share: float) -> TcString:
    """A string as a CMP writes it under v2.2: `share` of the vendors consented to, a third of that many by interest."""
    day = DISCLOSURE_DUE - DAY * chance.randrange(1, 400)
    return TcString(
        created=day,
        last_updated=day,
        cmp_id=chance.randrange(2, 400),
        vendor_list_version=chance.randrange(100, 177),
        policy_version=4,
        publisher_country="DE",
        special_features=Ids(12, chance.getrandbits(2) << 10),
        purposes_consent=Ids(24, chance.getrandbits(11) << 13),
        purposes_interest=Ids(24, chance.getrandbits(11) << 13),
        vendors_consent=some(chance, vendors, share),
        vendors_interest=some(chance, vendors, share / 3),
    )


def some(chance: random.Random, vendors: int, share: float) -> Ids:
    return Ids.of(number for number in range(1, vendors + 1) if chance.random() < share)


def newest(chance: random.Random) -> TcString:
    """A string of v2.3: disclosed vendors, publisher segment, restrictions of all vendors for three purposes."""
    day = DISCLOSURE_DUE + DAY * chance.randrange(200)
    string = core(chance, 900, 0.5)
    everyone = Ids.of(range(1, 901))
    return string._replace(
        created=day,
        last_updated=day,
        policy_version=5,
        restrictions=tuple(Restriction(purpose, 1, everyone) for purpose in (2, 7, 10)),
        vendors_disclosed=everyone,
        publisher=Publisher(Ids(24, chance.getrandbits(24)), Ids(24, 0), Ids(2, 1), Ids(2, 0)),
    )


def national(chance: random.Random) -> UsSection:
    fields = {
        name: tuple(chance.choice((1, 2)) for _ in range(count)) if name not in SIX_BITS else (NATIONAL.version,)
        for name, count in NATIONAL.fields
    }
    return UsSection(NATIONAL, fields, chance.choice((True, False)))


def per_second(decode: Callable[[Sequence[str]], object], texts: Sequence[str], repeats: int) -> float:
    best = float("inf")
    for _ in range(repeats):
        began = time.process_time()
        decode(texts)
        best = min(best, time.process_time() - began)
    return len(texts) / best


def one_by_one(texts: Sequence[str]) -> None:
    for text in texts:
        tcf.decode(text)


def asked(texts: Sequence[str]) -> None:
    for text in texts:
        answers = tcf.decode(text).answers
        answers.get("purpose.3")
        answers.get("vendor.755.purpose.3")


def of_gpp(texts: Sequence[str]) -> None:
    for text in texts:
        gpp.decode(text)


def kinds() -> dict[str, tuple[Callable[[Sequence[str]], object], list[str]]]:
    chance = random.Random(7)
    plain = [tcf.encode(core(chance, 30, 0.3)) for _ in range(DISTINCT)]
    usual = [tcf.encode(core(chance, 900, 0.5)) for _ in range(DISTINCT)]
    sparse = [tcf.encode(core(chance, 900, 0.01)) for _ in range(DISTINCT)]
    site = [chance.choice(usual[:200]) for _ in range(10 * DISTINCT)]
    return {
        "TCF core, 30 vendors": (one_by_one, plain),
        "TCF core, 900 vendors as bits": (one_by_one, usual),
        "TCF core, 9 of 900 vendors as ranges": (one_by_one, sparse),
        "TCF decoded and asked twice, 900 vendors": (asked, usual),
        "TCF core, a hundred times each, set-wise": (tcf.decode_many, site),
        "TCF v2.3, three segments, three restrictions": (
            one_by_one,
            [tcf.encode(newest(chance)) for _ in range(DISTINCT)],
        ),
        "GPP, US national": (of_gpp, [gpp.encode({7: national(chance)}) for _ in range(DISTINCT)]),
    }


@click.command()
@click.option("--repeats", default=5, show_default=True, help="The best of so many is told.")
def main(repeats: int) -> None:
    """Print strings per second and core for each kind of string."""
    print(f"{'kind':<46}{'characters':>12}{'strings/s':>12}")
    for name, (decode, texts) in kinds().items():
        rate = per_second(decode, texts, repeats)
        goal = f"  goal {GOAL:,}: {'met' if rate >= GOAL else 'missed'}" if name.startswith("TCF core") else ""
        print(f"{name:<46}{sum(map(len, texts)) // len(texts):>12}{rate:>12,.0f}{goal}")


if __name__ == "__main__":
    main()
