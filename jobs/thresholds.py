"""The thresholds job: topic readings -> topics thresholds, late and dead_letter.

    readings --> batches of sections with histograms of their power, a house each (flow.batches)
             --> Thresholds: a sketch of each meter and local day; when a day is over, a version of the house's
                 thresholds from the sketches of the last days (jobs.sketch, jobs.window)
             --> results
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from pyflink.common import Types
from pyflink.datastream.state import MapStateDescriptor, ValueStateDescriptor

from jobs import flow
from jobs.batches import Batch, Wanted
from jobs.house import BYTES, Change, Part
from jobs.integral import HouseDays, Rules, daily
from jobs.readings import NEVER, day_of, midnights
from jobs.sketch import Sketches
from jobs.window import Limits, Window
from smartmeter.settings import Settings


class Thresholds(Part):
    """A version of a house's thresholds for each local day, from the first one of which there are readings."""

    wanted = Wanted(histograms=True)

    def __init__(self, settings: Settings):
        self.rules = Rules.of(settings)
        self.limits = Limits.of(settings)
        self.window_days = settings.window_days

    def open(self, runtime_context):
        self.panes = runtime_context.get_map_state(MapStateDescriptor("panes", Types.LONG(), BYTES))
        self.window = runtime_context.get_state(ValueStateDescriptor("window", BYTES))

    def take(self, change: Change) -> Iterator[tuple[str, dict]]:
        self.count(change.batch, change.used)
        house = change.house
        if house.clock_ms == NEVER:
            return
        if state := self.window.value():
            window = Window.from_bytes(state)
            dates = range(window.date + 1, self.date_in_force(house, house.clock_ms) + 1)
            if not dates and house.clock_ms < window.valid_to_ms:
                return
        else:
            first = self.date_in_force(house, change.first_clock_ms)
            window = self.first_window(first)
            dates = range(first, self.date_in_force(house, house.clock_ms) + 1)
            window.valid_to_ms = self.ends_ms(house, first - 1)
            yield self.version(change, window, first - 1, [])
        totals = daily(house.sections, house.timezone, house.clock_ms, self.rules.max_gap_ms)
        totals = totals[totals["day"] > house.closed_day]
        for date in dates:
            while window.date < date:
                self.move(window, totals[totals["day"] == window.date])
            window.valid_from_ms, window.valid_to_ms = window.valid_to_ms, max(window.valid_to_ms, self.ends_ms(house, date))
            yield self.version(change, window, date, list(window.meters(self.limits)))
        if window.valid_to_ms <= house.clock_ms:  # the house has moved to a time zone further west: its day is longer
            window.valid_to_ms = self.ends_ms(house, window.date)
            yield self.version(change, window, window.date, list(window.meters(self.limits)))
        self.window.update(window.to_bytes())

    def date_in_force(self, house: HouseDays, time_ms: int) -> int:
        """The date of the version that is in force at a time: by then the day before has been closed."""
        return int(day_of(house.timezone, time_ms - self.rules.allowed_lateness_ms))

    def ends_ms(self, house: HouseDays, date: int) -> int:
        """When the version of a date goes out of force: its day has been closed by then."""
        return int(midnights(house.timezone)[date + 1]) + self.rules.allowed_lateness_ms

    def count(self, batch: Batch, used: np.ndarray) -> None:
        """Add the readings of the sections that are used to the panes of their days."""
        sections = batch.sections
        section = np.repeat(np.arange(len(sections)), sections["bins"])
        for day in np.unique(sections["day"][used]).tolist():
            here = (used & (sections["day"] == day))[section]
            new = Sketches.from_bins(sections["meter_id"][section[here]], batch.bin[here], batch.count[here])
            self.panes.put(day, self.pane(day).merge(new).to_bytes())

    def pane(self, day: int) -> Sketches:
        """The sketches of a local day."""
        state = self.panes.get(day)
        return Sketches.from_bytes(state) if state else Sketches.empty()

    def first_window(self, date: int) -> Window:
        """An empty window that ends a whole window before a date; panes of days before it are of no use."""
        window = Window(date - self.window_days)
        for day in [day for day in self.panes.keys() if day < window.date]:
            self.panes.remove(day)
        return window

    def move(self, window: Window, totals: np.ndarray) -> None:
        """Let the day window.date, which is over, enter the window, and leave it what is too old (more, once it is shorter)."""
        leaving = [day for day in self.panes.keys() if day <= window.date - self.window_days]
        left = Sketches.empty().merge(*map(self.pane, leaving))
        window.move(totals, self.pane(window.date), left, self.window_days, self.limits.on_watts)
        for day in leaving:
            self.panes.remove(day)

    def version(self, change: Change, window: Window, date: int, meters: list[dict]) -> tuple[str, dict]:
        """The version that comes into force on a date, for the topic and for the parts behind this one."""
        threshold = {
            "house_id": change.house_id, "date": date, "valid_from": window.valid_from_ms, "valid_to": window.valid_to_ms,
            "quantile": self.limits.quantile, "window_days": self.window_days, "meters": meters,
            "revision": change.house.next_revision(change.now_ms),
        }
        change.thresholds.append(threshold)
        return "thresholds", threshold


if __name__ == "__main__":
    flow.run("thresholds", lambda settings: [Thresholds(settings)])
