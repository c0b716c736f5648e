"""Alerts of duration as they are sent: opened, changed, retracted and ended, with the days before that make them unusual."""

from __future__ import annotations

from datetime import date
from math import ceil

import numpy as np
import pytest

from jobs.core.cells import HOUSE, code_of, watts_of
from jobs.core.durations import Durations
from jobs.core.episodes import openings
from jobs.core.house_days import HouseDays
from jobs.core.spells import HOUR_MINUTES, KINDS, MERGED_MINUTES, RUN_FACTOR, RUN_MINUTES, SILENCE_FACTOR, SPELL
from jobs.core.statements import duration
from jobs.core.watch import KEY, Watch, alert
from jobs.flink.operator import Houses
from jobs.flink.outside import Outside
from jobs.thresholds import Thresholds
from smartmeter.messages.rules import no_rule
from smartmeter.run import LIVE
from smartmeter.settings import Settings
from tests.unit.driver import Results, given_rules, made_of, pipeline, rows_of
from tests.unit.flink_stand_in import FlinkStandIn, State
from tests.unit.logs import NEW_YORK, START_MS, burst
from tests.unit.outcomes import days_since_1970

SETTING = Settings().but(max_gap_s=900.0, usual_days=2)
ON_MINUTES, STEP = 31, 10
"""The fridge is on in minutes 0, 10, 20 and 30 of each hour: at 90 W."""
STUCK_HOUR = 50
BROKEN_MINUTE = 60 * STUCK_HOUR + STEP * ceil((RUN_FACTOR * ON_MINUTES + RUN_MINUTES) / STEP)
"""The first minute with a reading in which a run since STUCK_HOUR has lasted for too long."""


def at_ms(minute: float) -> int:
    """A time, from minutes since START_MS."""
    return START_MS + round(60_000 * minute)


def fridge(first_hour: int, last_hour: int, stuck_from: float = float("inf")) -> list:
    """Bursts of an hour. From an hour on, it does not pause."""
    bursts = []
    for hour in range(first_hour, last_hour):
        watts = [(60 * hour + m, 90.0 + m / 10 if m < 40 or hour >= stuck_from else 0.0) for m in range(0, 60, STEP)]
        bursts.append(burst(at_ms(60 * hour), at_ms(60 * hour + 60), {1: [(at_ms(minute), w) for minute, w in watts]}))
    return bursts


def readings(*minutes_and_watts: tuple[float, float], until: float) -> object:
    """A burst of meter 1 from its first reading to a minute."""
    return burst(at_ms(minutes_and_watts[0][0]), at_ms(until), {1: [(at_ms(minute), watts) for minute, watts in minutes_and_watts]})


def watched(bursts, setting=SETTING, rules=(), known_after=0) -> tuple[Results, Results]:
    """(results before the end of the topic, after it) of a message a batch. The rules of users are known after so many."""
    results, ended, _ = pipeline(bursts, [1], setting, (Thresholds, Watch), rules=rules, known_after=known_after)
    return results, ended


def alerts(results: Results) -> list[dict]:
    """All alerts that were sent."""
    return [record for topic, record, _ in results.messages if topic == "alerts"]


def test_an_alert_is_sent_while_it_lasts_and_when_it_ends():
    results, _ = watched([*fridge(0, STUCK_HOUR + 3, stuck_from=STUCK_HOUR), *fridge(STUCK_HOUR + 3, STUCK_HOUR + 5)])
    sent = alerts(results)
    start_ms, last_ms = at_ms(BROKEN_MINUTE), at_ms(60 * STUCK_HOUR + 180 + 30)
    assert [record["open"] for record in sent] == [True, True, False] and {record["start"] for record in sent} == {start_ms}
    assert sent[-1] == {
        "alert_id": f"1/1/{start_ms}/run",
        "house_id": 1,
        "meter_id": 1,
        "date": days_since_1970(date(2011, 4, 20)),
        "start": start_ms,
        "end": last_ms + 60_000,
        "open": False,
        "retracted": False,
        "readings": 0,
        "peak_watts": watts_of(int(code_of(np.array(95.0)))),
        "percentile_watts": 0.0,
        "limit_watts": 60.0,
        "excess_kwh": 0.0,
        "revision": sent[-1]["revision"],
        "kind": "run",
        "severity": "warning",
        "reason": "over 60 W for 3 h 31 min; it is seldom over it for longer than 31 min",
        "ends_when": "it pauses, at 60 W or less",
    }
    assert [record["end"] for record in sent[:2]] == [at_ms(60 * hour + 41) for hour in (STUCK_HOUR + 1, STUCK_HOUR + 2)]


def test_nothing_is_sent_of_days_before_it_is_known_what_is_usual():
    results, ended = watched(fridge(0, 40, stuck_from=20))
    assert alerts(results) == alerts(ended) == []


