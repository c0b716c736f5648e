"""The panes of a house: what is gathered is merged in time, old days are dropped."""

import numpy as np

from jobs.core.panes import ENTRY, MOST_GATHERED, Panes
from jobs.core.sections import ARRIVED
from jobs.core.sketch import Sketches
from smartmeter.local_days import NEVER
from tests.unit.flink_stand_in import State


def add(panes: Panes, day: int, *rows):
    """Count in sections of a day, each of one (meter, bin, count), and some that are not: one not used, one of another day without any."""
    sections = np.zeros(len(rows) + 2, ARRIVED)
    sections["day"], sections["bins"] = day, 1
    sections["meter_id"] = [3, *(meter for meter, _, _ in rows), 4]
    sections["day"][-1], sections["bins"][-1] = day + 1, 0
    used = np.arange(len(sections)) > 0
    bin_index, count = (
        np.array([9, *(index for _, index, _ in rows)], np.uint16),
        np.array([9, *(count for _, _, count in rows)], np.uint32),
    )
    panes.add(sections, used, bin_index, count)


def again(panes: Panes) -> Panes:
    """The panes as the next batch finds them."""
    panes.keep()
    return Panes(panes.state)


def test_what_batches_add_is_summed_whether_it_is_merged_already_or_not():
    state, batches = State(), 3 * MOST_GATHERED // 100
    for n in range(1, batches + 1):
        panes = Panes(state)
        add(panes, 15_000, (2, 30, 1), *((1, index, 2) for index in range(n * 100, n * 100 + 100)), (2, 30, 4))
        panes.keep()
        assert Panes(state).get(15_000) == Sketches.from_bins(
            [*[1] * 100 * n, 2], np.array([*range(100, 100 * n + 100), 30]), [*[2] * 100 * n, 5 * n]
        )
        assert len(state.get("gathered/15000", b"")) <= 10 * MOST_GATHERED
        assert ("pane/15000" in state) == (100 * n + 1 > MOST_GATHERED)
        assert "gathered/15001" not in state


def test_what_is_gathered_takes_no_room_for_what_repeats():
    state = State()
    for _ in range(1000):
        add(Panes(state), 15_000, (2, 30, 1), (1, 700, 2), (2, 30, 4))
    assert np.frombuffer(state["gathered/15000"], ENTRY).tolist() == [(1, 700, 2000), (2, 30, 5000)]


def test_a_day_that_is_merged_is_one_value_and_keeps_what_it_had():
    panes = Panes(State())
    add(panes, 15_000, (1, 700, 2))
    add(panes, 15_000, (1, 701, 1), (1, 700, 1))
    add(panes, 15_001, (1, 5, 9))
    expected = Sketches.from_bins(1, np.array([700, 701]), [3, 1])
    assert panes.merge(15_000) == expected == again(panes).get(15_000)
    assert sorted(panes.state) == ["gathered/15001", "pane/15000", "panes"]


def test_days_before_one_are_dropped_and_handed_back_together():
    panes = Panes(State())
    for day in (15_000, 15_001, 15_002):
        add(panes, day, (1, 700, 1), (day, 3, 4))
    panes.merge(15_000)
    assert panes.remove_before(15_002) == Sketches.from_bins([1, 15_000, 15_001], np.array([700, 3, 3]), [2, 4, 4])
    panes = again(panes)
    assert sorted(panes.state) == ["gathered/15002", "panes"] and panes.days == [15_002]
    assert panes.remove_before(15_002) == panes.get(15_000) == Sketches.empty()


def test_it_is_kept_when_the_window_is_due():
    panes = Panes(State())
    assert panes.due_ms == NEVER
    panes.due_ms = 1_300_000_000_000
    assert again(panes).due_ms == 1_300_000_000_000
    assert len(panes.state["panes"]) == 8
