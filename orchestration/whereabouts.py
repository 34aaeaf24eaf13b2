"""Says of an unexpected error what kind it is and where it arose, without its text: that may quote data."""

from __future__ import annotations

import traceback
from pathlib import Path

ROOT = Path(__file__).parent


def whereabouts(error: BaseException) -> str:
    """`KeyError at stage.py:12 (frame.py:345)`: our innermost line in the traceback, and the innermost of all."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return type(error).__name__
    ours = [frame for frame in frames if Path(frame.filename).is_relative_to(ROOT)] or frames
    last, inner = ours[-1], frames[-1]
    at, inside = (f"{Path(frame.filename).name}:{frame.lineno}" for frame in (last, inner))
    return f"{type(error).__name__} at {at} ({inside})"