def test_a_late_pause_retracts_an_alert():
    hour = 60 * STUCK_HOUR
    begun = readings(*((hour + m, 90.0) for m in (0, 10, 20, 30)), until=hour + 31)
    goes_on = readings((hour + 40, 90.0), (hour + 50, 95.0), until=hour + 60)
    late = readings((hour + 35, 0.0), until=hour + 36)
    results, _ = watched([*fridge(0, STUCK_HOUR), begun, goes_on, *fridge(STUCK_HOUR + 1, STUCK_HOUR + 4, stuck_from=0), late])
    *_, before, gone, instead = alerts(results)
    assert (before["start"], before["open"], before["retracted"]) == (at_ms(BROKEN_MINUTE), True, False)
    assert (gone["start"], gone["open"], gone["retracted"]) == (at_ms(BROKEN_MINUTE), False, True)
    assert (instead["start"], instead["open"], instead["retracted"]) == (at_ms(BROKEN_MINUTE + 40), True, False)


def test_an_alert_ends_as_time_goes_on_though_no_minute_is_settled():
    last = 60 * STUCK_HOUR + 150
    over = last + MERGED_MINUTES + 1
    bursts = [*fridge(0, STUCK_HOUR), *fridge(STUCK_HOUR, STUCK_HOUR + 2, stuck_from=0)]
    bursts.append(readings(*((60 * STUCK_HOUR + m, 90.0) for m in range(120, 151, 10)), (last + 5, 0.0), until=last + 6))
    open_until = [readings((over - 0.1, 0.0), until=over)]
    assert alerts(watched([*bursts, *open_until])[0])[-1]["open"]
    ended = alerts(watched([*bursts, *open_until, readings((over + 0.05, 0.0), until=over + 1)])[0])[-1]
    assert (ended["open"], ended["end"]) == (False, at_ms(last + 1))


@pytest.mark.parametrize("second, sent", [(69, 0), (70, 1)])
def test_a_minute_counts_once_it_is_settled_also_when_its_burst_closes_a_day(second, sent):
    setting = SETTING.but(allowed_lateness_s=0.0)
    midnight = 72 * 60
    bursts = [*fridge(0, 60), readings((midnight + 0.05, 0.0), until=midnight + 0.5)]
    assert alerts(watched(bursts, setting)[0]) == []
    bursts.append(readings((midnight + second / 60, 0.0), until=midnight + 2))
    results, ended = watched(bursts, setting)
    allowed = SILENCE_FACTOR * (STEP - 1) + HOUR_MINUTES
    found = [(a["kind"], a["meter_id"], a["start"], a["end"]) for a in alerts(results)]
    silent = [("silent", HOUSE, at_ms(60 * 60 - 9 + allowed), at_ms(midnight))]
    assert found == silent[:sent]
    assert [(a["kind"], a["meter_id"], a["start"], a["end"]) for a in alerts(ended)] == silent, "the topic has ended"


class Backlog:
    """How far a job is, as a test sets it."""

    until_ms = 0

    def read_until_ms(self) -> int:
        return self.until_ms


class Live:
    """A job that runs on, with the wall clock of a test."""

    def __init__(self, *rules):
        self.keyed, self.results, self.backlog, self.rules = FlinkStandIn(), Results(), Backlog(), rules
        self.start()

    def start(self):
        """Begin, or begin again after a crash, with the timers that a checkpoint has."""
        stages = made_of((Thresholds, Watch), SETTING)
        self.houses = Houses(SETTING, stages, LIVE, Outside(given_rules(self.rules), backlog=self.backlog))
        self.houses.open(self.keyed)

    def take(self, bursts):
        for rows in rows_of(bursts, [1], SETTING, Thresholds.wanted | Watch.wanted):
            for self.keyed.key, row in rows:
                self.keyed.now_ms = bursts[-1].end_ms
                self.results.take(self.houses.process_element(row, self.keyed))

    def look(self, minute: int, read_until: float = float("inf")) -> list[dict]:
        """Fire the timers at a minute, when the job has read what Kafka had at another. Returns the alerts so far."""
        self.keyed.now_ms, self.backlog.until_ms = at_ms(minute), at_ms(min(minute, read_until))
        for time_ms in self.keyed.due(self.keyed.processing_timers):
            self.results.take(self.houses.on_timer(time_ms, self.keyed))
        return alerts(self.results)


LAST_MINUTE = 60 * STUCK_HOUR - STEP
"""The house's last reading. It is usually silent for 9 minutes, so it may be for 2 x 9 + 60."""
SILENT_FROM = LAST_MINUTE + 1 + SILENCE_FACTOR * (STEP - 1) + HOUR_MINUTES


