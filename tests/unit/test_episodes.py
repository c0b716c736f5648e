"""Versions of thresholds, runs over their limits and the episodes that they make: hand-worked values."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jobs.core.batches import Wanted, house_batches
from jobs.core.energy import kwh
from jobs.core.episodes import EPISODE, LIMIT, RUN, RUN_1, UNKNOWN, VERSION, Runs, Spell, Versions, changes, runs_over
from jobs.core.house_days import FRESH, HouseDays, Rules
from jobs.core.readings import read
from smartmeter.local_days import NEVER, midnights
from smartmeter.messages.codec import encode_burst
from tests.unit.logs import HOUR_MS, NEW_YORK, START_MS, burst

DAY = 15_082  # days since 1970-01-01 of 2011-04-18, whose midnight in New York is START_MS
INF = float("inf")


def version(date, from_ms, to_ms, limits: dict, **fields) -> dict:
    """A threshold of {meter: (percentile, limit)}; a limit of None is one that is warming up."""
    meters = [
        dict(meter_id=m, percentile_watts=p, readings=9, covered_s=1.0, warming_up=limit is None, limit_watts=limit)
        for m, (p, limit) in limits.items()
    ]
    return dict(house_id=1, date=date, valid_from=from_ms, valid_to=to_ms, quantile=0.9, window_days=7, meters=meters, revision=1) | fields


def versions_of(*thresholds) -> Versions:
    versions = Versions()
    for threshold in thresholds:
        versions.add(threshold)
    return versions


def limits_at(versions, *meters_and_times) -> list[tuple[float, float]]:
    meters, times = zip(*meters_and_times)
    return list(zip(*(column.tolist() for column in versions.at(np.array(meters, np.int32), np.array(times)))))


# Versions

FIRST = version(DAY, 0, 1000, {})
SECOND = version(DAY + 1, 1000, 2000, {3: (80.0, 100.0), 1: (10.0, 50.0), 2: (9.0, None)})
THIRD = version(DAY + 2, 2000, 3000, {1: (20.0, 70.0)})


def test_the_limit_is_that_of_the_version_of_the_time():
    assert limits_at(versions_of(FIRST, SECOND, THIRD), (1, 999), (1, 1000), (3, 1999), (1, 2000), (1, 2999)) == [
        (INF, INF),
        (50, 10),
        (100, 80),
        (70, 20),
        (70, 20),
    ]


def test_no_limit_for_an_unknown_or_warming_up_meter_or_before_the_first_version():
    versions = versions_of(SECOND, THIRD)
    assert limits_at(versions, (2, 1500), (3, 2500), (0, 1500), (9, 1500), (-1, 1500), (1, 999), (1, NEVER)) == [(INF, INF)] * 7
    assert limits_at(Versions(), (1, 1500)) == [(INF, INF)]


def test_versions_come_in_any_order_and_one_of_the_same_date_takes_the_place_of_the_earlier():
    in_order = versions_of(FIRST, SECOND, THIRD)
    shuffled = versions_of(THIRD, SECOND, FIRST, THIRD, SECOND)
    assert shuffled.to_bytes() == in_order.to_bytes()
    in_order.add(version(DAY + 1, 1000, 2000, {3: (81.0, 90.0), 4: (1.0, 2.0)}))
    assert limits_at(in_order, (1, 1500), (3, 1500), (4, 1500), (1, 2500)) == [(INF, INF), (90, 81), (2, 1), (70, 20)]
    assert len(in_order.versions) == 3 and len(in_order.limits) == 3


def test_versions_cover_a_time_when_each_moment_has_one():
    versions = versions_of(FIRST, SECOND, THIRD)
    assert versions.cover(0, 2999) and versions.cover(1500, 1500) and versions.cover(2999, 2999)
    assert not versions.cover(0, 3000) and not versions.cover(3000, 3000)
    hole = versions_of(FIRST, THIRD)
    assert hole.cover(0, 999) and hole.cover(2000, 2500)
    assert not hole.cover(0, 1000) and not hole.cover(999, 2000) and not hole.cover(1500, 2500)
    assert Versions().cover(5, 4), "no time at all"
    assert not Versions().cover(5, 5)


def test_versions_that_hold_for_no_time_any_more_are_forgotten():
    versions = versions_of(FIRST, SECOND, THIRD)
    versions.forget_before(1999)
    assert versions.versions["date"].tolist() == [DAY + 1, DAY + 2]
    versions.forget_before(2000)
    assert versions.versions["date"].tolist() == [DAY + 2]
    assert limits_at(versions, (1, 2000), (3, 2000), (1, 1999)) == [(70, 20), (INF, INF), (INF, INF)]
    versions.forget_before(3000)
    assert len(versions.versions) == len(versions.limits) == 0


def test_the_lowest_limit_of_a_meter_is_that_of_any_version():
    versions = versions_of(THIRD, SECOND)
    assert versions.lowest().tolist() == [(1, 50), (3, 100)]
    assert Versions().lowest().tolist() == []


def test_versions_are_restored_from_their_bytes():
    versions = versions_of(FIRST, SECOND, THIRD)
    state = versions.to_bytes()
    assert len(state) == 13 + 3 * 24 + 3 * 20 and (VERSION.itemsize, LIMIT.itemsize) == (24, 20)
    again = Versions.from_bytes(state)
    assert again.to_bytes() == state
    again.add(version(DAY + 3, 3000, 4000, {1: (5.0, 6.0)}))
    assert limits_at(again, (1, 2500), (1, 3500)) == [(70, 20), (6, 5)]
    assert Versions.from_bytes(None).to_bytes() == Versions().to_bytes()
    with pytest.raises(ValueError, match="state version 9"):
        Versions.from_bytes(b"\x09" + state[1:])


# Runs in the readings of a batch. Times are in s since START_MS.

ALWAYS_100_W = versions_of(version(DAY, 0, 2**62, {1: (40.0, 100.0), 2: (40.0, 100.0)}))


def at(start_s, end_s, meters: dict, **fields):
    """A burst of {meter: {second: watts}}."""
    of_meter = {m: [(START_MS + round(s * 1000), w) for s, w in readings.items()] for m, readings in meters.items()}
    return burst(START_MS + round(start_s * 1000), START_MS + round(end_s * 1000), of_meter, **fields)


def batch_of(*bursts, over_watts=20.0):
    """(batch, its newest reading) of bursts of one house."""
    readings, reasons = read([encode_burst(b) for b in bursts], 2**60)
    assert not reasons
    places = np.zeros(len(bursts), int), np.arange(len(bursts))
    [batch] = house_batches(readings, *places, 1_000_000, Wanted(readings_over_watts=over_watts))
    return batch


def found(batch, versions=ALWAYS_100_W, used=None, max_sample_period_ms=1_000_000):
    """The runs as (meter, start, last, next, readings, peak), times in s."""
    used = np.ones(len(batch.sections), bool) if used is None else np.array(used)
    runs = runs_over(batch, used, versions, max_sample_period_ms)
    assert runs.dtype == RUN

    def seconds(time_ms):
        return None if time_ms == UNKNOWN else (time_ms - START_MS) / 1000

    return [
        (r["meter_id"], seconds(r["start_ms"]), seconds(r["last_ms"]), seconds(r["next_ms"]), r["readings"], r["peak_watts"]) for r in runs
    ]


def test_readings_over_the_limit_that_follow_each_other_are_a_run():
    batch = batch_of(at(0, 100, {1: {0: 300, 10: 500, 30: 100, 40: 100.5}, 2: {7: 150, 8: 99}}))
    assert found(batch) == [(1, 0, 10, 30, 2, 500), (1, 40, 40, None, 1, 100.5), (2, 7, 7, 8, 1, 150)]


def test_a_run_has_the_energy_over_the_limit_but_that_of_its_last_reading():
    # (300 - 100) W for 10 s and (500 - 100) W for 20 s: 10 kJ; the last reading is 150 W over.
    batch = batch_of(at(0, 100, {1: {0: 300, 10: 500, 30: 250}}))
    [run] = runs_over(batch, np.array([True]), ALWAYS_100_W, 1_000_000)
    assert (run["excess_mj"], run["excess_rest"], run["last_over_watts"]) == (10_000_000, 0, 150)
    assert (run["percentile_watts"], run["limit_watts"]) == (40, 100)


def test_what_the_energy_lacks_to_whole_mj_is_kept():
    # (100.0625 - 100) W for 1 ms: 1/16 mJ, which is 2**36 of 2**-40 mJ.
    batch = batch_of(at(0, 100, {1: {0: 100.0625, 0.001: 500}}))
    [run] = runs_over(batch, np.array([True]), ALWAYS_100_W, 1_000_000)
    assert (run["excess_mj"], run["excess_rest"]) == (0, 2**36)


def test_a_gap_over_max_gap_parts_runs():
    batch = batch_of(at(0, 4000, {1: {0: 300, 1000: 300, 2000.001: 300}}))
    assert found(batch) == [(1, 0, 1000, 2000.001, 2, 300), (1, 2000.001, 2000.001, None, 1, 300)]


def test_runs_end_with_their_section():
    batch = batch_of(at(0, 10, {1: {5: 300}}), at(10, 20, {1: {15: 300}}), at(86_390, 86_410, {1: {86_395: 300, 86_405: 300}}))
    assert found(batch) == [(1, s, s, None, 1, 300) for s in (5, 15, 86_395, 86_405)]


def test_sections_that_are_not_used_or_not_high_enough_are_left_out():
    batch = batch_of(at(0, 10, {1: {5: 300}, 2: {5: 200}}), at(10, 20, {1: {15: 90}, 2: {15: 300}}))
    assert found(batch, used=[True, False, True, True]) == [(1, 5, 5, None, 1, 300), (2, 15, 15, None, 1, 300)]
    assert found(batch, used=[False] * 4) == found(batch, versions=Versions()) == []
    batch = batch_of(at(0, 10, {1: {5: 300}, 2: {5: 600}}), over_watts=500.0)
    assert found(batch) == [(2, 5, 5, None, 1, 600)]
    batch = batch_of(at(0, 10, {1: {}}))
    assert found(batch) == []


def test_each_reading_is_compared_with_the_version_of_its_own_time():
    # 100 W up to second 20, 200 W from then on. (300 - 100) W for 10 s, (250 - 100) W for 10 s, (250 - 200) W for 10 s.
    change_ms = START_MS + 20_000
    versions = versions_of(version(DAY, 0, change_ms, {1: (40.0, 100.0)}), version(DAY + 1, change_ms, 2**62, {1: (60.0, 200.0)}))
    batch = batch_of(at(0, 100, {1: {0: 300, 10: 250, 20: 250, 30: 201, 40: 150}}))
    assert found(batch, versions) == [(1, 0, 30, 40, 4, 300)]
    [run] = runs_over(batch, np.array([True]), versions, 1_000_000)
    assert (run["excess_mj"], run["last_over_watts"], run["limit_watts"], run["percentile_watts"]) == (4_000_000, 1, 100, 40)
    batch = batch_of(at(0, 100, {1: {10: 150, 20: 150}}))
    assert found(batch, versions) == [(1, 10, 10, 20, 1, 150)]


# Episodes of a house, burst by burst


class House:
    """A house with given versions; its state goes through bytes after each batch."""

    def __init__(self, versions=ALWAYS_100_W, max_gap_s=1000, hold_s=0):
        self.versions, self.spell = versions, Spell(max_gap_s * 1000, hold_s * 1000)
        self.rules = Rules(max_gap_s * 1000, HOUR_MS)
        self.days, self.runs = HouseDays.known(None, NEW_YORK), Runs.from_bytes(None)

    def take(self, *bursts):
        """(episodes that are new or other than before, starts in s of those that are none any more) by some bursts."""
        batch = batch_of(*bursts)
        before = self.episodes()
        verdict, links, _ = self.days.take(batch.sections, batch.newest_ms, self.rules)
        found = runs_over(batch, verdict == FRESH, self.versions, self.spell.max_sample_period_ms)
        self.runs.add(found, links, self.days.sections, self.spell)
        changed, gone = changes(before, self.episodes())
        if (over := self.days.over_by_now(self.rules)) > self.days.closed_day:
            self.runs.forget_before(int(midnights(NEW_YORK)[over + 1]), self.spell)
        self.days.close(self.rules)
        self.runs = Runs.from_bytes(self.runs.to_bytes())
        self.days = HouseDays.from_bytes(self.days.to_bytes())
        return plain(changed), ((gone["start_ms"] - START_MS) / 1000).tolist()

    def episodes(self):
        return self.runs.episodes(self.days.clock_ms, self.spell)


def plain(episodes) -> list[tuple]:
    """Episodes of meter 1 as (start, end in s, open, readings, excess in J)."""
    assert episodes.dtype == EPISODE
    return [
        (
            (e["start_ms"] - START_MS) / 1000,
            (e["end_ms"] - START_MS) / 1000,
            bool(e["open"]),
            int(e["readings"]),
            kwh(e["excess_mj"], e["excess_rest"]) * 3.6e6,
        )
        for e in episodes
    ]


def about(joules):
    return pytest.approx(joules, rel=1e-12)


def cases() -> list:
    """(bursts with what they change, hold and gap in s) of each case of episodes.txt."""
    found = []
    for paragraph in (Path(__file__).with_name("episodes.txt")).read_text().split("\n\n")[2:]:
        title = " ".join(line for line in paragraph.splitlines() if line.startswith("#"))
        lines = [line.split("->") for line in paragraph.splitlines() if not line.startswith("#")]
        hold_s, gap_s = (
            int(match[1]) if (match := re.search(rf"{name} (\d+) s\b", title)) else usual for name, usual in (("hold", 0), ("gap", 1000))
        )
        found.append(
            pytest.param([(burst_in(*words.split()), changes_in(changed)) for words, changed in lines], hold_s, gap_s, id=title[2:50])
        )
    return found


def burst_in(span: str, *readings: str):
    """A burst of episodes.txt."""
    meters: dict = {}
    for meter, second, watts in (re.fullmatch(r"(?:(\d+)@)?([\d.]+):(\d+)", reading).groups() for reading in readings):
        meters.setdefault(int(meter or 1), {})[float(second)] = int(watts)
    return at(*map(float, span.split("-")), meters)


def changes_in(text: str) -> tuple[list, list]:
    """What House.take gives, of a line of episodes.txt."""
    parts = [part for part in text.strip().split(", ") if part]
    changed = [
        re.fullmatch(r"([\d.]+)-([\d.]+) (open|over) (\d+) ([\d.]+)", part).groups() for part in parts if not part.startswith("gone ")
    ]
    return (
        [
            (float(start), float(end), how == "open", int(readings), about(float(joules)) if float(joules) else 0)
            for start, end, how, readings, joules in changed
        ],
        [float(part.removeprefix("gone ")) for part in parts if part.startswith("gone ")],
    )


@pytest.mark.parametrize("bursts, hold_s, gap_s", cases())
def test_what_bursts_do_to_episodes(bursts, hold_s, gap_s):
    house = House(hold_s=hold_s, max_gap_s=gap_s)
    for arrived, changed in bursts:
        assert house.take(arrived) == changed


def test_all_cases_are_read():
    assert [len(case.values[0]) for case in cases()] == [4, 5, 1, 1, 1, 1, 3, 1, 3, 3, 3, 4]
    assert [case.values[1:] for case in cases()][4:8] == [(0, 1000), (59, 1000), (60, 1000), (60, 10)]


def test_an_episode_has_its_peak_and_the_limit_of_its_start():
    house = House()
    house.take(at(0, 10, {1: {5: 300}}), at(10, 20, {1: {15: 200}}), at(20, 50, {1: {45: 60}}))
    [episode] = house.episodes()
    assert (episode["peak_watts"], episode["percentile_watts"], episode["limit_watts"]) == (300, 40, 100)


def test_an_episode_that_lasts_over_two_bursts_and_midnight_is_one():
    house = House()
    house.take(at(86_340, 86_390, {1: {86_350: 50, 86_380: 300}}))
    assert house.take(at(86_390, 86_460, {1: {86_395: 300, 86_405: 300, 86_415: 99}})) == (
        [(86_380, 86_415, False, 3, about(200 * 35))],
        [],
    )
    # The day before is closed; the episode, which reaches into the next, is forgotten when that is closed too.
    house.take(at(90_000, 90_100, {1: {90_050: 50}}))
    assert plain(house.episodes()) == [(86_380, 86_415, False, 3, about(200 * 35))]
    house.take(at(180_000, 180_100, {1: {180_050: 50}}))
    assert len(house.runs.runs) == 0


def test_an_episode_goes_on_across_a_change_of_version():
    # The limit rises from 100 to 200 W at 1 a.m.; the alert keeps that of its start.
    change_ms = START_MS + HOUR_MS
    house = House(versions_of(version(DAY, 0, change_ms, {1: (40.0, 100.0)}), version(DAY + 1, change_ms, 2**62, {1: (60.0, 200.0)})))
    house.take(at(3500, 3600, {1: {3590: 300}}))
    # (300 - 100) W for 10 s, (300 - 200) W for 20 s.
    assert house.take(at(3600, 3700, {1: {3600: 300, 3620: 150}})) == ([(3590, 3620, False, 2, about(4000))], [])
    [episode] = house.episodes()
    assert (episode["limit_watts"], episode["percentile_watts"]) == (100, 40)


def test_runs_that_hold_joins_become_one():
    house = House(hold_s=60)
    for arrived in (at(0, 100, {1: {0: 300, 10: 50, 60: 300, 70: 50}}), at(100, 121, {1: {119.999: 50}}), at(121, 130, {1: {121: 50}})):
        house.take(arrived)
    assert len(house.runs.runs) == 1


def test_episodes_of_different_meters_are_apart():
    house = House(hold_s=60)
    house.take(at(0, 100, {1: {0: 300, 10: 50}, 2: {1: 300, 2: 300, 3: 50}}))
    assert house.episodes()[["meter_id", "start_ms", "readings"]].tolist() == [(1, START_MS, 1), (2, START_MS + 1000, 2)]


def test_bursts_come_in_any_order_in_the_same_or_in_different_batches():
    bursts = [at(0, 10, {1: {5: 300}}), at(10, 20, {1: {15: 50, 18: 300}}), at(20, 30, {1: {25: 300, 28: 50}}), at(30, 40, {1: {35: 300}})]
    expected = [(5, 15, False, 1, about(2000)), (18, 28, False, 2, about(2000)), (35, 35, True, 1, 0)]
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1], [1, 3, 0, 2]):
        apart, together = House(), House()
        for n in order:
            apart.take(bursts[n])
        assert together.take(*(bursts[n] for n in order)) == (expected, [])
        assert plain(apart.episodes()) == expected
        assert apart.runs.to_bytes() == together.runs.to_bytes()


# Forgetting

MIDNIGHT_S = 86_400


def test_an_episode_is_forgotten_when_no_reading_can_change_it_any_more():
    # The day is closed by a reading an hour after midnight; until then one of that day may come.
    house = House()
    house.take(at(86_000, 86_100, {1: {86_010: 300, 86_020: 50}}))
    house.take(at(89_000, 90_000, {1: {89_999: 50}}))
    assert len(house.runs.runs) == 1
    house.take(at(90_000, 90_100, {1: {90_000: 50}}))
    assert len(house.runs.runs) == 0


@pytest.mark.parametrize("before_midnight_s, one_episode", [(999.999, True), (1000, True), (1000.001, False)])
def test_a_reading_after_midnight_still_goes_on_with_an_episode_of_the_closed_day(before_midnight_s, one_episode):
    # The reading at midnight comes after the day before is closed, and as late after the one over the limit as it may.
    house = House()
    house.take(at(85_000, 86_000, {1: {MIDNIGHT_S - before_midnight_s: 300}}))
    house.take(at(95_000, 96_000, {1: {95_000: 50}}))
    changed, gone = house.take(at(MIDNIGHT_S, 86_500, {1: {MIDNIGHT_S: 300, 86_410: 50}}))
    assert gone == []
    if one_episode:
        assert changed == [(MIDNIGHT_S - before_midnight_s, 86_410, False, 2, about(200 * (before_midnight_s + 10)))]
    else:
        assert changed == [(MIDNIGHT_S, 86_410, False, 1, about(2000))]


@pytest.mark.parametrize("before_midnight_s, one_episode", [(60, True), (60.001, False)])
def test_hold_still_joins_an_episode_of_the_closed_day(before_midnight_s, one_episode):
    house = House(hold_s=60)
    house.take(at(86_000, MIDNIGHT_S, {1: {MIDNIGHT_S - before_midnight_s: 300, MIDNIGHT_S - 1: 50}}))
    house.take(at(95_000, 96_000, {1: {95_000: 50}}))
    assert len(house.runs.runs) == one_episode
    changed, _ = house.take(at(MIDNIGHT_S, 86_500, {1: {MIDNIGHT_S: 300, 86_410: 50}}))
    assert [(start, readings) for start, _, _, readings, _ in changed] == (
        [(MIDNIGHT_S - before_midnight_s, 2)] if one_episode else [(MIDNIGHT_S, 1)]
    )


def test_an_episode_whose_last_run_may_change_is_kept_whole():
    # Runs of two days, linked across midnight.
    house = House()
    house.take(at(86_300, 86_500, {1: {86_390: 300, 86_410: 300}}))
    house.take(at(90_000, 90_100, {2: {90_000: 5}}))
    assert plain(house.episodes()) == [(86_390, 87_410, False, 2, about(200 * 1020))]
    assert len(house.runs.runs) == 2


# State


def test_a_long_episode_stays_one_run_of_84_bytes():
    # 12 h of bursts of 5 minutes, all over the limit, the first half of each hour's bursts after the second.
    house = House()
    for hour in range(12):
        for n in (*range(6, 12), *range(6)):
            begin = hour * 3600 + n * 300
            house.take(at(begin, begin + 300, {1: {begin + s: 300 for s in range(0, 300, 100)}}))
    assert RUN.itemsize == 84
    assert len(house.runs.to_bytes()) == 1 + 84
    # (300 - 100) W from 0 until the last reading.
    last_s = 12 * 3600 - 100
    assert plain(house.episodes()) == [(0, last_s, True, 12 * 36, about(200 * last_s))]


def test_runs_are_made_one_only_when_nothing_can_come_between():
    house = House()
    house.take(at(0, 10, {1: {5: 300}}), at(20, 30, {1: {25: 300}}))
    assert len(house.runs.runs) == 2
    house.take(at(10, 20, {1: {}}))
    assert len(house.runs.runs) == 1
    assert plain(house.episodes()) == [(5, 25, True, 2, about(4000))]


def test_runs_are_restored_from_their_bytes():
    house = House()
    house.take(at(0, 100, {1: {0: 300, 10: 50, 20: 300}}))
    state = house.runs.to_bytes()
    assert len(state) == 1 + 2 * 84
    assert Runs.from_bytes(state).to_bytes() == state
    assert Runs.from_bytes(None).to_bytes() == Runs().to_bytes() == b"\x02"
    with pytest.raises(ValueError, match="state version 7"):
        Runs.from_bytes(b"\x07" + state[1:])


def test_runs_of_the_last_release_are_read():
    house = House()
    house.take(at(0, 100, {1: {0: 300, 10: 50, 20: 300}}))
    earlier = np.array([run[:-1] for run in house.runs.runs.tolist()], RUN_1)
    assert len(earlier.tobytes()) == 2 * 80
    assert Runs.from_bytes(b"\x01" + earlier.tobytes()).to_bytes() == house.runs.to_bytes()


@pytest.mark.parametrize(
    "holds_s, episodes",
    [
        (1800, [(0, 7200, True, 5, about(200 * 7200))]),
        (1799, [(s, s + 1799, False, 1, about(200 * 1799)) for s in range(0, 7200, 1800)] + [(7200, 7200, True, 1, 0)]),
        (0, [(s, s + 1000, False, 1, about(200 * 1000)) for s in range(0, 7200, 1800)] + [(7200, 7200, True, 1, 0)]),
    ],
)
def test_readings_half_an_hour_apart_are_one_episode_if_each_holds_so_long(holds_s, episodes):
    half_hours = [at(s, s + 1800, {1: {s: 300}}) for s in range(0, 9000, 1800)]
    for bursts in ([at(0, 9000, {1: dict.fromkeys(range(0, 9000, 1800), 300)})], half_hours, half_hours[::-1]):
        house = House()
        for one in bursts:
            house.take(replace(one, holds_s=np.array([holds_s], np.int32)))
        assert plain(house.episodes()) == episodes


# Changes


def episode(meter_id, start_ms, end_ms):
    row = np.zeros(1, EPISODE)
    row["meter_id"], row["start_ms"], row["end_ms"] = meter_id, start_ms, end_ms
    return row


def test_changes_are_episodes_that_are_new_or_other_and_those_that_start_nowhere_any_more():
    same, longer, moved, new = episode(1, 10, 20), episode(1, 30, 40), episode(2, 10, 20), episode(2, 5, 20)
    now_longer = episode(1, 30, 45)
    changed, gone = changes(np.concatenate([same, longer, moved]), np.concatenate([same, now_longer, new]))
    assert changed.tobytes() == np.concatenate([now_longer, new]).tobytes()
    assert gone.tobytes() == moved.tobytes()
    nothing = np.empty(0, EPISODE)
    assert [len(rows) for rows in changes(nothing, nothing)] == [0, 0]
    assert [len(rows) for rows in changes(nothing, same)] == [1, 0]
    assert [len(rows) for rows in changes(same, nothing)] == [0, 1]
