"""The daily energy job: topic readings -> topics daily_energy, late and dead_letter.

readings --> batches of sections, a house each (kafka_tables.batches)
         --> DailyEnergy: the energy of each meter and local day, and of the hours of that day (jobs.core.hours);
             early results during the day, final ones when it is over
         --> results
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from jobs.core.energy import kwh
from jobs.core.episodes import Runs, Spell, glitches, noted
from jobs.core.glitches import taken_from
from jobs.core.hours import Hours, gained, places, summed
from jobs.core.house_days import HouseDays, Rules
from jobs.core.local_hours import clock_hour
from jobs.core.registers import HouseRegisters, known, taken
from jobs.core.rows import picked, stacked
from jobs.core.stage import NO_GLITCHES, Change, Stage
from jobs.core.state import HouseState
from jobs.core.sum_check import NO_REGISTER, Both, days_of_registers, decided
from jobs.core.totals import held_by_hour
from jobs.flink import flow
from smartmeter import reports
from smartmeter.arrays import Rows
from smartmeter.local_days import midnights
from smartmeter.messages.records import Result
from smartmeter.settings import Settings


class HourColumns(TypedDict):
    """The fields of schema daily_energy about hours."""

    hour_starts: list[int]
    hours: list[int]
    hour_kwh: list[float]
    hour_covered_s: list[float]
    hour_exported_kwh: list[float]


class DailyEnergy(Stage):
    """Emits the energy of each meter and day, and of its hours: immediately when a day is over, else about emit_every_s after a change."""

    def __init__(self, settings: Settings):
        self.rules, self.spell = Rules.of(settings), Spell.of(settings)
        self.counts_glitches = settings.rules.glitch_energy
        self.max_connection_w = round(settings.rules.max_connection_kw * 1000)

    def take(self, change: Change) -> Iterator[Result]:
        """Yield results if the batch ends a day; else set Change.wake for early ones."""
        hours, batch, house = Hours(change.state), change.batch, change.house
        hours.add(gained(batch.sections, change.used, batch.hours, change.joined, house.timezone), house.clock_ms)
        registers = taken(change, self.rules, self.max_connection_w)
        if change.closes_a_day:
            yield from self.results(change.house_id, house, hours, registers, change.glitches, change.now_ms)
            for every in (hours, *(own.hours for own in registers.values())):
                every.remove_through(house.over_by_now(self.rules))
        elif change.all_sent_before and not house.all_sent:
            change.wake = True
        hours.keep()
        for own in registers.values():
            own.keep()

    def wake(self, state: HouseState, house: HouseDays, now_ms: int, ended: bool) -> Iterator[Result]:
        """Yield early results of the open days."""
        if ended or not house.all_sent:
            runs = None if self.counts_glitches else state.get("runs")
            alone = glitches(noted(Runs.from_bytes(runs).episodes(house.clock_ms, self.spell))) if runs else NO_GLITCHES
            registers = known(state, house, self.max_connection_w)
            yield from self.results(state.house_id, house, Hours(state), registers, alone, now_ms, ended)

    def results(
        self,
        house_id: int,
        house: HouseDays,
        hours: Hours,
        registers: dict[int, HouseRegisters],
        alone: Rows,
        now_ms: int,
        ended: bool = False,
    ) -> Iterator[Result]:
        """Yield the results of open days that changed or are over. alone: the house's glitches (EPISODE); ended: see HouseDays.results."""
        by_register = {quantity: own.every_hour(house.timezone) for quantity, own in registers.items()}
        rows, final = house.results(self.rules, days_of_registers(by_register) if by_register else None, ended)
        bounds, revision = midnights(house.timezone), house.next_revision(now_ms)
        held = held_by_hour(house.sections, house.timezone, house.clock_ms, self.rules.max_sample_period_ms)
        if len(alone) and not self.counts_glitches:
            held = stacked(held, taken_from(rows, alone, house.sections, house.timezone, self.spell))
        by_power, both = summed(hours.of_days(rows["day"].tolist()), held), dict[tuple[int, int], Both]()
        if by_register:
            rows, by_power, both = decided(rows, by_power, by_register, bounds, house.running_ms)
        by_hour = hour_columns(rows, by_power, house.timezone)
        columns = zip(
            rows[["meter_id", "day", "readings", "duplicates", "refused", "covered_ms", "max_gap_ms", "gaps"]].tolist(),
            kwh(rows["energy_mj"], rows["energy_rest"]).tolist(),
            kwh(rows["exported_mj"], rows["exported_rest"]).tolist(),
            final.tolist(),
            by_hour,
        )
        for (
            meter_id,
            day,
            readings,
            duplicates,
            refused,
            covered_ms,
            max_gap_ms,
            gaps,
        ), drawn_kwh, exported_kwh, is_final, of_hours in columns:
            yield (
                "daily_energy",
                {
                    "house_id": house_id,
                    "meter_id": meter_id,
                    "date": day,
                    "kwh": drawn_kwh,
                    "readings": readings,
                    "duplicates": duplicates,
                    "covered_s": covered_ms / 1000,
                    "max_gap_s": max_gap_ms / 1000,
                    "day_s": int(bounds[day + 1] - bounds[day]) // 1000,
                    "final": is_final,
                    "revision": revision,
                    "refused": refused,
                    "exported_kwh": exported_kwh,
                    "gaps": gaps,
                    **of_hours,
                    **both.get((meter_id, day), NO_REGISTER),
                },
            )


def hour_columns(rows: Rows, hours: Rows, timezone: str) -> Iterator[HourColumns]:
    """Yield the fields of schema daily_energy about hours, for each row (RESULT). rows, hours (HOUR): sorted by meter and day.

    The fields are empty if the hours do not add up to the day, because a release that did not store hours received part of it.
    """
    hours = picked(hours, (hours["covered_ms"] > 0) | (hours["energy_mj"] > 0) | (hours["exported_mj"] > 0))
    starts, covered_s = hours["start_ms"].tolist(), hours["covered_ms"] / 1000
    drawn_kwh, exported_kwh = (kwh(hours[f"{way}_mj"], hours[f"{way}_rest"]) for way in ("energy", "exported"))
    for some in (slice(*of_row) for of_row in places(rows, hours).tolist()):
        yield {
            "hour_starts": starts[some],
            "hours": [clock_hour(timezone, start) for start in starts[some]],
            "hour_kwh": drawn_kwh[some].tolist(),
            "hour_covered_s": covered_s[some].tolist(),
            "hour_exported_kwh": exported_kwh[some].tolist() if exported_kwh[some].any() else [],
        }


def alone(settings: Settings) -> list[Stage]:
    """The stages of this job. Exits the process if they need those of the pipeline."""
    if not settings.rules.glitch_energy:
        sys.exit(
            reports.fail(
                "smw", "SMW_GLITCH_ENERGY=False: the job daily_energy alone finds no glitches; start the job pipeline in its place"
            )
        )
    return [DailyEnergy(settings)]


if __name__ == "__main__":
    flow.run("daily_energy", alone)