@pytest.mark.parametrize("crash", [False, True])
def test_a_house_that_sends_nothing_is_silent_by_the_wall_clock_and_ends_as_its_readings_show(crash):
    job, back = Live(), fridge(STUCK_HOUR + 4, STUCK_HOUR + 6)
    job.take(fridge(0, STUCK_HOUR))
    if crash:
        job.start()
    assert job.look(SILENT_FROM - 1) == job.look(SILENT_FROM) == []
    assert job.look(SILENT_FROM + 1, read_until=LAST_MINUTE + 30) == [], "its readings may wait in Kafka"
    [opened] = job.look(SILENT_FROM + 2)
    assert (opened["alert_id"], opened["open"]) == (f"1/0/{at_ms(SILENT_FROM)}/silent", True)
    assert (opened["start"], opened["end"]) == (at_ms(SILENT_FROM), at_ms(SILENT_FROM + 2))
    assert (
        opened["reason"]
        == f"no reading for {duration((SILENT_FROM + 2 - LAST_MINUTE - 1) * 60_000)}; it is seldom silent for longer than 9 min"
    )
    if crash:
        job.start()
    assert job.look(SILENT_FROM + 60) == [opened], "once"
    job.take(back)
    [_, *later] = alerts(job.results)
    assert not any(record["retracted"] for record in later) and {record["alert_id"] for record in later} == {opened["alert_id"]}
    known, _ = watched([*fridge(0, STUCK_HOUR), *back])
    assert job.results.last("alerts") == known.last("alerts") and not later[-1]["open"]
    assert job.keyed.counted["alerts_opened"] == job.keyed.counted["alerts_closed"] == 1


def test_history_is_not_silent():
    job = Live()
    job.take(fridge(0, STUCK_HOUR))
    job.start()  # weeks later
    assert job.look(SILENT_FROM + 30 * 1440) == job.look(SILENT_FROM + 30 * 1440 + 1) == []


def test_a_muted_house_is_silent_once_it_is_not_muted():
    job = Live(no_rule(1, HOUSE, at_ms(0), 0) | {"muted_until": at_ms(SILENT_FROM + 30)})
    job.take(fridge(0, STUCK_HOUR))
    assert job.look(SILENT_FROM + 20) == []
    [opened] = job.look(SILENT_FROM + 40)
    assert (opened["start"], opened["end"]) == (at_ms(SILENT_FROM + 30), at_ms(SILENT_FROM + 40))


@pytest.mark.parametrize(
    "valid_from_hour, known_after, expected",
    [
        (STUCK_HOUR + 2, STUCK_HOUR + 1, [("overrun", 120), ("run", 90), ("run", 170)]),  # as the page proposes
        (STUCK_HOUR, STUCK_HOUR + 3, [("overrun", 50), ("run", 170)]),  # for hours that have been judged, of a day that is open
        (STUCK_HOUR + 1, STUCK_HOUR + 4, [("overrun", 60), ("run", 170)]),
    ],
)
def test_a_rule_that_comes_meanwhile_holds_from_its_time_on(valid_from_hour, known_after, expected):
    """Without it a run is too long from minute 90 on, after 82 minutes; with it after twice as many."""
    bursts = fridge(0, STUCK_HOUR + 6, stuck_from=STUCK_HOUR)
    rule = no_rule(1, 1, at_ms(60 * valid_from_hour), 0) | {"sensitivity": "low", "longest_on_minutes": 45}
    results, ended = watched(bursts, rules=[rule], known_after=known_after)
    known, known_ended = watched(bursts, rules=[rule])
    assert results.last("alerts") == known.last("alerts") and ended.last("alerts") == known_ended.last("alerts")
    runs = [(alert["kind"], (alert["start"] - at_ms(60 * STUCK_HOUR)) / 60_000) for alert in results.last("alerts").values()]
    assert sorted(runs) == expected


def spell(kind="run", start=100, last=120, meter_id=1, is_open=True) -> np.ndarray:
    row = np.zeros(1, SPELL)
    row["meter_id"], row["kind"], row["start"], row["last"] = meter_id, KINDS.index(kind), start, last
    row["since"], row["open"], row["usual"] = start - 10, is_open, 5
    return row


def test_a_retracted_alert_is_not_open():
    record = alert(3, NEW_YORK, spell()[0], 0.0, True, 17)
    assert (record["alert_id"], record["retracted"], record["open"], record["revision"]) == ("3/1/6000000/run", True, False, 17)
    assert alert(3, NEW_YORK, spell()[0], 0.0, False, 17)["open"]


def test_openings_count_what_opens_and_what_began_and_ended_meanwhile():
    def opened(before, after):
        return openings(before, after, KEY)[0]

    none, still_open, over = np.empty(0, SPELL), spell(), spell(is_open=False)
    assert [opened(*pair) for pair in ((none, still_open), (none, over), (still_open, still_open), (still_open, over))] == [1, 1, 0, 0]
    assert [opened(*pair) for pair in ((over, over), (over, still_open), (over, none))] == [0, 1, 0]
    assert opened(still_open, np.concatenate([spell(), spell("off"), spell(meter_id=2)])) == 2


def test_an_alert_ends_though_nothing_is_usual_any_more():
    state, house = State(), HouseDays.known(None, NEW_YORK)
    house.clock_ms = START_MS
    durations = Durations()
    durations.sent = spell(start=START_MS // 60_000 - 700, last=START_MS // 60_000 - 610)
    state.put("durations", durations.to_bytes())
    state.house_id = 3
    assert list(Watch(SETTING).wake(state, house, 0, ended=False)) == []
    [(topic, record)] = Watch(SETTING).wake(state, house, 5, ended=True)
    assert (topic, record["open"], record["retracted"]) == ("alerts", False, True)
    assert list(Watch(SETTING).wake(state, house, 5, ended=True)) == [], "once"
