"""Gathers the readings of houses into bursts.

A burst claims that its meters took no other readings in its span, so the spans of a meter must not overlap. The meters whose readings have
the time of their arrival share a burst: it starts where the one before ended, and ends after the newest reading that has arrived. Each
meter with times of its own has its own burst, which ends after its newest reading, because what the device sends next is later than that.
After a pause a burst starts with its first reading.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np

from gateway.disk_spool import BY_ARRIVAL
from gateway.source import Source
from smartmeter.arrays import Int32s, Ints, Rows
from smartmeter.local_days import NEVER
from smartmeter.messages.codec import Burst

LONGEST_PAUSE_MS = 1_800_000
"""A burst covers no pause longer than this, so that it may start an hour or more after the one before only as one that jumps."""

SET_BACK_MS = 60_000
"""A clock that was set back by more is followed. The jobs find what they have received before."""

Key = tuple[int, int]
"""(house, meter with times of its own); the meter 0 stands for all those without."""
OF_ALL = 0


class Gatherer:
    """Turns entries of the spool into bursts.

    timezones: house -> IANA time zone. sources: of the houses' meters. left_out: called with (reason, readings) for what no burst has.
    """

    def __init__(self, timezones: Mapping[int, str], sources: Iterable[Source], left_out: Callable[[str, int], None]):
        self._timezones, self._left_out = timezones, left_out
        self._by_arrival: dict[int, list[int]] = {}
        self._holds_s: dict[tuple[int, int], int] = {}
        for source in sources:
            self._holds_s[source.house_id, source.meter_id] = source.holds_s
            if not source.time:
                self._by_arrival.setdefault(source.house_id, []).append(source.meter_id)
        self._covered: dict[Key, int] = {}

    def go_on_from(self, other: Gatherer) -> None:
        """Take over how far the bursts of another one reach."""
        self._covered |= other._covered

    def bursts(self, entries: Rows) -> Iterator[Burst]:
        """The bursts of entries (gateway.disk_spool.ENTRY (n,)), in order of arrival. Calls of this method must follow that order, too."""
        for house_id in np.unique(entries["house_id"]).tolist():
            own = entries[entries["house_id"] == house_id]
            if house_id not in self._timezones:
                self._left_out("no house", len(own))
                continue
            by_arrival = own["device_ms"] == BY_ARRIVAL
            yield from self._burst((house_id, OF_ALL), own[by_arrival], own["arrived_ms"][by_arrival])
            others = own[~by_arrival]
            for meter_id in np.unique(others["meter_id"]).tolist():
                of_meter = others[others["meter_id"] == meter_id]
                yield from self._burst((house_id, meter_id), of_meter, of_meter["device_ms"])

    def _burst(self, key: Key, entries: Rows, times_ms: Ints) -> Iterator[Burst]:
        """The burst of some entries, if any of them is new."""
        if not len(entries):
            return
        house_id, meter_id = key
        covered_ms = self._covered.get(key, NEVER)
        if covered_ms - int(times_ms.max()) > SET_BACK_MS:
            covered_ms = NEVER
        order = np.lexsort((times_ms, entries["meter_id"]))  # stable: of two readings at the same time, the later one comes last
        meter_of, times_ms, watts = entries["meter_id"][order], times_ms[order], entries["watts"][order]
        is_last = np.append((meter_of[1:] != meter_of[:-1]) | (times_ms[1:] != times_ms[:-1]), True)
        is_new = is_last & (times_ms >= covered_ms)
        if repeated := len(order) - int(is_new.sum()):
            self._left_out("same time", repeated)
        meter_of, times_ms, watts = meter_of[is_new], times_ms[is_new], watts[is_new]
        if not len(times_ms):
            return
        first_ms, end_ms = int(times_ms.min()), int(times_ms.max()) + 1
        start_ms = first_ms if first_ms - covered_ms > LONGEST_PAUSE_MS else covered_ms
        self._covered[key] = end_ms
        listed = sorted({*meter_of.tolist(), *(self._by_arrival.get(house_id, ()) if meter_id == OF_ALL else ())})
        meter_ids = np.array(listed, np.int32)
        counts = (np.searchsorted(meter_of, meter_ids, "right") - np.searchsorted(meter_of, meter_ids)).astype(np.int32)
        holds_s = np.array([self._holds_s.get((house_id, listed_id), 0) for listed_id in listed], np.int32)
        yield Burst(
            house_id,
            self._timezones[house_id],
            start_ms,
            end_ms,
            1,
            meter_ids,
            counts,
            _deltas(meter_of, times_ms, start_ms),
            watts,
            holds_s=holds_s if holds_s.any() else holds_s[:0],
        )


def _deltas(meter_of: Int32s, times_ms: Ints, start_ms: int) -> Int32s:
    """The time since the same meter's reading before, or since the start, int32 (n,), ms."""
    deltas = np.diff(times_ms, prepend=start_ms)
    firsts = np.flatnonzero(np.diff(meter_of, prepend=-1))
    deltas[firsts] = times_ms[firsts] - start_ms
    return deltas.astype(np.int32)
