"""Cells: codes of power, how pieces of a minute merge, and blocks of days."""

from __future__ import annotations

from datetime import date
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.core import cells as jobs_cells
from jobs.core.cells import CELL, EDGES, FED_IN, HOUSE, NO_CELLS, SPAN_MINUTES, Block, Cells, code_of, watts_of
from smartmeter.power import MOST_WATTS
from tests.oracle import EPOCH, midnight_ms
from tests.unit.flink_stand_in import State
from tests.unit.logs import NEW_YORK
from tests.unit.minute_cells import cells_of, parts
from tests.watchdog_oracle import end_of, step_of


@pytest.mark.parametrize(
    "watts, code",
    [
        (-MOST_WATTS, 1),
        (-0.4, 1),
        (0, 1),
        (-0.0, 1),
        (0.93, 1),
        (0.94, 2),
        (30, 81),
        (30.001, 82),
        (31.3, 82),
        (31.4, 83),
        (60, 97),
        (60.001, 98),
        (MOST_WATTS, 255),
    ],
)
def test_a_code_is_a_sixteenth_of_an_octave(watts, code):
    assert code_of(np.array([watts], np.float32)).tolist() == [code]


def test_a_code_stands_for_the_upper_end_of_its_step():
    assert [watts_of(code) for code in (0, 65, 81, 97, 113)] == [0, 15, 30, 60, 120]
    assert watts_of(255) == watts_of(254) == EDGES[-1] == 30 * 2 ** (173 / 16)
    assert code_of(np.array([watts_of(code) for code in range(1, 255)])).tolist() == list(range(1, 255))


@given(st.floats(0, MOST_WATTS, width=32))
def test_the_codes_are_those_of_the_oracle(watts):
    [code] = code_of(np.array([watts], np.float32)).tolist()
    assert jobs_cells.step_of(np.float32(watts)) == code
    assert code == step_of(watts) and watts_of(code) == end_of(code)
    assert watts <= watts_of(code) or code == 255


