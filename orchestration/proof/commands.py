"""`assent prove`: shows that no data passes beside the gate, in SQL, in rows and in files.

Not here: the parts of the proof (`prove.py`)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestration.consent.options import AS_JSON, opened, print_json
from orchestration.errors import ExitCode
from orchestration.proof.verdict import PARTS
from orchestration.settings import Settings, load_settings

if TYPE_CHECKING:
    from orchestration.proof.beside import SearchBeside, StaticBeside
    from orchestration.proof.evidence import Proof
    from orchestration.proof.verdict import Part, Verdict

MOST_SHOWN = 5  # failures of one relation; all are in --json and in the evidence


@click.command()
@click.option("--static", "parts", flag_value="static", multiple=True, help="Only from the SQL; reads no row.")
@click.option(
    "--twins", "parts", flag_value="twins", multiple=True, help="Only by worlds that differ in what is forbidden."
)
@click.option("--canaries", "parts", flag_value="canaries", multiple=True, help="Only the search of every file.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of samples: the same seed, the same sample.")
@click.option("--full", is_flag=True, help="Everybody in the home, not a sample. It takes much longer.")
@click.option(
    "--also",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    multiple=True,
    help="With the canaries: search this folder too (logs, targets, temporary files); repeatable.",
)
@AS_JSON
@click.pass_context
def prove(
    context: click.Context, parts: tuple[Part, ...], seed: int, full: bool, also: tuple[Path, ...], as_json: bool
) -> int:
    """Prove that what is exposed came through the gate, that nothing forbidden changes it, and that nothing leaked.

    It takes the policy and the models as they are now, built or not: so try a new segment before `assent run`, which
    proves the first two of each build before it is published. A relation that fails is told with the path, in words.

    --static reads the SQL that dbt compiles: every path from a personal source to a mart or an export passes the gate
    for its purpose, predicates included. --twins runs that SQL over worlds that differ only in what policy forbids for
    a purpose: what is exposed for it must be the same; a mart with nobody in those worlds says so. --canaries searches
    every file of the home and its anchor, as it lies and read through (Parquet, DuckDB, SQLite, packed files, pickles,
    msgpack), for contact details, tokens, audience keys of another purpose and key material where they may not lie;
    controls are planted beside the data, and the search counts only if it finds each of them.

    Each run leaves signed evidence in evidence/proofs/. Exit code 0: all is proved; 6: not."""
    from orchestration.proof.beside import SearchBeside, StaticBeside

    wanted = tuple(part for part in PARTS if part in parts) or PARTS
    with ExitStack() as stack:
        # first of all: they import while this process does
        search = stack.enter_context(SearchBeside()) if len(wanted) > 1 and "canaries" in wanted else None
        has_static = search is not None and search.is_forked and "twins" in wanted and "static" in wanted
        static = stack.enter_context(StaticBeside(search)) if search and has_static else None
        return _prove(context, wanted, seed, full, also, as_json, search, static)


def _prove(
    context: click.Context,
    parts: tuple[Part, ...],
    seed: int,
    full: bool,
    also: tuple[Path, ...],
    as_json: bool,
    search: SearchBeside | None,
    static: StaticBeside | None,
) -> int:
    from orchestration.proof.evidence import write_proof
    from orchestration.proof.prove import Asked
    from orchestration.proof.prove import prove as run_parts
    from orchestration.retention.respond import Site

    at = opened(context)
    settings = context.obj if isinstance(context.obj, Settings) else load_settings()
    start = time.monotonic()

    def say(line: str) -> None:
        if not as_json:
            click.echo(f"{time.monotonic() - start:6.1f} s  {line}", err=True)

    site = Site(at.home, at.policy, at.keys, at.ledger_at)
    asked = Asked(parts, seed, full, also)
    proof = run_parts(site, settings.policy_dir, asked, now=at.now, say=say, search=search, static=static)
    path = write_proof(at.home, at.keys, proof, now=at.now)
    if as_json:
        print_json({**proof.as_json(), "evidence": str(path)})
    else:
        for line in told(proof):
            click.echo(line)
        click.echo(f"{'proved' if proof.is_proved else 'NOT PROVED'}; evidence: {path}")
    return int(ExitCode.OK if proof.is_proved else ExitCode.VERIFY)


def told(proof: Proof) -> Iterator[str]:
    """The proof as people read it: a line for each verdict, and what is wrong with the path to it."""
    for verdict in proof.verdicts:
        yield from _told(verdict)
    if proof.searched:
        yield from _searched(proof.searched)
    found = proof.as_json()
    yield (
        f"{found['relations']} relations, {found['obligations']} obligations: {found['discharged']} hold,"
        f" {found['failed']} do not; {proof.seconds['all']:.1f} s"
    )


def _told(verdict: Verdict) -> Iterator[str]:
    mark = "ok   " if verdict.is_proved else "BAD  "
    yield (
        f"{mark}{verdict.part:<9} {verdict.relation:<36} {verdict.purpose or '':<22}"
        f"{verdict.discharged:>6} of {verdict.obligations}{' (over nobody)' if verdict.rows == 0 else ''}"
    )
    for failure in verdict.failures[:MOST_SHOWN]:
        yield f"       {failure.what}"
        yield from (f"         {'→ ' if number else '  '}{step}" for number, step in enumerate(failure.path))
        yield f"         {failure.remedy}"
    if len(verdict.failures) > MOST_SHOWN:
        yield f"       and {len(verdict.failures) - MOST_SHOWN} more, see --json"


def _searched(searched: Mapping[str, Any]) -> Iterator[str]:
    from orchestration.proof.marked import SAYS

    kinds = [
        f"{counts['looked_for']:,} of {counts['known']:,} {SAYS[kind]}"
        for kind, counts in searched["looked_for"].items()
    ]
    yield f"looked for    {', '.join(kinds)}"
    yield f"in            {searched['files']:,} files, {searched['bytes']:,} bytes"
    yield from (f"only bytes    {where} ({why})" for where, why in searched["only_bytes"].items())
    yield from (f"not searched  {what}" for what in searched["not_searched"])
