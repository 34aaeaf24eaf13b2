"""The search of files in a process of its own: half of it is Python, which would wait for the other parts, and they for
it. The process begins before it is known what to search, and imports meanwhile.

Not here: the search (`canaries.py`)."""

from __future__ import annotations

import atexit
import gc
import multiprocessing
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkContext, SpawnContext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestration.errors import AssentError, ExitCode

if TYPE_CHECKING:  # this module is the first that the process imports
    from orchestration.proof.verdict import Verdict
    from orchestration.retention.respond import Site

_PATIENCE = 5.0  # seconds that a process which was told to end has for it


class SearchFailedError(AssentError):
    """The search ended without a result, so it proves nothing."""


class SearchBeside:
    """One search, of one home. As a context manager it leaves no process behind, and no control."""

    def __init__(self) -> None:
        context = _context()
        self._ours, theirs = context.Pipe()
        arguments = (theirs, gc.get_threshold(), self._ours if isinstance(context, ForkContext) else None)
        self._process = context.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        theirs.close()  # so that its end is seen here
        self._searched: tuple[Site, Sequence[Path]] | None = None

    def __enter__(self) -> SearchBeside:
        return self

    def __exit__(self, *error: Any) -> None:
        """Whatever came of it, the process ends, and so do the controls where it did not come to remove them."""
        if error[0] is not None:
            self._process.terminate()
        self._ours.close()
        self._process.join(_PATIENCE)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()
        if self._searched is not None and self._process.exitcode != 0:
            from orchestration.proof.canaries import remove_controls

            with suppress(AssentError):  # of a home that cannot be read, and had none planted
                remove_controls(*self._searched)
        self._searched = None  # left again, after the lock, it must not remove the controls of another search

    def begin(self, site: Site, *, seed: int, is_full: bool, also: Sequence[Path] = ()) -> None:
        """Hold the home's lock until the end."""
        self._searched = (site, also)
        try:
            self._ours.send((site, seed, is_full, also))
        except OSError:
            raise _ended() from None

    def wait_for_list(self) -> None:
        """Until the search knows its files: what comes later is not searched."""
        self._received()

    def result(self) -> tuple[Sequence[Verdict], dict[str, Any], float]:
        """Its verdicts, what it saw (`Searched.as_json`), and how many seconds it took. Raises SearchFailedError."""
        verdicts, searched, seconds = self._received()
        return verdicts, searched, seconds

    def _received(self) -> Any:
        try:
            found = self._ours.recv()
        except (EOFError, OSError):
            raise _ended() from None
        if isinstance(found, _Failed):
            failure = SearchFailedError(found.what, where=found.where, remedy=found.remedy)
            failure.exit_code = found.exit_code
            raise failure
        return found


@dataclass(frozen=True)
class _Failed:
    """An error as it is sent."""

    what: str
    where: str = ""
    remedy: str = "Run `assent prove --canaries`: it tells where"
    exit_code: ExitCode = ExitCode.FAILED

    @classmethod
    def of(cls, error: BaseException) -> _Failed:
        """With its words only if they are ours: others' may quote a value."""
        if isinstance(error, AssentError):
            return cls(error.what, error.where, error.remedy, error.exit_code)
        return cls(f"the search of files failed ({type(error).__name__})")


def _ended() -> SearchFailedError:
    return SearchFailedError(
        "the search of files ended without a result", remedy="Run `assent prove --canaries`, and see to its memory"
    )


def _context() -> ForkContext | SpawnContext:
    """A fork has at once what this process imported; but a lock that another thread holds would be held there for ever,
    so with a thread, also one that an import began, the process is started anew."""
    if sys.platform == "linux":
        _import_for_both()
        if _is_alone():
            return multiprocessing.get_context("fork")
    return multiprocessing.get_context("spawn")


def _is_alone() -> bool:
    """Whether this process has no other thread than Arrow's jemalloc's, which lets go of its locks before a fork."""
    names = [(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
    return len([name for name in names if name != "jemalloc_bg_thd"]) == 1


def _import_for_both() -> None:
    """What both processes need, but DuckDB, which starts a thread of its own."""
    import pandas  # noqa: F401
    import phonenumbers  # noqa: F401
    import pyarrow.compute
    import pyarrow.parquet  # noqa: F401

    import orchestration.consent.database.store
    import orchestration.identity.master
    import orchestration.policy.loader  # noqa: F401


def _serve(to: Connection, threshold: tuple[int, int, int], other_end: Connection | None = None) -> None:
    """The process: one request, a word when the files are listed, and the result or what went wrong. `other_end`: what
    a fork has of the pipe's other end, which would keep it from seeing that nobody asks any more."""
    if other_end is not None:
        other_end.close()
    gc.set_threshold(*threshold)  # as the process that asks
    atexit.register(gc.freeze)
    try:
        from orchestration.home import Home
        from orchestration.proof.canaries import CanarySearch

        site, seed, is_full, also = to.recv()
        Home.open(site.home.root, create=False)  # for what it sets: the umask, and that there is no core dump
        start = time.monotonic()
        with CanarySearch(site, seed=seed, is_full=is_full, also=also) as search:
            to.send(None)
            found = search.run()
        to.send((found.verdicts(), found.as_json(), round(time.monotonic() - start, 3)))
    except (EOFError, BrokenPipeError):
        pass  # nobody is there to be told
    except BaseException as error:
        with suppress(OSError):  # else its traceback would tell the words of `error`
            to.send(_Failed.of(error))
