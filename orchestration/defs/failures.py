"""Runs a stage's work so that its failure tells what happened and where, and never carries a value.

Dagster stores the whole chain of exceptions, and those of DuckDB, pandera or SQLAlchemy quote rows (design §7): the
original is looked at, left behind, and only then is a failure raised, outside of every `except`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import dagster as dg

from orchestration.errors import AssentError, ExitCode
from orchestration.policy.loader import PolicyError
from orchestration.whereabouts import whereabouts

Result = TypeVar("Result")
RETRY = dg.RetryPolicy(max_retries=2, delay=2, backoff=dg.Backoff.EXPONENTIAL)


def attempt(work: Callable[[], Result]) -> Result:
    """`work()`, its failure turned into a `dg.Failure` that may be stored. Expected failures are not retried."""
    try:
        return work()
    except (AssentError, PolicyError) as error:
        failure = stop(str(error), error.exit_code if isinstance(error, AssentError) else ExitCode.POLICY)
    except dg.Failure as error:
        failure = error
    except Exception as error:
        failure = dg.Failure(
            f"{whereabouts(error)}; its text is withheld because it may quote data",
            metadata={"exit_code": int(ExitCode.FAILED)},
            allow_retries=isinstance(error, OSError),
        )
    failure.__context__ = failure.__cause__ = None
    raise failure


def stop(message: str, exit_code: ExitCode = ExitCode.FAILED) -> dg.Failure:
    """A failure that a retry would not mend."""
    return dg.Failure(message, metadata={"exit_code": int(exit_code)}, allow_retries=False)