def cell(cells: Cells, meter_id: int, minute: int) -> tuple[int, int, bool]:
    """(low, high, whether all readings are equal)."""
    block = cells.block(minute // SPAN_MINUTES)
    low, high, same = block.cells[block.meter_ids.tolist().index(meter_id), minute % SPAN_MINUTES].item()
    return low, high, same > 0


def test_a_cell_has_the_lowest_and_the_highest_code_of_its_minute():
    cells = cells_of({7: {5: (30, 120), 6: 60.0}, 9: {6: 0.0}})
    assert [cell(cells, 7, minute) for minute in (4, 5, 6)] == [(0, 0, False), (81, 113, False), (97, 97, True)]
    assert cell(cells, 9, 6) == (1, 1, True)


def test_the_house_has_a_reading_in_each_minute_in_which_a_meter_has_one():
    cells = cells_of({7: {5: 60.0, 6: 60.0}, 9: {6: 1.0, 8: 1.0}})
    assert [cell(cells, HOUSE, minute) for minute in range(4, 10)] == [
        (0, 0, False),
        *[(1, 1, False)] * 2,
        (0, 0, False),
        (1, 1, False),
        (0, 0, False),
    ]


def test_pieces_of_a_minute_merge_in_any_order_and_any_number_of_times():
    pieces = [parts({7: {5: watts}}) for watts in (60.0, 30.0, (40.0, 120.0))]
    for order in ([0, 1, 2], [2, 1, 0], [1, 0, 1, 2, 2, 0]):
        cells = Cells(State())
        for n in order:
            cells.take(pieces[n])
        assert cell(cells, 7, 5) == (81, 113, False)


def test_a_minute_is_at_one_power_while_all_of_its_readings_are_equal():
    cells = cells_of({7: {5: 60.0, 6: 60.0}})
    digests = cells.block(0).cells["same"][1, 5:7].tolist()
    assert digests[0] == digests[1] > 0
    cells.take(parts({7: {5: 60.0, 6: 60.5}}))
    assert [cell(cells, 7, minute)[2] for minute in (5, 6)] == [True, False]
    cells.take(parts({7: {6: 60.0}}))
    assert not cell(cells, 7, 6)[2], "it was not, so it is not"


def test_a_minute_in_which_a_meter_only_feeds_in_is_marked():
    cells = cells_of({7: {5: (-60.0, -0.5), 6: (-60.0, 60.0), 7: (-1.0, 0.0), 8: -3.0}})
    low, high, same = (cells.block(0).cells[name][1, 5:9].tolist() for name in ("low", "high", "same"))
    assert (low, high, same) == ([1] * 4, [1, 97, 1, 1], [FED_IN, 0, 0, FED_IN])
    cells.take(parts({7: {5: -5.0, 8: 2.0}}))
    assert cells.block(0).cells["same"][1, [5, 8]].tolist() == [FED_IN, 0]
    powers = np.random.default_rng(1).uniform(0, 5000, 2000)
    cells = cells_of({7: dict(enumerate(powers))})
    assert max(cells.block(span).cells["same"][1].max() for span in cells.spans) == FED_IN - 1


def test_each_quarter_of_a_day_has_a_block_which_goes_once_it_is_over():
    state = State()
    cells = Cells(state)
    cells.take(parts({7: {359: 60.0, 360: 90.0, 3 * 360: 90.0}}))
    assert cells.spans == [0, 1, 3] and Cells(state).spans == [0, 1, 3]
    assert cell(Cells(state), 7, 360) == cell(cells, 7, 360) == (code_of(np.array(90.0)),) * 2 + (True,)
    assert cells.block(2) is NO_CELLS
    cells.drop_before(2 * 360 - 1)
    assert cells.spans == Cells(state).spans == [1, 3]
    cells.drop_before(2 * 360)
    assert set(state) == {"cell_spans", "cells/3"} and Cells(state).spans == [3]


def test_the_blocks_of_whole_days_that_earlier_releases_kept_are_divided():
    minutes, state = {20_000 * 1440 + minute: 60.0 + minute for minute in (0, 359, 360, 1439, 1440)}, State()
    expected = cells_of({7: minutes})
    for day in (20_000, 20_001):
        spans = [expected.block(4 * day + at).with_meters(np.array([HOUSE, 7], np.int32)) for at in range(4)]
        state.put(f"cells/{day}", Block(spans[0].meter_ids, np.concatenate([span.cells for span in spans], axis=1)).pack())
    state.put("cell_days", np.array([20_000, 20_001], np.int32).tobytes())
    cells = Cells(state)
    assert cells.spans == [80_000, 80_001, 80_003, 80_004] and dict(state) == dict(expected.state)
    assert [cell(cells, 7, minute) for minute in minutes] == [cell(expected, 7, minute) for minute in minutes]


def test_the_local_days_of_a_block_are_those_of_its_ends():
    midnight = midnight_ms(ZoneInfo(NEW_YORK), date(2011, 4, 18)) // 60_000  # 4:00 in UTC
    day = (date(2011, 4, 18) - EPOCH).days
    assert cells_of({7: {midnight: 60.0}}).local_days(NEW_YORK) == [day - 1, day]
    assert cells_of({7: {midnight: 60.0}}).local_days("UTC") == [day]


def test_a_block_is_what_its_bytes_give():
    block = cells_of({7: {5: (30, 120)}, 300: {6: 60.0}}).block(0)
    again = Block.unpack(block.pack())
    assert again.meter_ids.tolist() == [HOUSE, 7, 300] and (again.cells == block.cells).all() and again.pack() == block.pack()
    assert again.cells.dtype == CELL and again.cells.shape == (3, SPAN_MINUTES)


def test_a_block_makes_room_for_meters():
    block = cells_of({7: {5: 60.0}}).block(0)
    wider = block.with_meters(np.array([3, 7, 9], np.int32))
    assert wider.meter_ids.tolist() == [HOUSE, 3, 7, 9]
    assert (wider.cells[[0, 2]] == block.cells).all() and not wider.cells["low"][[1, 3]].any()
    assert block.with_meters(np.array([7], np.int32)) is block
