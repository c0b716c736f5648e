"""Shapes of local days: hand-worked figures, and runs that go on from day to day."""

from __future__ import annotations

from datetime import date
from zoneinfo import ZoneInfo

import lz4.block
import numpy as np
import pytest

from jobs.core.cells import HOUSE, Cells, code_of, watts_of
from jobs.core.open_runs import NONE, OFF, SAME
from jobs.core.shapes import SHAPE, Shapes
from jobs.core.state_version import StateFault
from tests.oracle import midnight_ms
from tests.unit.minute_cells import cells_of, every_minute

OFF_CODE = int(code_of(np.array(30.0)))
RULE = (15, OFF_CODE)


def closed(meters: dict, days: int = 1, shapes: Shapes | None = None) -> Shapes:
    """The shapes of the days (UTC) from 0 on."""
    shapes, cells = shapes or Shapes(), cells_of(meters)
    for day in range(days):
        shapes.close(day, 1440 * day, 1440 * (day + 1), cells, RULE)
    return shapes


def shape(shapes: Shapes, meter_id: int, day: int = 0):
    [row] = shapes.days[(shapes.days["meter_id"] == meter_id) & (shapes.days["day"] == day)]
    return row


def code(watts: float) -> int:
    return int(code_of(np.array(watts)))


def test_the_longest_runs_of_a_day():
    # On from 100 to 139 at 100 W, 10 minutes of them at 2 kW; off to 199; on again to 219.
    minutes = {
        **every_minute(100, 140, lambda minute: 2000.0 + minute if 110 <= minute < 120 else 100.0 + minute % 2),
        **every_minute(140, 200, 0.0),
        **every_minute(200, 220, 50.0),
    }
    found = shape(closed({7: minutes}), 7)
    assert found["minutes"] == 120
    assert found["longest"].tolist() == [40, 40, 10, 10, 10, 10, 10, 0, 0, 0, 0, 60, 20]


def test_runs_go_on_from_the_day_before_and_count_in_full():
    shapes = closed({7: every_minute(1400, 1500, lambda minute: 100.0 + minute % 2)}, days=2)
    assert [int(shape(shapes, 7, day)["longest"][0]) for day in (0, 1)] == [40, 100]
    shapes = closed({7: {**every_minute(1400, 1440, 0.0), **every_minute(1460, 1500, 0.0)}}, days=2)
    assert [int(shape(shapes, 7, day)["longest"][OFF]) for day in (0, 1)] == [40, 40], "20 minutes are missing"


def test_a_day_of_another_job_run_goes_on_from_state():
    shapes = closed({7: every_minute(1400, 1440, 95.0)})
    again = Shapes.from_bytes(shapes.to_bytes())
    again.close(1, 1440, 2880, cells_of({7: every_minute(1440, 1500, 95.0)}), RULE)
    assert int(shape(again, 7, 1)["longest"][SAME]) == 100
    assert again.end_minute == 2880


def test_standby_is_the_power_that_a_twentieth_of_the_minutes_stay_at():
    # Of 41 minutes the third-lowest counts: floor(0.05 x 40) are lower.
    found = shape(closed({7: {**every_minute(0, 2, 10.0), 2: 20.0, **every_minute(3, 41, 500.0)}}), 7)
    assert found["standby"] == code(20)
    found = shape(closed({7: {**every_minute(0, 2, 10.0), **every_minute(2, 41, 500.0)}}), 7)
    assert found["standby"] == code(500)


def test_an_hour_holds_what_five_minutes_on_end_reached_beside_other_meters():
    minutes = {
        **every_minute(0, 70, 100.0),
        **every_minute(30, 35, lambda minute: 4000.0 + minute),
        **every_minute(58, 62, 900.0),
        130: 2000.0,
    }
    held = shape(closed({7: minutes}), 7)["held"].tolist()
    assert held == [code(4030), code(100), *[0] * 22], "four minutes hold nothing"
    beside = shape(closed({7: minutes, 8: every_minute(0, 70, 1000.0)}), 7)["held"].tolist()
    assert beside[0] == code(watts_of(code(4030)) - watts_of(code(1000)))


