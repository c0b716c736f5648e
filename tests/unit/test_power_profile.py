"""The power profile without Flink: parts of minutes, when they are sent, and the records that hold them."""

from __future__ import annotations

from collections import Counter
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from jobs import power_profile
from jobs.daily_energy import DailyEnergy
from jobs.flink.operator import Houses
from jobs.power_profile import PowerProfile
from smartmeter.messages.codec import decode, decode_profile
from smartmeter.run import Run
from smartmeter.settings import Settings
from tests.oracle import local_date, midnight_ms
from tests.unit.driver import Results, pipeline, rows_of
from tests.unit.flink_stand_in import FlinkStandIn
from tests.unit.logs import START_MS, ZONES_AND_DAYS, burst, cuts, examples
from tests.unit.outcomes import assert_profile, days_since_1970, judged

STAGES = (DailyEnergy, lambda _: PowerProfile())
SETTING = Settings()


# Any log


@st.composite
def second_logs(draw):
    """Bursts of 1 to 100 s of a house of two meters, in the order of the topic; and whether that is the order of time."""
    zone, day = draw(st.sampled_from(ZONES_AND_DAYS))
    at = midnight_ms(ZoneInfo(zone), day) + draw(st.integers(-3, 1)) * 60_000
    bursts = []
    for _ in range(draw(st.sampled_from([14, 9, 14, 4, 1]))):
        length = draw(st.sampled_from([20_000, 100_000, 10_000, 1000]))
        times = st.lists(st.integers(0, length - 1), max_size=5, unique=True).map(sorted)
        of_meter = {m: [(at + t, draw(st.floats(0, 3e4, width=32))) for t in draw(times)] for m in (1, 2)}
        if draw(st.integers(0, 9)) < 9:
            bursts.append(burst(at, at + length, of_meter, zone))
        at += length
    late = draw(st.sampled_from([14, 4, 0]))  # most bursts by which one may be
    if late:
        bursts += draw(st.lists(st.sampled_from(bursts), max_size=2)) if bursts else []
        places = [n + draw(st.sampled_from([0, late, late // 2])) for n in range(len(bursts))]
        bursts = [bursts[n] for n in sorted(range(len(bursts)), key=lambda n: places[n])]
    return bursts, not late


@hypothesis_settings(parent=examples, max_examples=2 * examples.max_examples)
@given(second_logs(), cuts, cuts)
def test_any_log_gives_the_oracles_minutes_and_the_same_parts_however_it_is_batched(log, sizes, other_sizes):
    bursts, in_order = log
    outcome = judged(bursts, SETTING)
    results, ended, _ = pipeline(bursts, sizes, SETTING, STAGES)
    assert_profile(results, outcome, ended=False)
    assert_profile(ended, outcome, ended=True)
    _, other, _ = pipeline(bursts, other_sizes, SETTING, STAGES)
    assert other.minutes() == ended.minutes()
    assert sum(row[0] for row in ended.minutes().values()) == sum(r["readings"] for r in ended.last("daily_energy").values())
    if in_order:
        assert {part for *_, part in ended.minutes()} <= {0}
    for _, record, _ in ended.messages:
        if "part" in record:
            zone = ZoneInfo(bursts[0].timezone)
            assert {days_since_1970(local_date(zone, record["start"] + 60_000 * n)) for n in offsets(record)} == {record["date"]}


def offsets(record) -> list[int]:
    """Minutes from the start of a record of power_profile to each of its minutes; the first is 0."""
    ends = np.cumsum(record["counts"])
    found = [n for end, count in zip(ends, record["counts"]) for n in np.cumsum(record["deltas"][end - count : end]).tolist()]
    assert min(found) == 0
    return found


@pytest.mark.usefixtures("drawn_alike")
def test_the_logs_have_enough_parts():
    seen = Counter()

    @hypothesis_settings(max_examples=60, deadline=None, derandomize=True, database=None)
    @given(second_logs())
    def look(log):
        _, ended, _ = pipeline(log[0], [3], SETTING, STAGES)
        minutes = ended.minutes()
        parts_of = Counter(key[:3] for key in minutes)
        seen.update(
            name
            for name, present in {
                "log": True,
                "late": any(part for *_, part in minutes),
                "two parts": max(parts_of.values(), default=0) > 1,
                "main part of many": any(row[0] > 5 for (*_, part), row in minutes.items() if not part),
            }.items()
            if present
        )

    look()
    assert min(seen[name] / seen["log"] for name in ("late", "two parts", "main part of many")) > 0.05, seen


# By hand


def seconds(start_s, end_s, **watts_at):
    """A burst of meter 1, with a reading of so many W at s5=..., all in s since START_MS."""
    readings = [(START_MS + int(s[1:]) * 1000, watts) for s, watts in watts_at.items()]
    return burst(START_MS + start_s * 1000, START_MS + end_s * 1000, {1: readings})


def results_after(*bursts, size=1) -> list:
    """(minute, part in s or 0, *row) of what is sent of these before the topic ends, times since START_MS."""
    results, _, _ = pipeline(bursts, [size], SETTING, STAGES)
    return [((ms - START_MS) // 60_000, part and (part - START_MS) // 1000, *row) for (_, _, ms, part), row in results.minutes().items()]


FIRST = seconds(0, 55, s0=10, s30=40), seconds(55, 65, s55=100)


@pytest.mark.parametrize("size", [1, 9])
def test_a_minute_is_sent_once_ten_seconds_after_its_end_on_the_houses_clock(size):
    row = (0, 0, 3, 10, 50, 100)
    assert results_after(*FIRST, seconds(65, 70, s69=1), size=size) == []
    assert results_after(*FIRST, seconds(65, 71, s70=1), size=size) == [row]
    assert results_after(*FIRST, seconds(65, 71, s70=1), seconds(71, 200, s71=1, s129=2), size=size) == [row]
    assert results_after(*FIRST, seconds(65, 71, s70=1), seconds(71, 200, s71=1, s130=2), size=size) == [row, (1, 0, 2, 1, 1, 1)]


@pytest.mark.parametrize("size", [1, 9])
def test_what_comes_later_is_a_part_of_its_own_and_what_comes_in_time_is_not(size):
    late, later = seconds(40, 50, s41=7), seconds(50, 55, s52=1, s54=2)
    whole = seconds(0, 40, s0=10, s30=40), seconds(55, 65, s55=100)
    assert results_after(*whole, seconds(65, 70, s69=1), late, seconds(70, 71, s70=1), size=size) == [(0, 0, 4, 7, 39.25, 100)]
    assert results_after(*whole, seconds(65, 71, s70=1), late, later, late, size=size) == [
        (0, 0, 3, 10, 50, 100),
        (0, 40, 1, 7, 7, 7),
        (0, 50, 2, 1, 1.5, 2),
    ]


def test_open_minutes_are_sent_at_the_end_of_the_topic_and_again_if_more_readings_come():
    results, keyed, houses = Results(), FlinkStandIn(), Houses(SETTING, [stage(SETTING) for stage in STAGES])
    houses.open(keyed)

    def take(*bursts):
        for [(keyed.key, row)] in rows_of(bursts, [1], SETTING, PowerProfile.wanted):
            results.take(houses.process_element(row, keyed))

    def sent():
        return [record["readings"] for topic, record, _ in results.messages if topic == "power_profile"]

    take(*FIRST)
    for time_ms in keyed.due(keyed.processing_timers):
        results.take(houses.on_timer(time_ms, keyed))
    assert any(topic == "daily_energy" for topic, _, _ in results.messages) and sent() == []
    for time_ms in keyed.due(keyed.event_timers):
        results.take(houses.on_timer(time_ms, keyed))
    assert sent() == [[3]]
    take(seconds(65, 75, s70=1))
    assert sent() == [[3], [3]]
    take(seconds(75, 140, s80=1, s139=1))
    assert sent()[2:] == [[2]]


def test_a_minute_sent_at_the_end_of_the_topic_is_sent_again_with_more_readings():
    _, ended, keyed = pipeline([FIRST[0]], [1], SETTING, STAGES)
    houses = Houses(SETTING, [PowerProfile()])
    houses.open(keyed)
    for [(keyed.key, row)] in rows_of([FIRST[1], seconds(65, 80, s79=1)], [1], SETTING, PowerProfile.wanted):
        ended.take(houses.process_element(row, keyed))
    assert list(ended.minutes().values()) == [(3, 10, 50, 100)]
    assert [record["readings"] for topic, record, _ in ended.messages if topic == "power_profile"] == [[2], [3]]


def test_records_are_cut_by_part_local_day_and_size(monkeypatch):
    midnight_s = 86_400
    bursts = [
        seconds(midnight_s - 300, midnight_s + 300, **{f"s{midnight_s - 300 + s}": s for s in range(0, 600, 30)}),
        seconds(midnight_s + 300, midnight_s + 400, **{f"s{midnight_s + 399}": 1}),
    ]
    monkeypatch.setattr(power_profile, "MOST_MINUTES", 3)
    _, ended, _ = pipeline(bursts, [9], SETTING, STAGES)
    day = days_since_1970(local_date(ZoneInfo(bursts[0].timezone), START_MS))
    found = [record for topic, record, _ in ended.messages if topic == "power_profile"]
    assert [(record["date"] - day, (record["start"] - START_MS) // 1000 - midnight_s, len(record["readings"])) for record in found] == [
        (0, -300, 3),
        (0, -120, 2),
        (1, 0, 3),
        (1, 180, 2),
        (1, 360, 1),
    ]
    assert_profile(ended, judged(bursts, SETTING), ended=True)


def test_a_replay_leaves_the_minutes_of_its_days_only():
    bursts = [seconds(s, s + 600, **{f"s{s + n}": 1 for n in range(0, 600, 60)}) for s in range(0, 3 * 86_400, 600)]
    _, ended, _ = pipeline(bursts, [7], SETTING, STAGES, run=Run(replay_from="2011-04-19", replay_to="2011-04-19"))
    assert sorted(ms for _, _, ms, _ in ended.minutes()) == [START_MS + 86_400_000 + 60_000 * n for n in range(1440)]


def test_messages_are_those_of_the_columns_reader():
    _, ended, _ = pipeline(FIRST, [1], SETTING, STAGES)
    [payload] = [payload for topic, _, payload in ended.messages if topic == "power_profile"]
    profile = decode_profile(payload)
    assert (profile.house_id, profile.part, profile.start, profile.meter_ids.tolist()) == (1, 0, START_MS, [1])
    assert decode(payload)[1]["mean_watts"] == profile.mean_watts.tolist() == [50]
