"""The oracle's results in the form of messages, and comparisons with those of a job."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from datetime import date, timedelta

import pytest

from jobs.core import open_runs, shapes, spells, usual
from jobs.flink.operator import Houses
from smartmeter.messages.topics import RESULTS
from smartmeter.settings import Settings
from tests.oracle import EPOCH, Rule, hours_of, judge
from tests.unit.driver import Results
from tests.unit.flink_stand_in import FlinkStandIn
from tests.watchdog_oracle import Numbers

HOUR_COLUMNS = ("hour_starts", "hours", "hour_kwh", "hour_covered_s", "hour_exported_kwh")


def rule_of(setting: Settings) -> Rule:
    return Rule(
        setting.rules.window_days,
        setting.rules.quantile,
        setting.rules.on_watts,
        setting.rules.margin,
        setting.rules.min_watts,
        setting.rules.mains_watts,
        hold_ms=round(setting.rules.hold_s * 1000),
        limit_days=setting.rules.limit_days,
        durations=numbers_of(setting),
        percentile_watts=setting.rules.percentile_watts,
        glitch_energy=setting.rules.glitch_energy,
    )


def numbers_of(setting: Settings) -> Numbers:
    """The numbers of the rules of duration, as the jobs have them."""
    return Numbers(
        usual_days=setting.rules.usual_days,
        least_used=usual.LEAST_USED,
        few_used=setting.rules.usual_days + 1,
        standby_share=shapes.STANDBY_SHARE,
        standby_days=usual.STANDBY_DAYS,
        standby_factor=usual.STANDBY_FACTOR,
        standby_added_watts=usual.STANDBY_ADDED_WATTS,
        dead_factor=usual.DEAD_FACTOR,
        hour_added_watts=usual.HOUR_ADDED_WATTS,
        rare_from_watts=usual.RARE_FROM_WATTS,
        rare_minutes=usual.RARE_MINUTES,
        run_factor=spells.RUN_FACTOR,
        run_added=spells.RUN_MINUTES,
        band=spells.BAND_MINUTES,
        off_factor=spells.OFF_FACTOR,
        off_added=spells.HOUR_MINUTES,
        off_most=spells.LONG_PAUSE_MINUTES,
        over_hour=spells.OVER_HOUR_MINUTES,
        held_minutes=open_runs.HELD_MINUTES,
        hours_beside=usual.HOURS_BESIDE,
        standby=spells.STANDBY_MINUTES,
        dead=spells.HOUR_MINUTES,
        same_factor=spells.SAME_FACTOR,
        same_added=spells.HOUR_MINUTES,
        silence_factor=spells.SILENCE_FACTOR,
        silence_added=spells.HOUR_MINUTES,
        merged=spells.MERGED_MINUTES,
        steady_steps=open_runs.STEADY_CODES,
        on_watts=setting.rules.on_watts,
        most_missing=int(setting.rules.max_gap_s // 60),
    )


def judged(bursts, setting: Settings, rules=(), houses=()):
    """The oracle's outcome. rules, houses: records of these topics."""
    times_ms = (round(seconds * 1000) for seconds in (setting.rules.max_gap_s, setting.rules.allowed_lateness_s))
    return judge(bursts, *times_ms, rule_of(setting), rules, houses, 1000 * setting.rules.max_jump_s or math.inf)


def days_since_1970(day: date) -> int:
    return (day - EPOCH).days


def near(found: float, expected: float) -> bool:
    """Whether they differ by 1e-9 of the expected value or 1e-18 at most: pytest.approx, for many thousands of values."""
    return abs(found - expected) <= max(1e-9 * abs(expected), 1e-18)


def assert_energy(results: Results, outcome):
    found = {(r["house_id"], r["meter_id"], EPOCH + timedelta(days=r["date"])): r for r in results.last("daily_energy").values()}
    assert set(found) == set(outcome.days)
    for key, day in outcome.days.items():
        record = found[key]
        assert near(record["kwh"], day.kwh) and near(record["exported_kwh"], day.exported_kwh)
        columns = ("readings", "duplicates", "refused", "gaps", "covered_s", "max_gap_s", "final")
        assert tuple(record[name] for name in columns) == (
            len(day.readings),
            day.duplicates,
            day.refused,
            day.gaps,
            day.covered_ms / 1000,
            outcome.max_gap_ms[key] / 1000,
            outcome.final[key],
        )
        for name, figure in day.figures.items():
            assert record[name] == figure or near(record[name], figure), (key, name)
        hours = hours_of(outcome.zones[key[0]], *(record[name] for name in HOUR_COLUMNS))
        assert {own: row[1] for own, row in hours.items()} == {own: hour.covered_ms for own, hour in day.hours.items()}
        assert all(near(hours[own][0], hour.kwh) and near(hours[own][2], hour.exported_kwh) for own, hour in day.hours.items())


