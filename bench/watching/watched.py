"""A house under watch: the alerts of its own days, and those of a run with a fault."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from bench.watching.core import UNSEEN, Core, State, alert_of
from bench.watching.faults import Fault, Placing, faults_of, injected
from bench.watching.scores import Alert, Outcome, Place, Quiet
from generator.houses import House, HouseDay, Readings
from smartmeter.arrays import Bools, Ints
from smartmeter.errors import UserError
from smartmeter.messages.records import AlertRecord

DayNumber = int
"""A local day, in days since 1970-01-01."""


@dataclass(frozen=True)
class Result:
    """What was found on a house. alerted: (house, day, meter) of each day with an alert; judged: (house, day) of the days after the warm-up."""

    house: House
    first: date
    last: date
    days: int
    quiet: Quiet
    alerted: Sequence[Place]
    judged: Sequence[tuple[str, DayNumber]]
    outcomes: Sequence[Outcome]


class Watched:
    """A house with its readings in memory. The jobs take its days once; a run with a fault goes on from the state before the fault's day."""

    def __init__(self, house: House, warm_up_days: int, labelled: Iterable[DayNumber] = ()):
        self.house, self.name = house, house.source
        self.days = list(house.days(date.min, date.max))
        if not self.days:
            raise UserError(f"{house.source}: no readings in it; remove the house, or add its readings")
        self.starts_ms, self.ends_ms = (np.array([getattr(day, name) for day in self.days], np.int64) for name in ("start_ms", "end_ms"))
        self.numbers = [number(day.date) for day in self.days]
        self.warm = np.arange(len(self.days)) >= warm_up_days
        self.quiet = self.warm & ~np.isin(self.numbers, list(labelled))
        self.mains = [meter.meter_id for meter in house.meters if meter.kind == "mains"]
        self.alerts: list[Alert] = []
        self._states: list[State] = []  # before each day

    def watch(self, core: Core) -> Iterator[None]:
        """Run the jobs over all days. Yields after each."""
        state, sent = UNSEEN, list[AlertRecord]()
        for day in self.days:
            self._states.append(state)
            alerts, state = core.take(self.house, day, state)
            sent += alerts
            yield
        self.alerts = last_of_each(sent)

    def faults(self, placing: Placing) -> list[Fault]:
        """The faults of all meters."""
        return [
            fault
            for meter, readings in zip(self.house.meters, self._readings(self.days))
            for fault in faults_of(self.name, meter, readings, self.is_quiet, placing)
        ]

    def is_quiet(self, times_ms: Ints) -> Bools:
        """Whether each time lies in a day on which faults are injected and alerts count as false."""
        day = self.day_at(times_ms)
        within: Bools = (day >= 0) & (times_ms < self.ends_ms[day]) & self.quiet[day]
        return within

    def day_at(self, times_ms: Ints) -> Ints:
        """Index of the last day that begins by each time; -1 before the first."""
        return np.searchsorted(self.starts_ms, times_ms, side="right") - 1

    def outcome(self, core: Core, fault: Fault) -> Outcome:
        """Run the jobs with a fault, from the fault's first day to the day after its last."""
        first, last = self.day_at(np.array([fault.start_ms, fault.end_ms])).tolist()
        days, state, sent = self.days[first : last + 2], self._states[first], list[AlertRecord]()
        for day in self._with_fault(fault, days):
            alerts, state = core.take(self.house, day, state)
            sent += alerts
        without = [alert for alert in self.alerts if alert.end_ms >= fault.start_ms and alert.start_ms < days[-1].end_ms]
        return Outcome.of(self.name, fault.meter_id, fault.kind.name, fault.start_ms, fault.end_ms, last_of_each(sent), without)

    def _with_fault(self, fault: Fault, days: Sequence[HouseDay]) -> Iterable[HouseDay]:
        meter_ids = [meter.meter_id for meter in self.house.meters]
        changed = injected(fault, dict(zip(meter_ids, self._readings(days))), self.mains)
        for day in days:
            own = [of_day(changed[meter_id], day) if meter_id in changed else as_is for meter_id, as_is in zip(meter_ids, day.readings)]
            yield HouseDay(day.date, day.start_ms, day.end_ms, own)

    def _readings(self, days: Sequence[HouseDay]) -> list[Readings]:
        """The readings of each meter over some days."""
        of_meter = zip(*(day.readings for day in days))
        return [(np.concatenate([times for times, _ in of_days]), np.concatenate([watts for _, watts in of_days])) for of_days in of_meter]

    def quiet_alerts(self) -> Quiet:
        """The alerts that count as false."""
        starts_ms = np.array([alert.start_ms for alert in self.alerts], np.int64)
        counted = self.is_quiet(starts_ms)
        index = np.cumsum(self.quiet) - 1
        alerts = [alert for alert, is_counted in zip(self.alerts, counted.tolist()) if is_counted]
        return Quiet(self.name, int(self.quiet.sum()), alerts, index[self.day_at(starts_ms[counted])].tolist())

    def alerted(self) -> Iterable[Place]:
        """(house, day, meter) of each day that an alert touches."""
        for alert in self.alerts:
            first, last = self.day_at(np.array([alert.start_ms, max(alert.start_ms, alert.end_ms - 1)])).tolist()
            for day in range(first, last + 1):
                yield self.name, self.numbers[day], alert.meter_id

    def result(self, outcomes: Sequence[Outcome]) -> Result:
        """What was found, without the readings."""
        judged = [(self.name, day) for day, is_warm in zip(self.numbers, self.warm.tolist()) if is_warm]
        return Result(
            self.house, self.days[0].date, self.days[-1].date, len(self.days), self.quiet_alerts(), list(self.alerted()), judged, outcomes
        )


def last_of_each(sent: Iterable[AlertRecord]) -> list[Alert]:
    """The alerts as of their last message, without those that were retracted."""
    newest: Mapping[str, AlertRecord] = {record["alert_id"]: record for record in sent}
    return [alert_of(record) for record in newest.values() if not record["retracted"]]


def of_day(readings: Readings, day: HouseDay) -> Readings:
    """The readings of a day."""
    times, watts = readings
    begin, end = np.searchsorted(times, [day.start_ms, day.end_ms]).tolist()
    return times[begin:end], watts[begin:end]


def number(day: date) -> DayNumber:
    """The number of a day."""
    return (day - date(1970, 1, 1)).days
