"""Records of the topic `late`: readings that could not be used, with their message's partition and offset."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from jobs.core.energy import kwh
from jobs.core.house_days import FRESH, LATE, OVERLAPPING, HouseDays
from jobs.core.stage import Change
from smartmeter.arrays import Rows
from smartmeter.messages.records import Result

REFUSALS = {LATE: "its day was closed", OVERLAPPING: "it covers in part what was received before"}


def refusals(change: Change) -> Iterator[Result]:
    """Records of `late` for the refused sections of a batch."""
    if change.verdict.max(initial=FRESH) >= min(REFUSALS):
        for refusal, reason in REFUSALS.items():
            yield from refused(change.house_id, change.house, change.batch.sections[change.verdict == refusal], reason)


def refused(house_id: int, house: HouseDays, sections: Rows, reason: str) -> Iterator[Result]:
    """A record of `late` for each message and day in the sections (ARRIVED)."""
    sections = sections[sections["readings"] + sections["refused"] > 0]
    places = np.unique(sections[["partition", "offset", "day"]])
    for place in places.tolist():
        own = sections[sections[["partition", "offset", "day"]] == np.array(place, places.dtype)]
        partition, offset, day = place
        yield (
            "late",
            {
                "partition": partition,
                "offset": offset,
                "house_id": house_id,
                "date": day,
                "start": int(own["start_ms"].min()),
                "end": int(own["end_ms"].max()),
                "readings": int(own["readings"].sum() + own["refused"].sum()),
                "kwh": float(kwh(own["energy_mj"].sum(), own["energy_rest"].sum())),
                "house_time": house.clock_ms,
                "reason": reason,
            },
        )
