"""Keeps one faulty message from stopping the stream: a failure is narrowed down to the message, which becomes a dead letter.

State that cannot be read or written is no message's fault: StateFault is passed on, and Flink restarts the job.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from jobs.core.state_version import StateFault

LONGEST_REASON = 1000
"""Characters of a dead letter's reason."""

Work = TypeVar("Work")
Result = TypeVar("Result")
log = logging.getLogger("guard")


class Guard:
    """Splits failing work until the faulty piece is alone, and logs each kind of failure once."""

    def __init__(self) -> None:
        self.logged: set[str] = set()

    def each(
        self,
        work: Work,
        do: Callable[[Work], list[Result]],
        halves: Callable[[Work], tuple[Work, Work] | None],
        failed: Callable[[Work, str], list[Result]],
    ) -> list[Result]:
        """The results of do(work). If that raises, those of each half instead; if work has no halves, failed(work, reason)."""
        try:
            return do(work)
        except StateFault:
            raise
        except Exception as error:
            if pieces := halves(work):
                return [result for piece in pieces for result in self.each(piece, do, halves, failed)]
            self.log(error)
            return failed(work, reason_of(error))

    def log(self, error: Exception) -> None:
        """Log a failure with its traceback, unless one of its kind was logged before."""
        if (kind := type(error).__name__) not in self.logged:
            self.logged.add(kind)
            log.error("a message failed and became a dead letter; further failures of this kind (%s) are not logged", kind, exc_info=error)


def reason_of(error: Exception) -> str:
    """The dead letter's reason for a message whose processing raised an error."""
    return f"the job fails on it: {type(error).__name__}: {error}"[:LONGEST_REASON]
