"""The command `assent diff`: two generations, who joined and who left and why. Reads only."""

from __future__ import annotations

import csv
import io
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from orchestration.atomic import write_bytes
from orchestration.consent.options import AS_JSON, Opened, opened, print_json
from orchestration.errors import AssentError
from orchestration.evidence.diff import Counts, Difference, SegmentDifference
from orchestration.evidence.diff import diff as compare_generations
from orchestration.evidence.labels import Labels
from orchestration.evidence.queries import note_query
from orchestration.evidence.rebuild import kept_file, rebuilt
from orchestration.evidence.shown import Shown

COLUMNS = ("segment", "audience_key", "change", "reason")


@click.command()
@click.argument("then")
@click.argument("now")
@click.option("--segment", help="One segment alone [all].")
@click.option("--rebuild", is_flag=True, help="Rebuild a generation whose file is no longer kept, as `replay` does.")
@click.option(
    "--tokens", type=click.Path(path_type=Path, dir_okay=False),
    help="Write every joiner and leaver by audience key there, as CSV (0600). On screen there are counts only.",
)  # fmt: skip
@AS_JSON
@click.pass_context
def diff(
    context: click.Context, then: str, now: str, segment: str | None, rebuild: bool, tokens: Path | None, as_json: bool
) -> None:
    """Say who joined and who left each segment between the generations THEN and NOW, by reason.

    A leaver's reason is what NOW says of them, a joiner's what THEN said: withdrawn, expired, not chosen by the rule,
    no touchpoint in the period, identifiers joined or parted. The names of generations are the folders of evidence/.
    Counts are told as policy's `shown_counts` says; each question is noted in evidence/queries.jsonl.
    """
    at = opened(context)
    if then == now:
        raise AssentError("it is the same generation twice", where="diff", remedy="Name two, the older first")
    note_query(at.home, "diff", [then, now], segment, now=at.now)
    with ExitStack() as stack:
        files = [_file(at, name, rebuild, stack) for name in (then, now)]
        found, rows = compare_generations(at.home, *files, segment=segment, tokens=tokens is not None)
    if tokens is not None:
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_bytes(tokens, text.getvalue().encode())
        click.echo(f"{len(rows)} written to {tokens}; the keys are pseudonyms, not anonymous", err=True)
    if as_json:
        print_json(as_told(found, Shown.of(at.policy)))
    else:
        click.echo("\n".join(told(found, Labels(at.policy), Shown.of(at.policy))))


def _file(at: Opened, generation: str, rebuild: bool, stack: ExitStack) -> Path:
    kept = kept_file(at.home, generation)
    if kept is not None:
        return kept
    if not rebuild:
        raise AssentError(
            "the file of this generation is no longer kept",
            where=generation,
            remedy="Add --rebuild to rebuild it from its archive; `assent replay` says whether it comes out the same",
        )
    stack.enter_context(at.home.lock())
    parts = (at.home, at.policy, at.keys, generation)
    made = stack.enter_context(rebuilt(*parts, now=at.now, ledger_at=at.ledger_at, say=_say))
    for problem in made.problems:
        _say(f"BAD  {problem}")
    return made.file


def _say(line: str) -> None:
    click.echo(line, err=True)


def as_told(found: Difference, shown: Shown) -> dict[str, Any]:
    """The difference for programs; null is a count that is not told."""
    segments = []
    for one in found.segments:
        places = [
            {
                "destination": place.destination,
                **{name: shown.tell(getattr(place, name)) for name in ("people_then", "people_now", "left_segment")},
                "kept_back": shown.tell_parts(place.kept_back),
            }
            for place in one.destinations
        ]
        counts = {name: shown.tell(getattr(one, name)) for name in ("people_then", "people_now", "rekeyed")}
        changes = {"joined": shown.tell_parts(one.joined), "left": shown.tell_parts(one.left)}
        segments.append({"segment": one.segment, **counts, **changes, "destinations": places})
    return {**found.as_json(), "segments": segments, "counts": shown.rule()}


def told(found: Difference, labels: Labels, shown: Shown) -> list[str]:
    """The difference as people read it."""
    lines = [f"{which:<5}{one['generation']}  as of {one['as_of']}" for which, one in
             (("then", found.then), ("now", found.now))]  # fmt: skip
    if not found.same_policy:
        lines.append("The policy has changed between them: rules, not only people, may have moved.")
    for one in found.segments:
        lines += _segment(one, labels, shown)
    lines += [f"{name}: only then" for name in found.only_then] + [f"{name}: only now" for name in found.only_now]
    return [*lines, *([shown.note] if shown.note else [])]


def _segment(one: SegmentDifference, labels: Labels, shown: Shown) -> list[str]:
    label, write = labels(one.segment, "segment"), shown.write
    lines = [f"{one.segment} ({label.en} / {label.zh}): {write(one.people_then)} → {write(one.people_now)}"]
    for sign, word, counts in (("+", "joined", one.joined), ("-", "left", one.left)):
        if counts:
            lines.append(f"  {sign} {write(sum(counts.values()))} {word}: {_reasons(counts, labels, shown)}")
    if one.rekeyed:
        lines.append(
            f"    of them {write(one.rekeyed)} are in under another key: their identifiers were joined or parted"
        )
    for place in one.destinations:
        more = f"; {write(place.left_segment)} left the segment" if place.left_segment else ""
        more += f"; kept back now: {_reasons(place.kept_back, labels, shown)}" if place.kept_back else ""
        if more or shown.tell(place.people_then) != shown.tell(place.people_now):
            lines.append(f"  → {place.destination}: {write(place.people_then)} → {write(place.people_now)}{more}")
    return lines


def _reasons(counts: Counts, labels: Labels, shown: Shown) -> str:
    ordered = sorted(shown.tell_parts(counts).items(), key=lambda item: (-(item[1] or 0), item[0]))
    return ", ".join(
        f"{reason} ({labels(reason).en} / {labels(reason).zh}) {shown.written(told)}" for reason, told in ordered
    )
