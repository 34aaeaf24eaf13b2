"""The site: one home with one policy, as every definition here sees it.

Not here: what the stages do with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import dagster as dg

from orchestration.home import Home
from orchestration.identity.keys import BACKUP_ADVICE, Keys
from orchestration.policy import loader, schema
from orchestration.settings import Settings

# Owner of what belongs to no single source or segment.
TEAM = "team:data-engineering"


def quiet(message: str) -> None:
    """Says nothing: the default of `Site.say` where Dagster itself shows progress."""


@dataclass(frozen=True)
class Site:
    settings: Settings
    home: Home
    policy: schema.Policy
    policy_hash: str
    say: Callable[[str], None] = field(default=quiet, compare=False)

    @classmethod
    def load(cls, settings: Settings, *, say: Callable[[str], None] = quiet) -> Site:
        """Opens the home and reads the policy that `settings` name. Raises PolicyError or HomeError."""
        policy = loader.load_policy(settings.policy_dir)
        home = Home.open(settings.home)
        site = cls(settings, home, policy, loader.policy_hash(policy, settings.policy_dir), say)
        home.check_landing(site.landing)
        return site

    @property
    def policy_dir(self) -> Path:
        return self.settings.policy_dir

    @property
    def landing(self) -> Path:
        return self.settings.landing or self.home.landing

    @cached_property
    def keys(self) -> Keys:
        """The keys of the home, opened by the first step that needs them and never at definition time."""
        keys = Keys.open(self.home)
        if keys.created:
            self.say(BACKUP_ADVICE)
        return keys

    def open_keys(self) -> None:
        """Raises HomeError where the keys are lost, wrong or damaged: call it before anything is written (D7, D9)."""
        assert self.keys

    @property
    def prefix(self) -> tuple[str, ...]:
        chosen = self.settings.asset_prefix
        return self.policy.organisation.beside.asset_prefix if chosen is None else chosen

    def key(self, *parts: str) -> dg.AssetKey:
        """The asset key `[*prefix, layer, name]`."""
        return dg.AssetKey([*self.prefix, *parts])
