"""The daily energy job: topic readings -> topics daily_energy, late and dead_letter.

    readings --> batches of sections, a house each (flow.batches)
             --> DailyEnergy: the energy of each meter and local day, early while the day runs, final when it is over
             --> results
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from jobs import flow
from jobs.house import Change, HouseState, Part
from jobs.integral import HouseDays, Rules, kwh
from jobs.readings import midnights
from smartmeter.settings import Settings


class DailyEnergy(Part):
    """Energy of each meter and day: at once when a day is over, else at most emit_every_s after a change."""

    def __init__(self, settings: Settings):
        self.rules = Rules.of(settings)

    def take(self, change: Change) -> Iterator[tuple[str, dict]]:
        if change.closes_a_day:
            yield from self.results(change.house_id, change.house, change.now_ms)
        elif change.all_sent_before and not change.house.all_sent:
            change.wake = True

    def wake(self, state: HouseState, house: HouseDays, now_ms: int, ended: bool) -> Iterator[tuple[str, dict]]:
        if not house.all_sent:
            yield from self.results(state.house_id, house, now_ms)

    def results(self, house_id: int, house: HouseDays, now_ms: int) -> Iterator[tuple[str, dict]]:
        rows, final = house.results(self.rules)
        bounds, revision = midnights(house.timezone), house.next_revision(now_ms)
        columns = zip(rows[["meter_id", "day", "readings", "duplicates", "refused", "covered_ms", "max_gap_ms"]].tolist(),
                      kwh(rows["energy_mj"], rows["energy_rest"]).tolist(), final.tolist())
        for (meter_id, day, readings, duplicates, refused, covered_ms, max_gap_ms), energy_kwh, is_final in columns:
            yield "daily_energy", {
                "house_id": house_id, "meter_id": meter_id, "date": day, "kwh": energy_kwh, "readings": readings, "duplicates": duplicates,
                "covered_s": covered_ms / 1000, "max_gap_s": max_gap_ms / 1000,
                "day_s": int(bounds[day + 1] - bounds[day]) // 1000, "final": is_final, "revision": revision,
                "refused": refused,
            }


if __name__ == "__main__":
    flow.run("daily_energy", lambda settings: [DailyEnergy(settings)])
