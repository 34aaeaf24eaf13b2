"""What the commands `assent consent …` share: options, the opened home, how identifiers and times are read."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TextIO, TypeVar

import click

from orchestration.demo.clock import end_of_world
from orchestration.errors import AssentError
from orchestration.home import Home
from orchestration.identity.keys import BACKUP_ADVICE, Keys
from orchestration.policy.loader import load_policy
from orchestration.policy.schema import Policy
from orchestration.settings import LedgerAt, Settings, load_settings

AS_JSON = click.option("--json", "as_json", is_flag=True, help="Write JSON, for programs.")
IDENTIFIERS = click.option(
    "--identifier-file",
    "identifiers",
    type=click.File(encoding="utf-8"),
    required=True,
    help="Lines of kind:issuer:value; `-` reads them from standard input, so that no shell keeps them.",
)
LANGUAGE = click.option(
    "--language", type=click.Choice(["zh-CN", "en"]), default="zh-CN", show_default=True, help="Of what people read."
)
T = TypeVar("T")


@dataclass(frozen=True)
class Opened:
    """A home with its policy and keys, and the time there: where a demo's world ends, else the wall clock."""

    home: Home
    policy: Policy
    keys: Keys
    ledger_at: LedgerAt

    @property
    def now(self) -> datetime:
        return end_of_world(self.home) or datetime.now(UTC)


def opened(context: click.Context, *, create: bool = False) -> Opened:
    settings = context.obj if isinstance(context.obj, Settings) else load_settings()
    policy = load_policy(settings.policy_dir)
    home = Home.open(settings.home, create=create)
    keys = Keys.open(home)
    if keys.created:
        click.echo(BACKUP_ADVICE, err=True)
    return Opened(home, policy, keys, settings.ledger_at)


def each_line(identifiers: TextIO, answer: Callable[[str], T]) -> list[tuple[int, T]]:
    """The answer for each line that holds an identifier, with the line's number: identifiers are never repeated."""
    lines: list[tuple[int, str]] | None = None
    with contextlib.suppress(UnicodeDecodeError):
        lines = [(number, line) for number, line in enumerate(identifiers, start=1) if line.strip()]
    if lines is None:
        raise AssentError("it is not UTF-8 text", where="--identifier-file", remedy="Save it as UTF-8, then run again")
    if not lines:
        raise AssentError("there is no identifier", where="--identifier-file", remedy="Write kind:issuer:value")
    return [(number, answer(line)) for number, line in lines]


def read_moment(text: str | None, option: str) -> datetime | None:
    """The instant in UTC; None for an option that was not given."""
    if text is None:
        return None
    at: datetime | None = None
    with contextlib.suppress(ValueError, OverflowError):
        at = datetime.fromisoformat(text)
        at = None if at.tzinfo is None else at.astimezone(UTC)
    if at is None:
        raise AssentError("not a time with an offset", where=option, remedy="Write e.g. 2026-11-20T00:00:00+08:00")
    return at


def require_known(name: str | None, known: Iterable[str], what: str, option: str) -> None:
    """Raises AssentError for a name that the policy does not have: a slip of the pen must not read as "nothing on
    record". What the policy has no longer is found without the option."""
    names = sorted(known)
    if name is not None and name not in names:
        raise AssentError(
            f"the policy has no such {what}", where=option, remedy=f"There are: {', '.join(names) or 'none'}"
        )


def print_json(content: Any) -> None:
    click.echo(json.dumps(content, ensure_ascii=False, indent=2))