def assert_thresholds(results: Results, outcome, setting: Settings):
    assert results.last("thresholds") == {
        f"{house}/{days_since_1970(day)}".encode(): {
            "house_id": house,
            "date": days_since_1970(day),
            "valid_from": version.valid_from,
            "valid_to": version.valid_to,
            "quantile": setting.rules.quantile,
            "window_days": setting.rules.window_days,
            "meters": [
                {
                    "meter_id": meter,
                    "percentile_watts": m.percentile_watts,
                    "readings": m.readings,
                    "covered_s": m.covered_s,
                    "warming_up": m.warming_up,
                    "limit_watts": m.limit_watts,
                    "usual": m.usual,
                }
                for meter, m in sorted(version.meters.items())
            ],
            "longest_silence_minutes": version.longest_silence_minutes,
        }
        for (house, day), version in outcome.thresholds.items()
    }


def assert_alerts(results: Results, alerts: dict):
    """Fail when the last records differ from the oracle's alerts, of a topic that goes on or of one that has ended."""
    assert results.last("alerts") == {
        alert_id.encode(): {
            "alert_id": alert_id,
            "house_id": a.house_id,
            "meter_id": a.meter_id,
            "date": days_since_1970(a.date),
            "start": a.start,
            "end": a.end,
            "open": a.open,
            "retracted": False,
            "readings": a.readings,
            "peak_watts": a.peak_watts,
            "percentile_watts": a.percentile_watts,
            "limit_watts": a.limit_watts,
            "excess_kwh": pytest.approx(a.excess_kwh, rel=1e-9, abs=1e-18),
            "kind": a.kind,
            "severity": a.severity,
            "reason": a.reason,
            "ends_when": a.ends_when,
        }
        for alert_id, a in alerts.items()
    }


def assert_counts(results: Results, keyed: FlinkStandIn, outcome):
    """Fail when the counters do not match the results, which are all that keyed emitted."""
    assert [keyed.counted[f"readings_{name}"] for name in ("used", "duplicate", "refused", "late")] == [
        outcome.used,
        outcome.duplicates,
        outcome.refused,
        outcome.late.total(),
    ]
    topics = Counter(topic for topic, _, _ in results.messages)
    assert {name[2]: number for name, number in keyed.counted.items() if name[0] == "results"} == {
        topic: topics[topic] for topic in RESULTS
    }
    still_open = sum(alert.open for alert in outcome.alerts.values())
    assert keyed.counted["alerts_opened"] - keyed.counted["alerts_closed"] == still_open
    assert keyed.counted["alerts_opened"] >= len(outcome.alerts)
    houses = Houses(Settings(), [])  # after a restart
    houses.open(keyed)
    for shard in list(keyed.state):
        keyed.key = shard
        houses.know([], keyed)
    assert keyed.counted["open_alerts"]() == still_open


def assert_dead_letters(results: Results, bursts: list, expected: list):
    """Fail when the dead letters are not of the expected ones of some bursts, each of which is at the offset of its number."""
    found = Counter(id(bursts[letter["offset"]]) for letter in results.last("dead_letter").values())
    assert found == Counter(map(id, expected))


def assert_profile(results: Results, outcome, ended: bool):
    """Fail when the parts of the minutes do not make up what the oracle finds, of a topic that has ended or goes on."""
    parts_of = defaultdict(list)
    for (house, meter, start_ms, _), row in results.minutes().items():
        parts_of[house, meter, start_ms].append(row)
    expected = {key: minute for key, minute in outcome.minutes.items() if ended or minute.settled}
    assert set(parts_of) == set(expected)
    for key, minute in expected.items():
        readings, lowest, mean, highest = zip(*parts_of[key])
        assert (sum(readings), min(lowest), max(highest)) == (len(minute.watts), min(minute.watts), max(minute.watts))
        mean_watts = sum(n * w for n, w in zip(readings, mean)) / sum(readings)
        assert abs(mean_watts - minute.mean_watts) <= max(1e-7 * abs(minute.mean_watts), 5e-4)
