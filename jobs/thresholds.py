"""The thresholds job: topics readings and houses (the kinds of meters) -> topics thresholds, late and dead_letter.

readings --> batches of sections with histograms of their power, a house each (kafka_tables.batches)
         --> Thresholds: a sketch for each meter and local day; when a day is over, a new version of the house's
             thresholds from the sketches of the last days (jobs.core.sketch, jobs.core.window)
         --> results
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from jobs.core.batches import Wanted
from jobs.core.cells import HOUSE, Cells
from jobs.core.house_days import HouseDays, Rules
from jobs.core.open_runs import Rule
from jobs.core.panes import Panes
from jobs.core.rows import picked
from jobs.core.shapes import Shapes
from jobs.core.stage import Change, Stage
from jobs.core.totals import daily
from jobs.core.usual import house_silence
from jobs.core.window import Limits, Window
from jobs.flink import flow
from smartmeter.arrays import Rows
from smartmeter.local_days import NEVER, day_of, midnights
from smartmeter.messages.records import Result, ThresholdRecord
from smartmeter.settings import MINUTE_MS, Settings


class Thresholds(Stage):
    """Emits a version of a house's thresholds for each local day with readings. Days without readings share one."""

    wanted = Wanted(histograms=True, minutes=True)
    makes_thresholds = True

    def __init__(self, settings: Settings):
        self.rules = Rules.of(settings)
        self.limits, self.duration_rule = Limits.of(settings), Rule.of(settings)

    def take(self, change: Change) -> Iterator[Result]:
        """Add the batch to the panes. Yield the versions whose dates have begun."""
        panes, batch = Panes(change.state), change.batch
        panes.add(batch.sections, change.used, batch.bin, batch.count)
        if change.closes_a_day or len(change.settled):
            self.close_shapes(change, change.cells)
        if change.house.clock_ms >= panes.due_ms or change.house.timezone != change.zone_before:
            yield from self.move_on(change, panes)
        panes.keep()

    def move_on(self, change: Change, panes: Panes) -> Iterator[Result]:
        """Yield the versions of the dates that have begun on the house's clock."""
        house = change.house
        if house.clock_ms == NEVER:
            return
        totals = daily(house.sections, house.timezone, house.clock_ms, self.rules.max_sample_period_ms)
        totals = picked(totals, totals["day"] > house.closed_day)
        clocks_ms = np.array(change.clocks_ms, np.int64)
        visited = sorted(set(day_of(house.timezone, clocks_ms - self.rules.allowed_lateness_ms).tolist()))
        if state := change.state.get("window"):
            window = Window.from_bytes(state)
            last = window.date
        else:
            last = visited[0] - 1
            window = self.first_window(visited[0], panes, totals)
            window.valid_to_ms = self.ends_ms(house, last)
            yield self.version(change, window, last)
        for date in self.dates_of_versions(house, last, visited, totals["day"][totals["readings"] > 0].tolist()):
            self.move(window, date, totals, panes)
            window.valid_from_ms, window.valid_to_ms = window.valid_to_ms, max(window.valid_to_ms, self.ends_ms(house, date))
            yield self.version(change, window, date)
        if window.valid_to_ms <= house.clock_ms:  # the house moved to a time zone further west, so its day is longer
            window.valid_to_ms = self.ends_ms(house, window.date)
            yield self.version(change, window, window.date)
        panes.due_ms = min(self.ends_ms(house, window.date), window.valid_to_ms)
        change.state.put("window", window.to_bytes())

    def close_shapes(self, change: Change, cells: Cells) -> None:
        """Add the shapes of the days that the batch closes."""
        house, over = change.house, change.house.over_by_now(self.rules)
        if over <= house.closed_day:
            return
        shapes = Shapes.from_bytes(change.state.get("shapes"))
        shapes.forget_before(house.closed_day + 1 - self.limits.limit_days)
        for day in cells.local_days(house.timezone):
            if house.closed_day < day <= over:
                begin_minute, end_minute = (midnights(house.timezone)[day : day + 2] // MINUTE_MS).tolist()
                shapes.close(day, begin_minute, end_minute, cells, self.duration_rule)
        change.state.put("shapes", shapes.to_bytes())

    def shapes_before(self, change: Change, date: int) -> Rows:
        """SHAPE of the limit_days before a date."""
        days = Shapes.from_bytes(change.state.get("shapes")).days
        return picked(days, (days["day"] < date) & (days["day"] >= date - self.limits.limit_days))

    def date_in_force(self, house: HouseDays, time_ms: int) -> int:
        """The date of the version in force at a time. The day before that date is closed by then."""
        return int(day_of(house.timezone, time_ms - self.rules.allowed_lateness_ms))

    def dates_of_versions(self, house: HouseDays, last: int, visited: list[int], days: list[int]) -> list[int]:
        """The dates after `last` that need a version of their own, rising. Each other date shares that of the next date that has one.

        visited: dates whose version was in force after a burst, rising; days: local days with readings. A date needs a version if it
        judges readings of such a day, or may judge readings that arrive later: those of a visited date, whose day is open.
        """
        own = {date for day in days for date in self.dates_judging(house, day)}
        own |= {date for open_day in visited for date in range(self.dates_judging(house, open_day).start, open_day + 1)}
        return sorted(date for date in own if last < date <= visited[-1])

    def dates_judging(self, house: HouseDays, day: int) -> range:
        """The dates whose versions are in force during a local day. With an hour of lateness: the date before for an hour, then its own."""
        begin_ms, end_ms = midnights(house.timezone)[day : day + 2].tolist()
        return range(self.date_in_force(house, begin_ms), self.date_in_force(house, end_ms - 1) + 1)

    def ends_ms(self, house: HouseDays, date: int) -> int:
        """When the version of a date stops being in force. That day is closed by then."""
        return int(midnights(house.timezone)[date + 1]) + self.rules.allowed_lateness_ms

    def first_window(self, date: int, panes: Panes, totals: Rows) -> Window:
        """An empty window that ends before the first day with data, at most limit_days before a date. Older panes are dropped."""
        window = Window(max(date - self.limits.limit_days, min([date, *panes.days, *totals["day"].tolist()])))
        panes.remove_before(window.date)
        return window

    def move(self, window: Window, date: int, totals: Rows, panes: Panes) -> None:
        """Advance the window to a date: add the days before it, and subtract those that are too old (several if window_days shrank)."""
        for day in sorted({*panes.days, *totals["day"].tolist()}):
            if window.date <= day < date:
                self.skip(window, day, panes)
                leaving = panes.remove_before(day - self.limits.window_days + 1)
                window.move(picked(totals, totals["day"] == day), panes.merge(day), leaving, self.limits)
        self.skip(window, date, panes)

    def skip(self, window: Window, date: int, panes: Panes) -> None:
        """Advance the window to a date over days without readings."""
        if window.date < date:
            window.skip(date, panes.remove_before(date - self.limits.window_days), self.limits)

    def version(self, change: Change, window: Window, date: int) -> Result:
        """(topic, record) of the version that comes into force on a date. Later stages find the record in change.thresholds."""
        shapes = self.shapes_before(change, date)
        threshold: ThresholdRecord = {
            "house_id": change.house_id,
            "date": date,
            "valid_from": window.valid_from_ms,
            "valid_to": window.valid_to_ms,
            "quantile": self.limits.quantile,
            "window_days": self.limits.window_days,
            "meters": list(window.meters(self.limits, shapes, change.kinds_of(change.house_id))),
            "revision": change.house.next_revision(change.now_ms),
            "longest_silence_minutes": house_silence(picked(shapes, shapes["meter_id"] == HOUSE), self.limits.usual_days),
        }
        change.thresholds.append(threshold)
        return "thresholds", threshold


if __name__ == "__main__":
    flow.run("thresholds", lambda settings: [Thresholds(settings)])
