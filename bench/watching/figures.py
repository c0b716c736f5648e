"""The figures of all houses together, as tables and as bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.watching.bars import Bar, Panel
from bench.watching.faults import KINDS
from bench.watching.scores import DayScore, FalseAlarms, Place, Recall, Share, day_score, false_alarms, noisy_weeks, recalls
from bench.watching.watched import Result
from smartmeter.text_tables import aligned

ALL = "all"
WHOLE_HOUSE = "the house"
"""Label of alerts that are not of one meter."""


@dataclass(frozen=True)
class Figures:
    """All that was measured. noisy_weeks: of all houses and of each, the share of weeks with more than one false alarm."""

    false_alarms: Sequence[FalseAlarms]
    noisy_weeks: dict[str, Share]
    recall: Sequence[Recall]
    labelled: DayScore | None


def figures_of(results: Sequence[Result], labels: Sequence[Place] | None, seed: int) -> Figures:
    """The figures of some houses. labels: None if there is no file of them."""
    quiet = [result.quiet for result in results if result.quiet.days]
    score = None
    if labels is not None:
        places = [place for result in results for place in result.alerted]
        score = day_score(labels, places, [day for result in results for day in result.judged])
    return Figures(
        list(false_alarms(quiet, seed)),
        {ALL: noisy_weeks([house.by_day() for house in quiet])} | {house.house: noisy_weeks([house.by_day()]) for house in quiet},
        list(recalls([outcome for result in results for outcome in result.outcomes], [kind.name for kind in KINDS])),
        score,
    )


def report(results: Sequence[Result], figures: Figures) -> str:
    """The tables."""
    label_of = {(result.house.source, meter.meter_id): meter.label for result in results for meter in result.house.meters}
    parts = ["", _houses(results), "", _false_alarms(figures, label_of)]
    if figures.recall:
        parts += ["", _recall(figures.recall)]
    if figures.labelled:
        parts += ["", _labelled(figures.labelled)]
    return "\n".join(parts)


def _houses(results: Sequence[Result]) -> str:
    rows = [[result.house.source, f"{result.first} to {result.last}", str(result.days), str(len(result.judged))] for result in results]
    return _table(["house", "from, to", "days with readings", "after the warm-up"], rows, 2)


def _false_alarms(figures: Figures, label_of: dict[tuple[str, int], str]) -> str:
    rows = []
    for row in figures.false_alarms:
        meter = (
            ALL if row.house is None or row.meter_id is None else f"{row.meter_id} {label_of.get((row.house, row.meter_id), WHOLE_HOUSE)}"
        )
        weeks = figures.noisy_weeks[row.house or ALL] if row.meter_id is None and row.kind is None else None
        noisy = f"{weeks.found} of {weeks.of}" if weeks else ""
        rows.append(
            [row.house or ALL, meter, row.kind or ALL, f"{row.alarms:,}", f"{row.weekly:.2f}", f"{row.low:.2f} - {row.high:.2f}", noisy]
        )
    return _table(["false alarms: house", "meter", "kind", "alarms", "a house-week", "95 %", "weeks with more than one"], rows, 3)


def _recall(recall: Sequence[Recall]) -> str:
    houses = list(dict.fromkeys(row.house for row in recall if row.house))
    of_house = {(row.fault, row.house): row.share for row in recall if row.meter_id is None}
    rows = [
        [
            row.fault,
            str(row.faults),
            f"{row.share:.2f}",
            f"{row.low:.2f} - {row.high:.2f}",
            "" if row.delay_s is None else f"{row.delay_s / 60:.1f}",
            ", ".join(f"{count} {kind}" for kind, count in row.found_by.items()),
            str(row.after_end),
            str(row.missed_in_alert),
            str(row.only_elsewhere),
            *(f"{of_house[row.fault, house]:.2f}" if (row.fault, house) in of_house else "" for house in houses),
        ]
        for row in recall
        if row.house is None
    ]
    heads = [
        "injected fault",
        "faults",
        "recall",
        "95 %",
        "median delay, min",
        "found by",
        "after its end",
        "missed in an alert",
        "only on other meters",
        *houses,
    ]
    return _table(heads, rows, 1)


def _labelled(score: DayScore) -> str:
    rows = [
        [name, f"{share.found} of {share.of}", "" if share.share is None else f"{share.share:.3f}", f"{share.low:.3f} - {share.high:.3f}"]
        for name, share in (("precision", score.precision), ("recall", score.recall))
    ]
    rows.append(["F1", "", "" if score.f1 is None else f"{score.f1:.3f}", ""])
    return (
        _table(["labelled days", "days", "share", "95 %"], rows, 1)
        + f"\n{score.not_judged} labelled days are not judged: warm-up, or no readings"
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], texts: int) -> str:
    return aligned(heads, rows, [column >= texts for column in range(len(heads))])


def panels(figures: Figures) -> list[Panel]:
    """The bars of false alarms and of recall."""
    alarms = [
        Bar(row.house or ALL, row.weekly, row.low, row.high, f"{row.weekly:.1f} ({row.low:.1f} - {row.high:.1f})")
        for row in figures.false_alarms
        if row.meter_id is None and row.kind is None
    ]
    found = [
        Bar(row.fault, row.share, row.low, row.high, f"{row.share:.2f} ({row.low:.2f} - {row.high:.2f})")
        for row in figures.recall
        if row.house is None
    ]
    most = max([1.0, *(bar.high for bar in alarms)])
    return [Panel("False alarms a house-week, 95 %", alarms, most), Panel("Recall of injected faults, 95 %", found, 1.0)]
