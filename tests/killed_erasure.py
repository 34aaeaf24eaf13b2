"""An erasure in a process of its own that is killed at a moment: `python -m tests.killed_erasure HOME NOW MOMENT`.

A moment is the number of a change to the file system: a file made, moved or removed, a database opened. 0: it is
not killed, and says how many there were."""

from __future__ import annotations

import os
import signal
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "sqlite3.connect", "shutil.rmtree")


class Moments:
    """Counts the changes, and ends the process at one of them without a word to anybody."""

    def __init__(self, last: int) -> None:
        self.last, self.seen = last, 0

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in CHANGES or (event == "open" and self._writes(arguments)):
            self.seen += 1
            if self.seen == self.last:
                os.kill(os.getpid(), signal.SIGKILL)

    @staticmethod
    def _writes(arguments: tuple[Any, ...]) -> bool:
        flags = arguments[2]
        return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


def main(home: str, now: str, moment: str) -> None:
    from orchestration.home import Home
    from orchestration.identity.keys import Keys
    from orchestration.retention.due_erasures import erase_due
    from orchestration.retention.respond import Site
    from tests.generation_fixture import shrunk_policy

    site = Site(Home.open(Path(home), create=False), shrunk_policy(), Keys.from_seed(7))
    moments = Moments(int(moment))
    sys.addaudithook(moments)
    erase_due(site, now=datetime.fromisoformat(now))
    print(moments.seen)


if __name__ == "__main__":
    main(*sys.argv[1:])
