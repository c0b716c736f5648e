"""Gathers the readings of houses into bursts.

A burst claims that its channels took no other readings in its span, so the spans of a channel must not overlap. The channels whose readings
have the time of their arrival share a burst: it starts where the one before ended, and ends after the newest reading that has arrived. Each
meter with times of its own has its own burst, which ends after its newest reading, because what the device sends next is later than that.
After a pause a burst starts with its first reading.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Set

import numpy as np

from gateway.disk_spool import BY_ARRIVAL
from gateway.source import Source
from smartmeter.arrays import Int32s, Ints, Rows
from smartmeter.local_days import NEVER
from smartmeter.messages.codec import POWER, Burst
from smartmeter.settings import DAY_MS

LONGEST_PAUSE_MS = 1_800_000
"""A burst covers no pause longer than this, so that it may start an hour or more after the one before only as one that jumps."""

LONGEST_SPAN_MS = DAY_MS
"""A burst has readings of no longer a time: the jobs refuse longer ones, and Kafka may be away for weeks."""

SET_BACK_MS = 60_000
"""A clock that was set back by more is followed. The jobs find what they have received before."""

Key = tuple[int, int]
"""(house, meter with times of its own); the meter 0 stands for all those without."""
OF_ALL = 0
Channel = tuple[int, int]
"""(meter, quantity)."""


class Gatherer:
    """Turns entries of the spool into bursts.

    timezones: house -> IANA time zone. sources: of the houses' meters. left_out: called with (reason, readings) for what no burst has.
    """

    def __init__(self, timezones: Mapping[int, str], sources: Iterable[Source], left_out: Callable[[str, int], None]):
        self._timezones, self._left_out = timezones, left_out
        self._holds_s: dict[tuple[int, int, int], int] = {}
        self._listed: dict[Key, set[Channel]] = defaultdict(set)
        self._optional: dict[Key, set[Channel]] = defaultdict(set)
        for source in sources:
            self._holds_s[source.house_id, source.meter_id, source.quantity] = source.holds_s
            some = self._optional if source.is_optional else self._listed
            some[source.house_id, source.meter_id if source.time else OF_ALL].add((source.meter_id, source.quantity))
        self._covered: dict[Key, int] = {}

    def go_on_from(self, other: Gatherer) -> None:
        """Take over how far the bursts of another one reach, and which optional channels have sent something."""
        self._covered |= other._covered
        for key, channels in other._listed.items():
            self._list(key, channels)

    def _list(self, key: Key, channels: Set[Channel]) -> None:
        """List optional channels from now on: they have sent something."""
        self._listed[key] |= self._optional[key] & channels

    def bursts(self, entries: Rows) -> Iterator[Burst]:
        """The bursts of entries (gateway.disk_spool.ENTRY (n,)), in order of arrival. Calls of this method must follow that order, too."""
        for house_id in np.unique(entries["house_id"]).tolist():
            own = entries[entries["house_id"] == house_id]
            if house_id not in self._timezones:
                self._left_out("no house", len(own))
                continue
            by_arrival = own["device_ms"] == BY_ARRIVAL
            yield from self._bursts((house_id, OF_ALL), own[by_arrival], own["arrived_ms"][by_arrival])
            others = own[~by_arrival]
            for meter_id in np.unique(others["meter_id"]).tolist():
                of_meter = others[others["meter_id"] == meter_id]
                yield from self._bursts((house_id, meter_id), of_meter, of_meter["device_ms"])

    def _bursts(self, key: Key, entries: Rows, times_ms: Ints) -> Iterator[Burst]:
        """The bursts of some entries: mostly one, and none if nothing is new."""
        if not len(entries):
            return
        covered_ms = self._covered.get(key, NEVER)
        if covered_ms - int(times_ms.max()) > SET_BACK_MS:
            covered_ms = NEVER
        order = np.lexsort(
            (times_ms, entries["quantity"], entries["meter_id"])
        )  # stable: of two at the same time, the later one comes last
        entries, times_ms = entries[order], times_ms[order]
        numbers = _numbers(entries["meter_id"], entries["quantity"])
        is_last = np.append((numbers[1:] != numbers[:-1]) | (times_ms[1:] != times_ms[:-1]), True)
        is_new = is_last & (times_ms >= covered_ms)
        if repeated := len(order) - int(is_new.sum()):
            self._left_out("same time", repeated)
        if not is_new.any():
            return
        entries, times_ms = entries[is_new], times_ms[is_new]
        first_ms = int(times_ms.min())
        fits = times_ms - first_ms < LONGEST_SPAN_MS
        start_ms, end_ms = first_ms if first_ms - covered_ms > LONGEST_PAUSE_MS else covered_ms, int(times_ms[fits].max()) + 1
        self._covered[key] = end_ms
        yield self._of(key, start_ms, end_ms, entries[fits], times_ms[fits])
        yield from self._bursts(key, entries[~fits], times_ms[~fits])

    def _of(self, key: Key, start_ms: int, end_ms: int, entries: Rows, times_ms: Ints) -> Burst:
        """The burst of entries that are sorted by meter, quantity and time."""
        house_id, _ = key
        found = set(zip(entries["meter_id"].tolist(), entries["quantity"].tolist()))
        self._list(key, found)
        channels = sorted(self._listed[key] | found)
        meter_ids, quantities = np.array(channels, np.int32).T.copy()
        numbers, number = _numbers(entries["meter_id"], entries["quantity"]), _numbers(meter_ids, quantities)
        holds_s = np.array([self._holds_s.get((house_id, *channel), 0) for channel in channels], np.int32)
        is_power = entries["quantity"] == POWER
        return Burst(
            house_id,
            self._timezones[house_id],
            start_ms,
            end_ms,
            1,
            meter_ids,
            (np.searchsorted(numbers, number, "right") - np.searchsorted(numbers, number)).astype(np.int32),
            _differences(numbers, times_ms, start_ms).astype(np.int32),
            entries["watts"][is_power],
            quantities if quantities.any() else quantities[:0],
            holds_s if holds_s.any() else holds_s[:0],
            _differences(numbers[~is_power], entries["mwh"][~is_power], 0),
        )


def _numbers(meter_ids: Int32s, quantities: Int32s) -> Ints:
    """A number for each channel, which rises by meter and quantity: int64 (n,)."""
    return meter_ids.astype(np.int64) << 2 | quantities


def _differences(numbers: Ints, values: Ints, start: int) -> Ints:
    """The differences of values (n,) from the same channel's before, of its first one from the start. numbers: of their channels, rising."""
    differences = np.diff(values, prepend=start)
    firsts = np.flatnonzero(np.diff(numbers, prepend=-1))
    differences[firsts] = values[firsts] - start
    return differences
