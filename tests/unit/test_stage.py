"""What a stage receives: the sections that are used, and the house's clock burst by burst."""

import numpy as np
import pytest

from jobs.core.house_days import AGAIN, FRESH, LATE, OVERLAPPING
from jobs.core.late import refusals
from jobs.core.stage import Change, Stage
from smartmeter.local_days import NEVER
from tests.unit.logs import HOUR_MS, START_MS, burst
from tests.unit.one_house import batch_of


def change(*hours: int, clock_before_h: int | None = None, meters=(1,), verdict=None) -> Change:
    """A batch of bursts with a reading at their start, in hours since START_MS; the house's clock is the newest of all."""
    batch = batch_of(
        *(
            burst(START_MS + h * HOUR_MS, START_MS + (h + 1) * HOUR_MS, {m: [(START_MS + h * HOUR_MS, 100.0)] for m in meters})
            for h in hours
        )
    )
    before_ms = NEVER if clock_before_h is None else START_MS + clock_before_h * HOUR_MS

    class House:
        clock_ms = max(batch.newest_ms, before_ms)

    verdict = np.array(verdict or [FRESH] * len(batch.sections), np.uint8)
    none = np.empty(0)
    return Change(batch, {}, House(), batch.timezone, before_ms, True, verdict, none, none, closes_a_day=False, open_from_ms=0, now_ms=0)


@pytest.mark.parametrize(
    "hours, clock_before_h, clocks_h",
    [
        ([3], None, [3]),
        ([3, 4, 5], None, [3, 4, 5]),
        ([3, 5, 4], None, [3, 5]),
        ([3, 4], 1, [3, 4]),
        ([3, 4], 4, [4]),
        ([1, 2, 9], 5, [5, 9]),
    ],
)
def test_the_clocks_after_each_burst_rise(hours, clock_before_h, clocks_h):
    clocks_ms = change(*hours, clock_before_h=clock_before_h).clocks_ms
    assert [(ms - START_MS) // HOUR_MS for ms in clocks_ms] == clocks_h


def test_fresh_sections_are_used():
    assert change(1, 2, meters=(1, 2), verdict=[FRESH, AGAIN, LATE, OVERLAPPING]).used.tolist() == [True, False, False, False]


@pytest.mark.parametrize(
    "verdict, reasons",
    [
        ([FRESH, AGAIN], []),
        ([FRESH, LATE], ["its day was closed"]),
        ([OVERLAPPING, LATE], ["its day was closed", "it covers in part what was received before"]),
        ([OVERLAPPING, OVERLAPPING], ["it covers in part what was received before"] * 2),
    ],
)
def test_late_and_overlapping_sections_are_refused(verdict, reasons):
    found = [(topic, record["reason"], record["offset"]) for topic, record in refusals(change(1, 2, verdict=verdict))]
    assert [reason for _, reason, _ in found] == reasons and {topic for topic, *_ in found} <= {"late"}
    assert sorted(offset for *_, offset in found) == [100 + i for i, each in enumerate(verdict) if each in (LATE, OVERLAPPING)]


def test_a_stage_sends_nothing_later_unless_it_is_made_to():
    assert list(Stage().wake(None, None, 0, ended=True)) == []
    with pytest.raises(NotImplementedError):
        Stage().take(change(1))
