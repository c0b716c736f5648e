"""Shows progress on standard error, and reports it to the parent process. A terminal has one line, which is rewritten; a log gets new lines."""

from __future__ import annotations

import sys
import time
from typing import Self

from tqdm import tqdm

from smartmeter.reports import Progress, report

LINE_EVERY_S = 2
REWRITE_EVERY_S = 0.5

tqdm.monitor_interval = 0  # no thread: a line changes only when it is shown again


class ProgressLine:
    """The line that shows the progress of some work, as a context manager."""

    def __init__(self, every_s: float = LINE_EVERY_S):
        """every_s: time between two lines where there is no terminal."""
        self._line = tqdm(bar_format="{desc}", dynamic_ncols=True, leave=False, file=sys.stderr, disable=None)
        self._on_terminal = not self._line.disable
        self._every_s = REWRITE_EVERY_S if self._on_terminal else every_s
        self._begun = self._shown = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._line.close()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the first moment."""
        return time.monotonic() - self._begun

    def is_due(self) -> bool:
        """Whether it is time to show the progress again."""
        return time.monotonic() - self._shown >= self._every_s

    def show(self, progress: Progress) -> None:
        """Show and report the progress."""
        self._shown = time.monotonic()
        report(progress=progress)
        if self._on_terminal:
            self._line.leave = True
            self._line.set_description_str(str(progress))
        else:
            print(progress, file=sys.stderr, flush=True)


class Pace(ProgressLine):
    """Counts what is done of a known total, and shows it with speed and remaining time."""

    def __init__(self, what: str, total: int):
        super().__init__()
        self._what, self._total, self._done = what, total, 0

    def add(self, done: int) -> None:
        """Count what has been done since the last call."""
        self._done += done
        if self.is_due():
            per_s = self._done / self.elapsed_s
            left_s = max(self._total - self._done, 0) / per_s
            self.show(Progress(self._what, self._done, self._total, self.elapsed_s, per_s, left_s))