def test_minutes_at_a_power_count_where_it_is_steady():
    minutes = {10: 100.0, 11: 100.0, 12: 104.0, 13: 500.0, 14: 100.0, 50: 100.0}
    at = shape(closed({7: minutes}), 7)["minutes_at"]
    assert {number: int(at[number]) for number in np.flatnonzero(at).tolist()} == {code(100): 1, code(104): 1}
    at = shape(closed({7: every_minute(0, 400, 100.0)}), 7)["minutes_at"]
    assert at[code(100)] == 255, "or more"


def test_the_longest_silence_of_a_meter_counts_the_minutes_of_its_house():
    shapes = closed({7: {10: 1.0, 100: 1.0}, 8: every_minute(0, 200, 1.0, step=2)})
    assert [int(shape(shapes, meter)["gap"]) for meter in (7, 8, HOUSE)] == [44, 0, 1]
    shapes = closed({7: {10: 1.0, 100: 1.0}})
    assert [int(shape(shapes, meter)["gap"]) for meter in (7, HOUSE)] == [0, 89]


def test_a_silence_belongs_to_the_day_on_which_it_ends():
    shapes = closed({7: {10: 1.0, 2 * 1440 + 10: 1.0}}, days=3)
    assert [(row["meter_id"], row["day"], row["gap"]) for row in shapes.days] == [(0, 0, 0), (7, 0, 0), (0, 2, 2879), (7, 2, 0)]


@pytest.mark.parametrize("day, minutes", [(date(2011, 3, 13), 23 * 60), (date(2011, 11, 6), 25 * 60)])
def test_days_on_which_the_clocks_change(day, minutes):
    begin = midnight_ms(ZoneInfo("America/New_York"), day) // 60_000
    shapes = Shapes()
    shapes.close(
        0, begin, begin + minutes, cells_of({7: every_minute(begin - 60, begin + minutes + 60, lambda m: 100.0 + (m - begin) // 60)}), RULE
    )
    found = shape(shapes, 7)
    assert found["minutes"] == minutes
    hours = found["held"].tolist()
    assert hours[-2:] == ([code(122), 0] if minutes < 1440 else [code(122), code(124)]), "the 25th hour counts as the 24th"


def test_a_day_that_begins_before_the_last_one_ended_has_its_own_minutes_only():
    shapes = closed({7: every_minute(0, 1440, 100.0)})
    shapes.close(1, 1380, 2820, cells_of({7: every_minute(1380, 1500, 100.0)}), RULE)
    assert shape(shapes, 7, 1)["minutes"] == 60 and shapes.end_minute == 2820


def test_older_days_are_forgotten():
    shapes = closed({7: every_minute(0, 4 * 1440, 100.0, step=10)}, days=4)
    shapes.forget_before(2)
    assert sorted(set(shapes.days["day"].tolist())) == [2, 3]


def test_shapes_are_what_their_bytes_give():
    shapes = closed({7: every_minute(100, 200, 100.0), 300: {5: 1.0}})
    again = Shapes.from_bytes(shapes.to_bytes())
    assert again.days.tobytes() == shapes.days.tobytes() and again.days.dtype == SHAPE
    assert again.meter_ids.tolist() == [HOUSE, 7, 300] and (again.runs == shapes.runs).all() and again.to_bytes() == shapes.to_bytes()
    empty = Shapes.from_bytes(None)
    assert (empty.end_minute, len(empty.days), len(empty.runs)) == (NONE, 0, 0)
    assert Shapes.from_bytes(empty.to_bytes()).to_bytes() == empty.to_bytes()


def test_state_of_another_version_is_refused():
    with pytest.raises(StateFault, match="state version 9"):
        Shapes.from_bytes(lz4.block.compress(np.array([9, 0, 0], np.int32).tobytes()))


def test_a_day_without_a_reading_has_no_shape():
    shapes = Shapes()
    shapes.close(0, 0, 1440, Cells({}), RULE)
    assert len(shapes.days) == 0 and shapes.end_minute == 1440
