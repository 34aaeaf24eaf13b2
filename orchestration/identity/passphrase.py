"""Passphrases that seal backups: how they are asked for, how long they must be, how a key is made of one."""

from __future__ import annotations

import sys

import click
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from orchestration.errors import AssentError
from orchestration.identity.master import KEY_BYTES

SALT_BYTES = 16
SCRYPT_COST = 2**16  # 64 MB and about 0.2 s per guess; lowering it makes passphrases easier to guess
MINIMUM_PASSPHRASE = 12


def ask_passphrase(*, confirm: bool) -> str:
    """From the terminal, without echo; else the first line of standard input."""
    if sys.stdin.isatty():
        return str(click.prompt("Passphrase", hide_input=True, confirmation_prompt=confirm, err=True))
    return sys.stdin.readline().rstrip("\r\n")


def require_long(passphrase: str, where: str) -> None:
    """Raises AssentError where a new backup would be sealed with a passphrase that is soon guessed."""
    if len(passphrase) < MINIMUM_PASSPHRASE:
        remedy = f"Use at least {MINIMUM_PASSPHRASE} characters"
        raise AssentError("the passphrase is too short", where=where, remedy=remedy)


def stretch(passphrase: str, salt: bytes) -> bytes:
    """A key of 32 bytes (scrypt, RFC 7914)."""
    return Scrypt(salt=salt, length=KEY_BYTES, n=SCRYPT_COST, r=8, p=1).derive(passphrase.encode())
