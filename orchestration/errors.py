"""The errors that people see: what happened, where, and what to do next. They never carry a personal value."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the exit code of `assent` means."""

    OK = 0
    FAILED = 1  # a check or a stage failed; the published generation is unchanged
    USAGE = 2
    REFUSED_INPUT = 3  # the build is good, but some files were refused
    POLICY = 4
    HOME = 5  # the home is locked, damaged, open to others, or of another kind
    VERIFY = 6  # a verification found something
    RETENTION = 7  # good, but what is past its days was not deleted: it waits for a confirmation, or it failed


class AssentError(Exception):
    """An expected failure. `what` and `where` say what happened, `remedy` what to do next."""

    exit_code = ExitCode.FAILED

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        self.what, self.where, self.remedy = what, where, remedy
        super().__init__(" ".join(part for part in (f"{where}:" if where else "", f"{what}.", remedy) if part))


class HomeError(AssentError):
    """The home cannot be used."""

    exit_code = ExitCode.HOME


class VerifyError(AssentError):
    """Something that should hold was verified and does not."""

    exit_code = ExitCode.VERIFY
