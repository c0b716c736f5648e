"""Scores of alerts: false alarms a week, injected faults found and how soon, and labelled days."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from bench.watching.intervals import weekly, wilson
from generator.faults import belongs


@dataclass(frozen=True)
class Alert:
    """An alert in [start_ms, end_ms). opened_ms: when a user can first see it."""

    kind: str
    meter_id: int
    start_ms: int
    end_ms: int
    opened_ms: int

    def is_in(self, others: Iterable[Alert]) -> bool:
        """Whether it begins during another alert of its kind and meter."""
        return any(
            (self.kind, self.meter_id) == (other.kind, other.meter_id) and other.start_ms <= self.start_ms <= other.end_ms
            for other in others
        )


def raised(start_ms: int, end_ms: int, alerts: Iterable[Alert], without: Sequence[Alert]) -> list[Alert]:
    """The alerts that a fault in [start_ms, end_ms) raises, in the order in which they open.

    Such an alert overlaps the fault and the time of tolerance after it, and does not begin during an alert of its kind and meter in the run
    without the fault.
    """
    near = (alert for alert in alerts if belongs(alert.start_ms, alert.end_ms, start_ms, end_ms))
    return sorted((alert for alert in near if not alert.is_in(without)), key=lambda alert: (alert.opened_ms, alert.meter_id, alert.kind))


@dataclass(frozen=True)
class Outcome:
    """What became of an injected fault. found_by: the kind of the first alert of its own meter; elsewhere: another meter had one.

    after_end: the alert begins only when the fault has ended. in_alert: the fault begins during an alert of its meter in the run without it.
    """

    house: str
    meter_id: int
    fault: str
    start_ms: int
    found_by: str | None
    delay_s: float | None
    after_end: bool
    elsewhere: bool
    in_alert: bool

    @classmethod
    def of(
        cls, house: str, meter_id: int, fault: str, start_ms: int, end_ms: int, alerts: Iterable[Alert], without: Sequence[Alert]
    ) -> Outcome:
        """The outcome of a fault in [start_ms, end_ms), from the alerts of the runs with it and without it."""
        alerts = raised(start_ms, end_ms, alerts, without)
        own = next((alert for alert in alerts if alert.meter_id == meter_id), None)
        delay_s = (own.opened_ms - start_ms) / 1000 if own else None
        after_end = own is not None and own.start_ms > start_ms and own.start_ms >= end_ms
        elsewhere = any(alert.meter_id != meter_id for alert in alerts)
        in_alert = any(alert.meter_id == meter_id and alert.start_ms <= start_ms < alert.end_ms for alert in without)
        return cls(house, meter_id, fault, start_ms, own.kind if own else None, delay_s, after_end, elsewhere, in_alert)


@dataclass(frozen=True)
class Recall:
    """How many faults were found. house, meter_id: None for all; delay_s: median of those found."""

    fault: str
    house: str | None
    meter_id: int | None
    faults: int
    found: int
    share: float
    low: float
    high: float
    delay_s: float | None
    found_by: dict[str, int]
    after_end: int
    """Of those found, the faults whose alert begins only when they have ended."""
    missed_in_alert: int
    """Of those missed, the faults that begin during an alert of their meter."""
    only_elsewhere: int
    """Faults for which only other meters had an alert."""


def recall(fault: str, outcomes: Sequence[Outcome], house: str | None = None, meter_id: int | None = None) -> Recall:
    """The recall of one kind of fault, from its outcomes (at least one)."""
    found = [outcome for outcome in outcomes if outcome.found_by is not None]
    delays = [outcome.delay_s for outcome in found if outcome.delay_s is not None]
    return Recall(
        fault,
        house,
        meter_id,
        len(outcomes),
        len(found),
        len(found) / len(outcomes),
        *wilson(len(found), len(outcomes)),
        statistics.median(delays) if delays else None,
        dict(sorted(Counter(outcome.found_by for outcome in found if outcome.found_by).items())),
        sum(outcome.after_end for outcome in found),
        sum(outcome.in_alert and outcome.found_by is None for outcome in outcomes),
        sum(outcome.elsewhere and outcome.found_by is None for outcome in outcomes),
    )


def recalls(outcomes: Sequence[Outcome], faults: Iterable[str]) -> Iterator[Recall]:
    """For each of these kinds of fault that has outcomes: of all houses, then of each house, then of each of its meters."""
    for fault in faults:
        of_fault = [outcome for outcome in outcomes if outcome.fault == fault]
        if of_fault:
            yield recall(fault, of_fault)
        for house in dict.fromkeys(outcome.house for outcome in of_fault):
            of_house = [outcome for outcome in of_fault if outcome.house == house]
            yield recall(fault, of_house, house)
            for meter_id in dict.fromkeys(outcome.meter_id for outcome in of_house):
                yield recall(fault, [outcome for outcome in of_house if outcome.meter_id == meter_id], house, meter_id)


@dataclass(frozen=True)
class FalseAlarms:
    """False alarms of a house, or of one kind on one meter of it. house, meter_id, kind: None for all."""

    house: str | None
    meter_id: int | None
    kind: str | None
    alarms: int
    weekly: float
    low: float
    high: float


@dataclass(frozen=True)
class Quiet:
    """The days of a house on which every alert counts as false, and the alerts that begin on them. day: of each alert, an index of days."""

    house: str
    days: int
    alerts: Sequence[Alert]
    day: Sequence[int]

    def by_day(self, meter_id: int | None = None, kind: str | None = None) -> list[int]:
        """The number of alerts of each day; of one kind on one meter, or of all."""
        counts = [0] * self.days
        for alert, day in zip(self.alerts, self.day):
            counts[day] += meter_id in (None, alert.meter_id) and kind in (None, alert.kind)
        return counts


def false_alarms(houses: Sequence[Quiet], seed: int) -> Iterator[FalseAlarms]:
    """Of all houses, also by kind; then of each house; then of each of its meters and kinds that have any. Each house has days."""

    def row(of: Sequence[Quiet], house: str | None = None, meter_id: int | None = None, kind: str | None = None) -> FalseAlarms:
        counts = [count for quiet in of for count in quiet.by_day(meter_id, kind)]
        return FalseAlarms(house, meter_id, kind, sum(counts), *weekly(counts, seed))

    if houses:
        yield row(houses)
    for kind in sorted({alert.kind for house in houses for alert in house.alerts}):
        yield row(houses, kind=kind)
    for house in houses:
        yield row([house], house.house)
        for meter_id, kind in sorted({(alert.meter_id, alert.kind) for alert in house.alerts}):
            yield row([house], house.house, meter_id, kind)


@dataclass(frozen=True)
class Share:
    """`found` of `of`, with its interval; the share is None if `of` is 0."""

    found: int
    of: int
    share: float | None
    low: float
    high: float

    @classmethod
    def counted(cls, found: int, of: int) -> Share:
        """The share that was counted."""
        return cls(found, of, found / of if of else None, *wilson(found, of))


def noisy_weeks(counts: Sequence[Sequence[int]]) -> Share:
    """The share of weeks with more than one event. counts: of each day of each house. A week is 7 of its days; a rest is left out."""
    weeks = [sum(of_house[day : day + 7]) for of_house in counts for day in range(0, len(of_house) - 6, 7)]
    return Share.counted(sum(week > 1 for week in weeks), len(weeks))


@dataclass(frozen=True)
class DayScore:
    """Days with an alert against days that are labelled as faulty."""

    precision: Share
    recall: Share
    f1: float | None
    not_judged: int
    """Labelled days without readings, or within the warm-up."""


Place = tuple[str, int, int | None]
"""(house, local day in days since 1970-01-01, meter or None for the whole house)."""


def day_score(labelled: Iterable[Place], alerted: Iterable[Place], judged: Iterable[tuple[str, int]]) -> DayScore:
    """Compare labelled days with days that have an alert (each with its meter), over the judged days.

    A label of a meter is found by an alert of that meter on that day, a label of a house by any alert of it. A day with an alert is
    right if a label of it is found.
    """
    days, labels = set(judged), set(labelled)
    alerts = {place for place in alerted if place[:2] in days}
    counted = {place for place in labels if place[:2] in days}
    known = alerts | {(house, day, None) for house, day, _ in alerts}
    found, with_alert = counted & known, {place[:2] for place in alerts}
    precision = Share.counted(len({place[:2] for place in found}), len(with_alert))
    share = Share.counted(len(found), len(counted))
    either = (precision.share or 0) + (share.share or 0)
    f1 = 2 * (precision.share or 0) * (share.share or 0) / either if either else None
    return DayScore(precision, share, f1, len(labels - counted))
