"""The command `assent explain`: one person's answer, now or for an export of then. Identifiers are never repeated."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

import click

from orchestration.atomic import write_bytes
from orchestration.consent.answers.wording import Language
from orchestration.consent.options import AS_JSON, LANGUAGE, Opened, opened, print_json, read_moment
from orchestration.errors import AssentError
from orchestration.evidence import explain as why
from orchestration.evidence.person import Person
from orchestration.policy.schema import Policy


@click.command()
@click.option("--segment", help="One segment of segments.yaml alone [all of them, and every purpose].")
@click.option(
    "--identifier-file",
    "identifiers",
    type=click.File(encoding="utf-8"),
    required=True,
    help="One line, kind:issuer:value; `-` reads it from standard input, so that no shell keeps it.",
)
@click.option("--at", help="On what basis they were in exports at this time; ISO 8601 with an offset.")
@click.option("--generation", help="By this generation: kept, or rebuilt from its archive.")
@click.option(
    "--html", "page", type=click.Path(path_type=Path, dir_okay=False),
    help="Write the answer there as a page in Chinese and English that can be read aloud (0600).",
)  # fmt: skip
@LANGUAGE
@AS_JSON
@click.pass_context
def explain(
    context: click.Context,
    segment: str | None,
    identifiers: TextIO,
    at: str | None,
    generation: str | None,
    page: Path | None,
    language: Language,
    as_json: bool,
) -> None:
    """Say of one person in or out, and why, down to the ledger event and the notice version.

    Without --segment: every segment and purpose, the records that decide, the identifiers that are linked, touchpoints
    counted and not, destinations, and what was recorded since the build. With --at or --generation: as it was then, by
    the generation whose export they were in; it is rebuilt where its file is no longer kept.
    """
    here = opened(context)
    line = one_line(identifiers)
    if at is not None and generation is not None:
        raise AssentError("both a time and a generation", where="--at", remedy="Give one of them")
    if segment is not None and page is None and at is None and generation is None:
        found = why.explain(here.home, here.policy, here.keys, segment, line, now=here.now, ledger_at=here.ledger_at)
        print_json(found.as_json()) if as_json else click.echo("\n".join(why.told(found, here.policy)))
        return
    policy, person = _answer(here, line, segment, at, generation)
    if page is not None:
        _write_page(page, policy, person)
    if as_json:
        print_json(person.as_json())
    elif page is None:
        from orchestration.evidence.person_text import lines

        click.echo("\n".join(lines(person, policy, language)))


def _answer(
    here: Opened, line: str, segment: str | None, at: str | None, generation: str | None
) -> tuple[Policy, Person]:
    from orchestration.evidence import then

    asked = then.Asked(here.home, here.policy, here.keys, here.ledger_at, line, segment, here.now)
    if at is not None:
        return then.explain_at(asked, read_moment(at, "--at") or here.now, say=_progress)
    if generation is not None:
        return then.explain_generation(asked, generation, say=_progress)
    return here.policy, then.explain_published(asked)


def _progress(line: str) -> None:
    click.echo(line, err=True)


def one_line(identifiers: TextIO) -> str:
    """The one line that is not empty. Raises AssentError for none or several."""
    lines = [line for line in identifiers.read().splitlines() if line.strip()]
    if len(lines) != 1:
        raise AssentError(
            "one identifier is wanted", where="--identifier-file", remedy="Write one line, kind:issuer:value"
        )
    return lines[0]


def _write_page(page: Path, policy: Policy, person: Person) -> None:
    from orchestration.evidence.person_page import render_person

    write_bytes(page, render_person(policy, person).encode())
    click.echo(f"written to {page}; it is personal data, delete it after use", err=True)
