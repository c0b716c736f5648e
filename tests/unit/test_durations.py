"""The alerts of duration of a house: the state between two scans."""

from __future__ import annotations

from datetime import date
from zoneinfo import ZoneInfo

import lz4.block
import numpy as np
import pytest

from jobs.core.cells import HOUSE, Cells
from jobs.core.durations import Durations, hours_since_midnight
from jobs.core.open_runs import NONE
from jobs.core.spells import KINDS, MERGED_MINUTES
from jobs.core.state_version import StateFault
from jobs.core.usual import Usuals, silence_row
from tests.oracle import midnight_ms
from tests.unit.minute_cells import cells_of, every_minute
from tests.unit.usual_spells import always, code, longest, scan, spells_at, usual

EVERYTHING = {
    7: {**every_minute(0, 300, lambda m: 100.0 + m % 3), **every_minute(300, 700, 0.0), **every_minute(700, 1500, 95.0)},
    8: {**every_minute(0, 500, 40.0, step=2), **every_minute(900, 1500, 10.0)},
}
USUALS = always(
    usual(7, longest=longest(over=40, off=30, same=10), rare=np.isin(np.arange(256), [*range(code(95), code(101) + 1)])),
    usual(8, mains=True, dead=code(20), gap=10),
    silence_row(5),
)


@pytest.mark.parametrize("day, hours", [(date(2011, 3, 13), 23), (date(2011, 4, 18), 24), (date(2011, 11, 6), 25)])
def test_hours_count_from_midnight(day, hours):
    begin = midnight_ms(ZoneInfo("America/New_York"), day) // 60_000
    found = hours_since_midnight("America/New_York", np.arange(begin, begin + 60 * hours + 60, 30, dtype=np.int32)).tolist()
    assert found == [min(half // 2, 23) for half in range(2 * hours)] + [0, 0]


def closed_at(*minutes: int) -> Durations:
    """The state after closing days that end with these minutes; each goes through its bytes."""
    durations, cells = Durations(), cells_of(EVERYTHING)
    for minute in minutes:
        durations.close(scan(cells, USUALS), minute)
        durations = Durations.from_bytes(durations.to_bytes())
        cells.drop_before(minute)
    return durations


@pytest.mark.parametrize("ends", [(1,), (299,), (300, 301), (333, 480), (650, 1000, 1200), (1440,), (1480,)])
def test_what_lies_before_a_closed_day_may_be_forgotten(ends):
    whole = spells_at(Durations(), cells_of(EVERYTHING), USUALS)
    assert {KINDS[kind] for kind in whole["kind"]} == {"run", "band", "off", "dead", "frozen", "silent"}
    later = Cells(cells_of(EVERYTHING).state)
    later.drop_before(ends[-1])
    found = spells_at(closed_at(*ends), later, USUALS)
    assert found.tolist() == [spell for spell in whole.tolist() if spell[3] + MERGED_MINUTES >= ends[-1]]


def test_durations_are_what_their_bytes_give():
    durations = closed_at(480)
    durations.sent = spells_at(durations, cells_of(EVERYTHING), USUALS)
    again = Durations.from_bytes(durations.to_bytes())
    assert again.sent.tolist() == durations.sent.tolist() and again.to_bytes() == durations.to_bytes()
    for kept, progress in ((again.closed, durations.closed), (again.ahead, durations.ahead)):
        assert (kept.minute, kept.meter_ids.tolist()) == (480, [HOUSE, 7, 8]) and (kept.runs == progress.runs).all()
        assert kept.spells.tobytes() == progress.spells.tobytes() and kept.spells.shape == (3, len(KINDS))
    empty = Durations.from_bytes(None)
    assert (len(empty.closed.runs), len(empty.sent)) == (0, 0) and Durations.from_bytes(empty.to_bytes()).to_bytes() == empty.to_bytes()


def test_a_scan_goes_on_from_where_it_was_and_begins_again_with_a_late_minute():
    cells, durations = cells_of(EVERYTHING), Durations()
    durations.close(scan(cells, USUALS), 333)
    durations.go_on(scan(cells, USUALS), 700, 1440)
    durations.changed_from(700)
    assert durations.ahead.minute == 700
    found = durations.ahead.go_on(scan(cells, USUALS), 2001).all_spells(2000)
    assert found.tolist() == spells_at(durations, cells, USUALS).tolist()
    durations.changed_from(699)
    assert durations.ahead is durations.closed and durations.closed.minute == 333


@pytest.mark.parametrize("late", [None, 1439, 700, 1440])
def test_a_day_closes_with_what_the_scan_found_at_its_midnight_unless_something_came_late(late):
    cells, durations = cells_of(EVERYTHING), Durations()
    durations.go_on(scan(cells, USUALS), 300, 1440)
    assert durations.midnight.minute == NONE
    durations.go_on(scan(cells, USUALS), 1480, 1440)
    assert (durations.midnight.minute, durations.ahead.minute) == (1440, 1480)
    durations = Durations.from_bytes(durations.to_bytes())
    if late is not None:
        durations.changed_from(late)
        assert durations.ahead.minute == (1440 if late == 1440 else NONE)
        durations.go_on(scan(cells, USUALS), 1480, 1440)
    durations.close(scan(cells, USUALS), 1440)
    assert durations.closed.to_bytes() == closed_at(1440).closed.to_bytes() and durations.midnight.minute == NONE
    assert durations.ahead.go_on(scan(cells, USUALS), 2001).all_spells(2000).tolist() == spells_at(durations, cells, USUALS).tolist()


def test_spells_that_were_sent_are_kept_while_they_may_change():
    durations = Durations()
    durations.sent = spells_at(durations, cells_of(EVERYTHING), USUALS)
    before = len(durations.sent)
    durations.close(scan(cells_of(EVERYTHING), USUALS), 1000)
    assert durations.sent["last"].min() + MERGED_MINUTES >= 1000 and len(durations.sent) < before


@pytest.mark.parametrize("kind", [Usuals, Durations])
def test_state_of_another_version_is_refused(kind):
    with pytest.raises(StateFault, match="state version 9"):
        kind.from_bytes(lz4.block.compress(np.array([9, 0, 0], np.int32).tobytes()))
