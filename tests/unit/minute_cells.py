"""Cells of a house's minutes by hand."""

from __future__ import annotations

import numpy as np

from jobs.core.cells import SPAN_MINUTES, Cells
from jobs.core.minutes import PART
from tests.unit.flink_stand_in import State


def parts(meters: dict) -> np.ndarray:
    """PART of {meter: {minute: watts, or (lowest, highest)}}."""
    rows = []
    for meter_id, minutes in meters.items():
        for minute, watts in minutes.items():
            low, high = watts if isinstance(watts, tuple) else (watts, watts)
            rows.append((0, meter_id, minute, 1, low, high, 0))
    return np.array(rows, PART)


def cells_of(meters: dict) -> Cells:
    """Cells of {meter: {minute: watts, or (lowest, highest)}}."""
    cells = Cells(State())
    cells.take(parts(meters))
    return cells


def cells_of_day(cells: Cells, day: int, meter_ids: list[int]) -> np.ndarray:
    """CELL (m, 1440): the cells of some meters, rising, in all minutes of a day."""
    spans = range(1440 * day // SPAN_MINUTES, 1440 * (day + 1) // SPAN_MINUTES)
    return np.concatenate([cells.block(span).with_meters(np.array(meter_ids, np.int32)).cells for span in spans], axis=1)


def every_minute(begin: int, end: int, watts, step: int = 1) -> dict:
    """{minute: watts} from begin to end, exclusive. watts: a number, or a function of the minute."""
    return {minute: watts(minute) if callable(watts) else watts for minute in range(begin, end, step)}
