"""Parts of the proof in processes of their own, beside twins: the search of files, half of which is Python, and the
static proof, all of which is. In one process they would wait for each other. They begin before it is known what to do,
and import meanwhile.

Not here: the parts (`canaries.py`, `static.py`)."""

from __future__ import annotations

import atexit
import gc
import multiprocessing
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from multiprocessing.connection import Connection
from multiprocessing.context import ForkContext, ForkProcess, SpawnContext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestration.errors import AssentError, ExitCode

if TYPE_CHECKING:  # this module is the first that the process imports
    from orchestration.policy.schema import Policy
    from orchestration.proof.project import Project
    from orchestration.proof.verdict import Verdict
    from orchestration.retention.respond import Site

_PATIENCE = 5.0  # seconds that a process which was told to end has for it


class PartFailedError(AssentError):
    """A part ended without a result, so it proves nothing."""


@dataclass(frozen=True)
class _Work:
    """What a process does: it takes what it is sent, and sends what it finds. Told as `name`, run alone by `option`."""

    name: str
    option: str
    do: Callable[[Connection], None]

    def ended(self) -> PartFailedError:
        remedy = f"Run `assent prove {self.option}`, and see to its memory"
        return PartFailedError(f"{self.name} ended without a result", remedy=remedy)

    def failed(self, error: BaseException) -> _Failed:
        """With its words only if they are ours: others' may quote a value."""
        if isinstance(error, AssentError):
            return _Failed(error.what, error.where, error.remedy, error.exit_code)
        remedy = f"Run `assent prove {self.option}`: it tells where"
        return _Failed(f"{self.name} failed ({type(error).__name__})", "", remedy, ExitCode.FAILED)


@dataclass(frozen=True)
class _Failed:
    """An error as it is sent."""

    what: str
    where: str
    remedy: str
    exit_code: ExitCode


class _Beside:
    """One process with one piece of work. As a context manager it leaves no process behind."""

    def __init__(self, work: _Work, *earlier: _Beside) -> None:
        """`earlier`: those that were begun before, of which a fork would keep the pipes open."""
        context = _context()
        self._ours, theirs = context.Pipe()
        inherited = [beside._ours for beside in (self, *earlier)] if isinstance(context, ForkContext) else []
        self._work = work
        self._process = context.Process(target=_serve, args=(work, theirs, gc.get_threshold(), inherited), daemon=True)
        self._process.start()
        theirs.close()  # so that its end is seen here

    @property
    def is_forked(self) -> bool:
        return isinstance(self._process, ForkProcess)

    def __exit__(self, *error: Any) -> None:
        if error[0] is not None:
            self._process.terminate()
        self._ours.close()
        self._process.join(_PATIENCE)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()

    def _ask(self, *what: Any) -> None:
        try:
            self._ours.send(what)
        except OSError:
            raise self._work.ended() from None

    def _received(self) -> Any:
        try:
            found = self._ours.recv()
        except (EOFError, OSError):
            raise self._work.ended() from None
        if isinstance(found, _Failed):
            failure = PartFailedError(found.what, where=found.where, remedy=found.remedy)
            failure.exit_code = found.exit_code
            raise failure
        return found


class SearchBeside(_Beside):
    """One search, of one home. As a context manager it leaves no control behind either."""

    def __init__(self) -> None:
        super().__init__(_SEARCH)
        self._searched: tuple[Site, Sequence[Path]] | None = None

    def __enter__(self) -> SearchBeside:
        return self

    def __exit__(self, *error: Any) -> None:
        """Whatever came of it, the process ends, and so do the controls where it did not come to remove them."""
        super().__exit__(*error)
        if self._searched is not None and self._process.exitcode != 0:
            from orchestration.proof.canaries import remove_controls

            with suppress(AssentError):  # of a home that cannot be read, and had none planted
                remove_controls(*self._searched)
        self._searched = None  # left again, after the lock, it must not remove the controls of another search

    def begin(self, site: Site, *, seed: int, is_full: bool, also: Sequence[Path] = ()) -> None:
        """Hold the home's lock until the end."""
        self._searched = (site, also)
        self._ask(site, seed, is_full, also)

    def wait_for_list(self) -> None:
        """Until the search knows its files: what comes later is not searched."""
        self._received()

    def result(self) -> tuple[Sequence[Verdict], dict[str, Any], float]:
        """Its verdicts, what it saw (`Searched.as_json`), and how many seconds it took. Raises PartFailedError."""
        verdicts, searched, seconds = self._received()
        return verdicts, searched, seconds


class StaticBeside(_Beside):
    """One static proof."""

    def __init__(self, *earlier: _Beside) -> None:
        super().__init__(_STATIC, *earlier)

    def __enter__(self) -> StaticBeside:
        return self

    def begin(self, project: Project, policy: Policy, *, as_of: datetime) -> None:
        self._ask(project, policy, as_of)

    def result(self) -> tuple[Sequence[Verdict], float]:
        """Its verdicts, and how many seconds it took. Raises PartFailedError."""
        verdicts, seconds = self._received()
        return verdicts, seconds


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


def _serve(work: _Work, to: Connection, threshold: tuple[int, int, int], inherited: Sequence[Connection] = ()) -> None:
    """The process: one request, and what was found or what went wrong. `inherited`: what a fork has of the pipes' other
    ends, which would keep it, or another, from seeing that nobody asks any more."""
    for end in inherited:
        end.close()
    gc.set_threshold(*threshold)  # as the process that asks
    atexit.register(gc.freeze)
    try:
        work.do(to)
    except (EOFError, BrokenPipeError):
        pass  # nobody is there to be told
    except BaseException as error:
        with suppress(OSError):  # else its traceback would tell the words of `error`
            to.send(work.failed(error))


def _search(to: Connection) -> None:
    """A word when the files are listed, then the result."""
    from orchestration.home import Home
    from orchestration.proof.canaries import CanarySearch

    site, seed, is_full, also = to.recv()
    Home.open(site.home.root, create=False)  # for what it sets: the umask, and that there is no core dump
    start = time.monotonic()
    with CanarySearch(site, seed=seed, is_full=is_full, also=also) as search:
        to.send(None)
        found = search.run()
    to.send((found.verdicts(), found.as_json(), round(time.monotonic() - start, 3)))


def _static(to: Connection) -> None:
    from orchestration.proof.static import prove_statically

    project, policy, as_of = to.recv()
    start = time.monotonic()
    verdicts = prove_statically(project, policy, as_of=as_of)
    to.send((verdicts, round(time.monotonic() - start, 3)))


_SEARCH = _Work("the search of files", "--canaries", _search)
_STATIC = _Work("the static proof", "--static", _static)
