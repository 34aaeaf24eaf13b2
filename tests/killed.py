"""Work that is killed at a chosen moment: in a fork that dies at its n-th request to the operating system."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

# What work asks of the operating system; one of these is its last before it is killed.
EVENTS = {"open", "os.remove", "os.rename", "os.rmdir", "os.mkdir", "sqlite3.connect", "shutil.rmtree", "os.unlink"}


def in_child(work: Callable[[], object], die_at: int | None) -> int:
    """Runs `work` in a fork that dies, without any farewell, at its `die_at`-th event. Returns how many there were, or
    -1 for one that died."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        seen = 0

        def count(event: str, _: tuple[object, ...]) -> None:
            nonlocal seen
            if event in EVENTS:
                seen += 1
                if seen == die_at:
                    os._exit(9)

        sys.addaudithook(count)
        try:
            work()
            os.write(writing, str(seen).encode())
        finally:
            os._exit(0)
    os.close(writing)
    said = os.read(reading, 16)
    os.close(reading)
    os.waitpid(child, 0)
    return int(said) if said else -1


def in_fork(work: Callable[[], object]) -> int:
    """Runs `work`, which may kill itself, in a fork. Returns what a process that ended so returns."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
