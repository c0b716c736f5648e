"""The jobs without Flink: any log gives what the oracle finds, however it is cut into batches, alone or as a pipeline."""

from __future__ import annotations

import functools
import os
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import hypothesis
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyflink.common import Row, Types
from pyflink.common.typeinfo import BasicType, BasicTypeInfo, PrimitiveArrayTypeInfo, RowTypeInfo, TypeInformation
from pyflink.datastream.state import MapStateDescriptor

from jobs.core.batches import Batch, house_batches, unpack
from jobs.core.episodes import Runs, Versions
from jobs.core.house_days import OVERLAPPING, HouseDays
from jobs.core.late import REFUSALS
from jobs.core.minutes import Minutes
from jobs.core.overlaps import LOOK_BACK_MS, Horizon
from jobs.core.panes import Panes
from jobs.core.readings import read
from jobs.core.shards import shard_of
from jobs.core.state import LARGE, HouseState
from jobs.core.window import Window
from jobs.daily_energy import DailyEnergy
from jobs.flink.metrics import GROUP
from jobs.flink.operator import BATCHES, BYTES, EARLY_HOUSES, END_OF_TIME_MS, HOUSES, MESSAGE, Houses
from jobs.power_profile import PowerProfile
from jobs.spikes import NO_THRESHOLD, Spikes, SpikesJoin, Waiting
from jobs.thresholds import Thresholds
from smartmeter.messages.codec import decode, encode, encode_burst
from smartmeter.messages.topics import RESULTS
from smartmeter.run import LIVE, Run
from smartmeter.settings import Settings
from tests.oracle import EPOCH, Rule, hours_of, judge, midnight_ms
from tests.unit.logs import HOUR_MS, NEW_YORK, START_MS, ZONES_AND_DAYS, burst

GRID_MS = 900_000
DAY_MS = 24 * HOUR_MS
CLASS_OF = {"days": HouseDays, "window": Window, "versions": Versions, "runs": Runs, "minutes": Minutes}
"""Name of a house's state -> what its bytes are of."""
SHARDS = 2
"""Houses 1 and 3 share a shard, so they are processed together; house 2 is in the other."""


# What Flink gives a keyed function, in memory

class Keyed:
    """Runtime context, context and timers of a keyed function; state takes nothing but what its descriptor declares."""

    def __init__(self):
        self.state = defaultdict(dict)  # by key, then by the map's key
        self.key = None
        self.now_ms = 0
        self.processing_timers, self.event_timers = set(), set()  # (key, time)
        self.counted = Counter()  # by name, and group where it is not the project's own

    def get_map_state(self, descriptor):
        return MapState(self, descriptor)

    def get_metrics_group(self):
        return MetricGroup(self.counted)

    def timer_service(self):
        return self

    def get_current_key(self):
        return self.key

    def current_processing_time(self):
        return self.now_ms

    def register_processing_time_timer(self, time_ms):
        assert type(time_ms) is int and time_ms > self.now_ms
        self.processing_timers.add((self.key, time_ms))

    def register_event_time_timer(self, time_ms):
        self.event_timers.add((self.key, time_ms))

    def due(self, timers: set):
        """Yield the time of each timer and remove it; its key becomes the current one."""
        for self.key, time_ms in sorted(timers):
            timers.discard((self.key, time_ms))
            yield time_ms


@dataclass
class MetricGroup:
    counted: Counter
    name: tuple[str, ...] = ()

    def add_group(self, *name):
        return MetricGroup(self.counted, name)

    def gauge(self, name, value):
        self.counted[name] = value

    def counter(self, name):
        return CountOf(self.counted, name if self.name == (GROUP,) else (name, *self.name))


@dataclass
class CountOf:
    counted: Counter
    name: str | tuple[str, ...]

    def inc(self, number):
        assert type(number) is int and number >= 0
        self.counted[self.name] += number


class MapState:
    def __init__(self, keyed: Keyed, descriptor):
        self.keyed, self.type_info = keyed, descriptor.type_info

    @property
    def map(self):
        assert self.keyed.key is not None, "state without a key"
        return self.keyed.state[self.keyed.key]

    def get(self, key):
        return self.map.get(key)

    def put(self, key, value):
        self.map[fitting(key, self.type_info._key_type_info)] = fitting(value, self.type_info._value_type_info)

    def keys(self):
        return iter(self.map.keys())

    def remove(self, key):
        self.map.pop(key, None)


def fitting(value, type_info: TypeInformation):
    """The value, when it is of exactly the declared type."""
    if isinstance(type_info, RowTypeInfo):
        fits = isinstance(value, Row) and len(value) == len(type_info.get_field_types())  # a field may be null
        for item, item_type in zip(value, type_info.get_field_types()):
            fits &= item is None or fitting(item, item_type) is item
    elif isinstance(type_info, PrimitiveArrayTypeInfo):
        fits = type(value) is bytes
    else:
        assert isinstance(type_info, BasicTypeInfo)
        fits = type(value) is {BasicType.LONG: int, BasicType.STRING: str}[type_info._basic_type]
    assert fits, f"{value!r} is no {type_info}"
    return value


# A job that is driven by hand

@dataclass
class Results:
    """The messages of a job, decoded."""

    messages: list = field(default_factory=list)  # (topic, record, payload)
    final: dict = field(default_factory=lambda: defaultdict(dict))  # topic -> key -> its last record

    def take(self, rows):
        for row in rows:
            topic, key, payload = fitting(row, MESSAGE)
            _, record = decode(payload)
            before = self.final[topic].get(key)
            if topic == "daily_energy" and record["hours"]:
                assert_hours_add_up(record)
            if "revision" in record and before:
                assert record["revision"] > before["revision"]
                assert not before.get("final"), "a result after the final one"
                assert topic != "thresholds" or record["valid_to"] > before["valid_to"], "a version that was sent before"
            self.messages.append((topic, record, payload))
            self.final[topic][key] = record

    def last(self, topic: str) -> dict:
        """key -> last record, without its revision; retracted alerts left out."""
        return {key: {name: value for name, value in record.items() if name != "revision"}
                for key, record in self.final[topic].items() if not record.get("retracted")}

    def minutes(self) -> dict:
        """(house, meter, start of the minute in ms, part) -> (readings, lowest, mean, highest); what comes again has more readings."""
        found = {}
        for topic, record, _ in self.messages:
            for key, row in minutes_in(record) if topic == "power_profile" else ():
                assert row[0] > found.get(key, (0,))[0], "sent twice"
                found[key] = row
        return found

    def readings_late(self) -> Counter:
        """(house, date) -> readings in `late`."""
        late = Counter()
        for topic, record, _ in self.messages:
            if topic == "late":
                late[record["house_id"], EPOCH + timedelta(days=record["date"])] += record["readings"]
        return +late


def minutes_in(record: dict):
    """Yield (key, row) as Results.minutes has them, of a record of power_profile."""
    rows = zip(record["deltas"], record["readings"], record["min_watts"], record["mean_watts"], record["max_watts"])
    for meter, count in zip(record["meter_ids"], record["counts"], strict=True):
        time_ms = record["start"]
        for delta, *row in islice(rows, count):
            time_ms += delta * 60_000
            yield (record["house_id"], meter, time_ms, record["part"]), tuple(row)
    assert next(rows, None) is None


def assert_hours_add_up(record: dict):
    assert sum(record["hour_kwh"]) == pytest.approx(record["kwh"], rel=1e-12, abs=1e-18)
    assert sum(record["hour_covered_s"]) == pytest.approx(record["covered_s"], abs=1e-6)


STAGES = (DailyEnergy, Thresholds, Spikes, lambda _: PowerProfile())


def rows_of(bursts, sizes, setting: Settings, wanted, restarts=()):
    """Yield lists of (shard, BATCHES), as the batches of these many messages give them; the last size repeats.

    restarts: messages with which a new worker begins.
    """
    begin, horizon, restarts = 0, Horizon(round(setting.rules.allowed_lateness_s * 1000), 16), sorted(restarts)
    for size in [*sizes, *[sizes[-1]] * len(bursts)]:
        batch = bursts[begin:begin + size]
        if not batch:
            return
        readings, reasons = read([encode_burst(b) for b in batch], 2**60, SHARDS)
        assert not reasons
        if restarts and restarts[0] <= begin:
            horizon, restarts = Horizon(horizon.over_after_ms - LOOK_BACK_MS, 16), [r for r in restarts if r > begin]
        may_overlap = horizon.passed(readings.bursts, np.zeros(len(batch), int), np.arange(begin, begin + len(batch)))
        places = np.zeros(len(batch), int), begin + readings.bursts["message"]
        found = house_batches(readings, *places, round(setting.rules.max_gap_s * 1000), wanted, may_overlap)
        yield [(shard, fitting(Row(body, None), BATCHES)) for shard, body in found.by_shard(SHARDS)]
        begin += size


def pipeline(bursts, sizes, setting: Settings, stages_of=STAGES, restarts=(), run=LIVE) -> tuple[Results, Results, Keyed]:
    """(results after the last row, results after the end of the topic, the state).

    sizes: messages of each batch; after a batch of an odd number, the timers fire. The function is made anew for each.
    """
    results, keyed = Results(), Keyed()

    def houses():
        made = Houses(setting, [stage(setting) for stage in stages_of], run)
        made.open(keyed)
        return made

    wanted = functools.reduce(lambda a, b: a | b, (stage(setting).wanted for stage in stages_of))
    for rows in rows_of(bursts, sizes, setting, wanted, restarts):
        keyed.now_ms += 100
        function = houses()
        for keyed.key, row in rows:
            results.take(function.process_element(row, keyed))
        check_state(keyed, setting)
        if len(rows) % 2:
            for time_ms in keyed.due(keyed.processing_timers):
                results.take(houses().on_timer(time_ms, keyed))
    ended = Results(list(results.messages), defaultdict(dict, {topic: dict(of) for topic, of in results.final.items()}))
    for time_ms in keyed.due(keyed.event_timers):
        ended.take(houses().on_timer(time_ms, keyed))
    check_state(keyed, setting)
    return results, ended, keyed


def check_state(keyed: Keyed, setting: Settings):
    """State is what its own bytes give again, and keeps no more days than the window needs."""
    for house_id in houses_of(keyed):
        state = state_of(keyed, house_id)
        large = {f"{house_id}/{name}" for name in state.large}
        assert large == {key for key in state.of_shard.map if key.startswith(f"{house_id}/")} and LARGE.isdisjoint(state.small)
        for name, kind in CLASS_OF.items():
            if body := state.get(name):
                assert kind.from_bytes(body).to_bytes() == body
        if body := state.get("window"):
            window, panes = Window.from_bytes(body), Panes(state)
            assert min(panes.days, default=window.date) >= window.date - setting.rules.window_days
            assert len(set(window.days["day"].tolist())) <= setting.rules.window_days
            assert {name for name in state.large if name.startswith("pane/")} <= {f"pane/{day}" for day in panes.days}
            gathered = {int(name.split("/")[1]) for name in state.small if name.startswith("gathered/")}
            assert gathered <= set(panes.days) and all(day >= window.date for day in gathered), "a day that is over is one value"


def houses_of(keyed: Keyed) -> set[int]:
    return {house_id for of_shard in keyed.state.values() for house_id in np.frombuffer(of_shard.get(HOUSES, b""), np.int64).tolist()}


def state_of(keyed: Keyed, house_id: int) -> HouseState:
    """The state of a house; its shard becomes the current key."""
    keyed.key = shard_of(house_id, SHARDS)
    return HouseState(keyed.get_map_state(MapStateDescriptor("houses", Types.STRING(), BYTES)), house_id)


def spikes_alone(rows, versions, order, setting: Settings) -> tuple[Results, Keyed]:
    """The results of the spikes job for rows (shard, BATCHES) and versions (house_id, payload), which arrive in `order`.

    order: True for the next row, False for the next version.
    """
    results, keyed = Results(), Keyed()
    rows, versions = iter(rows), iter(versions)
    for is_row in order:
        function = SpikesJoin(setting)
        function.open(keyed)
        if is_row:
            keyed.key, row = next(rows)
            results.take(function.process_element1(row, keyed))
        else:
            version = next(versions)
            keyed.key = shard_of(version[0], SHARDS)
            results.take(function.process_element2(Row(*version), keyed))
        check_state(keyed, setting)
    assert next(rows, None) is next(versions, None) is None
    return results, keyed


def end_of_topics(results: Results, keyed: Keyed, setting: Settings):
    """Signal the end of its topics to the spikes job."""
    for time_ms in keyed.due(keyed.event_timers):
        assert time_ms == END_OF_TIME_MS
        function = SpikesJoin(setting)
        function.open(keyed)
        results.take(function.on_timer(time_ms, keyed))


# The oracle's results, in the form of messages

def rule_of(setting: Settings) -> Rule:
    return Rule(setting.rules.window_days, setting.rules.quantile, setting.rules.on_watts, setting.rules.margin, setting.rules.min_watts,
                setting.rules.mains_watts, hold_ms=round(setting.rules.hold_s * 1000))


def judged(bursts, setting: Settings):
    return judge(bursts, round(setting.rules.max_gap_s * 1000), round(setting.rules.allowed_lateness_s * 1000), rule_of(setting))


def days_since_1970(day: date) -> int:
    return (day - EPOCH).days


def assert_energy(results: Results, outcome):
    found = {(r["house_id"], r["meter_id"], EPOCH + timedelta(days=r["date"])): r for r in results.last("daily_energy").values()}
    assert set(found) == set(outcome.days)
    for key, day in outcome.days.items():
        record = found[key]
        assert record["kwh"] == pytest.approx(day.kwh, rel=1e-9, abs=1e-18)
        assert (record["readings"], record["duplicates"], record["refused"], record["covered_s"], record["max_gap_s"], record["final"]) == (
            len(day.readings), day.duplicates, day.refused, day.covered_ms / 1000, outcome.max_gap_ms[key] / 1000, outcome.final[key])
        hours = hours_of(outcome.zones[key[0]], *(record[name] for name in ("hour_starts", "hours", "hour_kwh", "hour_covered_s")))
        assert hours == {own: (pytest.approx(hour.kwh, rel=1e-9, abs=1e-18), hour.covered_ms) for own, hour in day.hours.items()}


def assert_thresholds(results: Results, outcome, setting: Settings):
    assert results.last("thresholds") == {
        f"{house}/{days_since_1970(day)}".encode(): {
            "house_id": house, "date": days_since_1970(day), "valid_from": version.valid_from, "valid_to": version.valid_to,
            "quantile": setting.rules.quantile, "window_days": setting.rules.window_days,
            "meters": [{"meter_id": meter, "percentile_watts": m.percentile_watts, "readings": m.readings,
                        "covered_s": m.covered_s, "warming_up": m.warming_up, "limit_watts": m.limit_watts}
                       for meter, m in sorted(version.meters.items())],
        }
        for (house, day), version in outcome.thresholds.items()
    }


def assert_alerts(results: Results, outcome):
    assert results.last("alerts") == {
        alert_id.encode(): {
            "alert_id": alert_id, "house_id": a.house_id, "meter_id": a.meter_id, "date": days_since_1970(a.date),
            "start": a.start, "end": a.end, "open": a.open, "retracted": False, "readings": a.readings,
            "peak_watts": a.peak_watts, "percentile_watts": a.percentile_watts, "limit_watts": a.limit_watts,
            "excess_kwh": pytest.approx(a.excess_kwh, rel=1e-9, abs=1e-18),
        }
        for alert_id, a in outcome.alerts.items()
    }


def assert_counts(results: Results, keyed: Keyed, outcome):
    """Fail when the counters do not match the results, which are all that keyed emitted."""
    assert [keyed.counted[f"readings_{name}"] for name in ("used", "duplicate", "refused", "late")] == [
        outcome.used, outcome.duplicates, outcome.refused, outcome.late.total()]
    topics = Counter(topic for topic, _, _ in results.messages)
    assert {name[2]: number for name, number in keyed.counted.items() if name[0] == "results"} == {
        topic: topics[topic] for topic in RESULTS}
    still_open = sum(alert.open for alert in outcome.alerts.values())
    assert keyed.counted["alerts_opened"] - keyed.counted["alerts_closed"] == still_open
    assert keyed.counted["alerts_opened"] >= len(outcome.alerts)
    houses = Houses(Settings(), [])  # after a restart
    houses.open(keyed)
    for shard in list(keyed.state):
        keyed.key = shard
        houses.know([], keyed)
    assert keyed.counted["open_alerts"]() == still_open


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
        assert sum(n * w for n, w in zip(readings, mean)) / sum(readings) == pytest.approx(minute.mean_watts, rel=1e-7, abs=5e-4)


# Logs

LEVELS = {"appliance": [100, 105, 0, 110], "mains": [300, 350, 320, 400], "off": [0, 0, 1, 0]}
"""Usual powers of a meter."""


@st.composite
def house_logs(draw, house_id, max_sample_period_ms, most_bursts=12):
    """Bursts of one house in the order of the topic: days of steady use with spikes, gaps, repeats, overlaps and disorder."""
    zone, day = draw(st.sampled_from(ZONES_AND_DAYS))
    start = at = midnight_ms(ZoneInfo(zone), day) + draw(st.integers(-12, 12)) * HOUR_MS
    kinds = draw(st.lists(st.sampled_from(list(LEVELS)[:2] * 2 + ["off"]), min_size=1, max_size=3))
    steady = list(range(0, 30 * HOUR_MS, min(max_sample_period_ms, 4 * HOUR_MS)))
    lengths = [30 * HOUR_MS, *draw(st.lists(
        st.sampled_from([30 * HOUR_MS, GRID_MS, 30 * HOUR_MS, 4 * GRID_MS, 6 * HOUR_MS]), min_size=4, max_size=most_bursts))]
    bursts, taken = [], defaultdict(list)  # what the meters took, sent or not
    for length in lengths:
        of_meter, share = {}, draw(st.sampled_from([1, 0.7, 1.5, 4]))
        for meter, kind in enumerate(kinds):
            if length == 30 * HOUR_MS and (not bursts or draw(st.integers(0, 5))):
                times = steady
            else:
                step = draw(st.sampled_from([60_000 if length < HOUR_MS else GRID_MS, length // 12, 1]))
                most = min(length // step - 1, 40)
                times = sorted(n * step for n in draw(st.lists(st.integers(0, most), min_size=1, max_size=6, unique=True)))
            powers = [share * watts for watts in LEVELS[kind]]
            watts = [powers[n % 4] for n in range(len(times))]
            if bursts:
                over = draw(st.sampled_from([0, 1000, 700.3, 3000]))
                places = st.tuples(st.integers(0, len(times) - 1), st.integers(1, 8))
                for n, spikes in draw(st.lists(places, min_size=draw(st.integers(0, 1)), max_size=3)):
                    watts[n:n + spikes] = [w + over for w in watts[n:n + spikes]]
            of_meter[meter + 1] = [(at + t, w) for t, w in zip(times, watts)]
            taken[meter + 1] += of_meter[meter + 1]
        if draw(st.integers(0, 7)) < 7:
            inner = {at + n * (length // 6) for n in draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))} if bursts else ()
            for begin, end in pairwise([at, *sorted(inner), at + length]):
                within = {m: [r for r in readings if begin <= r[0] < end] for m, readings in of_meter.items()}
                bursts.append(burst(begin, end, within, zone, house_id))
        at += length
    bursts = bursts or [burst(at, at + 1000, {1: [(at, 1.0)]}, zone, house_id)]
    for _ in range(draw(st.sampled_from([0, 0, 1, 4]))):  # cut otherwise: what was sent, and what was not
        begin = start + draw(st.integers(0, (at - start) // GRID_MS)) * GRID_MS + draw(st.sampled_from([0, 1, -60_000]))
        end = begin + draw(st.sampled_from([60_001, 5 * GRID_MS, 5 * HOUR_MS, 50 * HOUR_MS]))
        meters = draw(st.lists(st.sampled_from(list(taken)), min_size=1, unique=True))
        bursts.append(burst(begin, end, {m: [r for r in taken[m] if begin <= r[0] < end] for m in meters}, zone, house_id))
    bursts.sort(key=lambda b: b.start_ms)
    bursts += draw(st.lists(st.sampled_from(bursts), max_size=2))
    order = draw(st.sampled_from(["nearly", "as is", "nearly", "any"]))
    if order == "nearly":
        places = [n + draw(st.sampled_from([0, 2, 3, 4])) for n in range(len(bursts))]
        bursts = [bursts[n] for n in sorted(range(len(bursts)), key=lambda n: places[n])]
    if order == "any":
        bursts = draw(st.permutations(bursts))
    return bursts


@st.composite
def house_logs_and_settings(draw, **rules):
    """(bursts of one to three houses in the order of the topic, settings)."""
    setting = Settings().but(**{
        "max_gap_s": draw(st.sampled_from([6 * 3600.0, 22 * 3600.0, 900.0])),
        "hold_s": draw(st.sampled_from([0.0, 60.0, 900.0])),
        "allowed_lateness_s": draw(st.sampled_from([30 * 3600.0, 3600.0, 30 * 3600.0, 0.0])),
        "window_days": draw(st.integers(1, 3)), "quantile": draw(st.sampled_from([0.5, 0.9])),
        "margin": 0.5, "min_watts": 20.0, "mains_watts": 500.0, **rules,
    })
    bursts = draw(house_logs(1, round(setting.rules.max_gap_s * 1000)))
    for house_id in draw(st.sampled_from([(), (3,), (), (2, 3)])):
        for other in draw(house_logs(house_id, round(setting.rules.max_gap_s * 1000), most_bursts=5)):
            bursts.insert(draw(st.integers(0, len(bursts))), other)
    return bursts, setting


cuts = st.lists(st.sampled_from([1, 2, 1, 3, 8]), min_size=1, max_size=8)
examples = settings(max_examples=int(os.environ.get("EXAMPLES", "150")), deadline=None,
                    suppress_health_check=list(hypothesis.HealthCheck))


@examples
@given(house_logs_and_settings(), cuts, cuts)
def test_any_log_gives_what_the_oracle_finds_however_it_is_batched(log, sizes, other_sizes):
    bursts, setting = log
    outcome = judged(bursts, setting)
    results, ended, keyed = pipeline(bursts, sizes, setting)
    hypothesis.event(f"{min(len(outcome.alerts), 3)} alerts or more")
    assert_thresholds(results, outcome, setting)
    assert_alerts(results, outcome)
    assert_energy(ended, outcome)
    assert_profile(results, outcome, ended=False)
    assert_profile(ended, outcome, ended=True)
    assert results.readings_late() == outcome.late
    assert_counts(ended, keyed, outcome)
    _, other, _ = pipeline(bursts, other_sizes, setting)
    for topic in ("daily_energy", "thresholds", "alerts"):
        assert other.last(topic) == ended.last(topic)
    assert other.minutes() == ended.minutes()
    assert other.readings_late() == outcome.late


@settings(parent=examples, max_examples=max(20, examples.max_examples // 3))
@given(house_logs_and_settings(), cuts, st.data())
def test_after_restarts_no_reading_is_lost_and_what_overlaps_is_used_as_before(log, sizes, data):
    bursts, setting = log
    restarts = data.draw(st.lists(st.integers(1, len(bursts)), max_size=3))
    outcome = judged(bursts, setting)
    results, ended, keyed = pipeline(bursts, sizes, setting, restarts=restarts)
    counted = [keyed.counted[f"readings_{name}"] for name in ("used", "duplicate", "late")]
    assert sum(counted) == sum(len(b.watts) for b in bursts)
    unknown = any(record["reason"] == REFUSALS[OVERLAPPING] for record in results.last("late").values())
    hypothesis.event(f"an overlap that cannot be cut: {unknown}")
    if not unknown:
        assert results.readings_late() == outcome.late
        assert_energy(ended, outcome)
        assert_alerts(results, outcome)


def test_the_logs_have_enough_alerts_and_versions():
    seen = Counter()

    @settings(max_examples=150, deadline=None, derandomize=True, database=None, phases=[hypothesis.Phase.generate],
              suppress_health_check=list(hypothesis.HealthCheck))
    @given(house_logs_and_settings(), cuts)
    def look(log, sizes):
        bursts, setting = log
        _, ended, _ = pipeline(bursts, sizes, setting)
        alerts = ended.last("alerts").values()
        limits = {m["limit_watts"] for v in ended.last("thresholds").values() for m in v["meters"]} - {None}
        seen.update(name for name, present in {
            "log": True, "two limits": len(limits) >= 2, "alert": alerts, "three alerts": len(alerts) >= 3,
            "alert of two readings": any(a["readings"] > 1 for a in alerts), "open": any(a["open"] for a in alerts),
            "closed": any(not a["open"] for a in alerts), "late": ended.readings_late(),
        }.items() if present)

    look()
    shares = {name: count / seen["log"] for name, count in seen.items()}
    least = {"two limits": 0.3, "alert": 0.4, "three alerts": 0.2, "alert of two readings": 0.3, "open": 0.1, "closed": 0.3,
             "late": 0.2}
    assert {name: shares.get(name, 0) for name in least if shares.get(name, 0) < least[name]} == {}, shares


# The spikes job alone

@st.composite
def arrivals_of(draw, rows, versions):
    """(versions in the order they arrive, order): for each arrival, order is True if it is a row, as spikes_alone expects."""
    versions = draw(st.sampled_from([versions, versions * 2])) if draw(st.booleans()) else draw(st.permutations(versions * 2))
    order = [True] * len(rows) + [False] * len(versions)
    how = draw(st.sampled_from(["mixed", "rows first", "versions first", "mixed"]))
    if how == "mixed":
        order = draw(st.permutations(order))
    elif how == "versions first":
        order = order[::-1]
    return versions, order


def versions_of(results: Results):
    """(house_id, payload) of the messages of the topic thresholds."""
    return [(record["house_id"], payload) for topic, record, payload in results.messages if topic == "thresholds"]


@examples
@given(house_logs_and_settings(), cuts, st.data())
def test_spikes_alone_emits_what_the_pipeline_emits_whenever_the_thresholds_arrive(log, sizes, data):
    bursts, setting = log
    pipelined, _, _ = pipeline(bursts, [3], setting)
    rows = [row for batch in rows_of(bursts, sizes, setting, Spikes(setting).wanted) for row in batch]
    versions, order = data.draw(arrivals_of(rows, versions_of(pipelined)))
    results, keyed = spikes_alone(rows, versions, order, setting)
    assert results.last("alerts") == pipelined.last("alerts")
    assert results.readings_late() == pipelined.readings_late()
    end_of_topics(results, keyed, setting)
    assert all(record["reason"] != NO_THRESHOLD for record in results.last("late").values())


@settings(parent=examples, max_examples=max(20, examples.max_examples // 4))
@given(house_logs_and_settings(), cuts, st.integers(0, 4), st.booleans())
def test_readings_without_a_threshold_are_reported_and_none_is_lost(log, sizes, known, rows_first):
    bursts, setting = log
    pipelined, _, _ = pipeline(bursts, sizes, setting)
    rows = [row for batch in rows_of(bursts, sizes, setting, Spikes(setting).wanted) for row in batch]
    versions = versions_of(pipelined)[:known]
    order = [True] * len(rows) + [False] * len(versions)
    results, keyed = spikes_alone(rows, versions, order if rows_first else order[::-1], setting)
    waiting = [batch for house_id in houses_of(keyed) for batch in waiting_of(state_of(keyed, house_id))]
    before = results.readings_late()
    end_of_topics(results, keyed, setting)
    assert not any(waiting_of(state_of(keyed, house_id)) for house_id in houses_of(keyed))
    missed = {key: record for key, record in results.last("late").items() if record["reason"] == NO_THRESHOLD}
    assert sum((results.readings_late() - before).values()) == sum(int(batch.sections["readings"].sum()) for batch in waiting)
    if not known:
        assert sum(results.readings_late().values()) == sum(len(b.watts) for b in bursts)
        assert set(missed) == {b"0/%d" % n for n, b in enumerate(bursts) if len(b.watts)}


def waiting_of(state: HouseState) -> list[Batch]:
    """The batches of a house that wait; each has a key of its own, and no other has."""
    waiting = Waiting(state)
    keys = [f"waiting/{n}" for n in range(waiting.first, waiting.end)]
    assert {f"{state.house_id}/{key}" for key in keys} == {
        key for key in state.of_shard.map if key.startswith(f"{state.house_id}/waiting/")}
    return [batch for key in keys for batch in unpack(state.get(key))]


# By hand

SETTING = Settings().but(max_gap_s=22 * 3600.0, window_days=2, margin=0.5, min_watts=20.0, mains_watts=500.0)


def every_two_hours(first_hour, last_hour, zone=NEW_YORK, watts=100.0, house_id=1, **watts_at):
    """Bursts of 2 h, each with one reading at its start, in hours since START_MS; h50=3000 gives that of hour 50 3 kW."""
    at_ms = {h: START_MS + h * HOUR_MS for h in range(first_hour, last_hour, 2)}
    return [burst(ms, ms + 2 * HOUR_MS, {1: [(ms, watts_at.get(f"h{h}", watts))]}, zone, house_id) for h, ms in at_ms.items()]


def starts_of(results: Results) -> list[int]:
    """Hours since START_MS at which alerts start."""
    return sorted((record["start"] - START_MS) // HOUR_MS for record in results.last("alerts").values())


@pytest.mark.parametrize("before_days, after_days, readings", [(5, 2, 24), (2, 5, 60)])
def test_a_resized_window_has_its_new_length_once_full(before_days, after_days, readings):
    results, keyed = Results(), Keyed()
    for first, last, days in ((0, 240, before_days), (240, 480, after_days)):  # ten days each, twelve readings a day
        setting = SETTING.but(window_days=days)
        houses = Houses(setting, [Thresholds(setting)])
        houses.open(keyed)
        for [(keyed.key, row)] in rows_of(every_two_hours(first, last), [1], setting, Thresholds.wanted):
            results.take(houses.process_element(row, keyed))
    newest = max(results.last("thresholds").values(), key=lambda version: version["date"])
    assert [(m["readings"], m["covered_s"]) for m in newest["meters"]] == [(readings, 86_400 * after_days)]
    assert len(newest["meters"]) == 1 and newest["window_days"] == after_days


def test_an_alert_whose_start_moves_earlier_is_retracted():
    bursts = every_two_hours(0, 60, h48=3000.0, h50=3000.0)
    bursts[24], bursts[25] = bursts[25], bursts[24]  # those of hours 48 and 50
    _, ended, _ = pipeline(bursts, [1], SETTING)
    assert starts_of(ended) == [48]
    assert [(r["start"] - START_MS) // HOUR_MS for _, r, _ in ended.messages if r.get("retracted")] == [50]


def test_early_results_follow_a_change_after_a_while_and_final_ones_immediately():
    results, keyed = Results(), Keyed()
    setting = SETTING.but(emit_every_s=5.0)
    function = Houses(setting, [DailyEnergy(setting)])
    function.open(keyed)
    keyed.now_ms = 1000

    def take(bursts):
        for [(keyed.key, row)] in rows_of(bursts, [1], setting, DailyEnergy.wanted):
            results.take(function.process_element(row, keyed))

    def sent():
        return [(pytest.approx(record["kwh"]), record["final"]) for _, record, _ in results.messages]

    # The first batch's results are emitted immediately: all days before it are over. The next two change them.
    take(every_two_hours(2, 4))
    assert sent() == [(0, False)] and not keyed.processing_timers
    take(every_two_hours(4, 8))
    assert keyed.processing_timers == {(shard_of(1, SHARDS), 6000)} and len(results.messages) == 1
    for time_ms in keyed.due(keyed.processing_timers):
        results.take(function.on_timer(time_ms, keyed))
    # 100 W from 2 to 6 o'clock; then to midnight (the day is over at 1 a.m.), and 2 h of the next.
    assert sent()[1:] == [(0.4, False)]
    take(every_two_hours(8, 26))
    assert len(results.messages) == 2
    take(every_two_hours(26, 28))
    assert sent()[2:] == [(2.2, True), (0.2, False)]
    for time_ms in keyed.due(keyed.processing_timers | keyed.event_timers):
        results.take(function.on_timer(time_ms, keyed))
    assert len(results.messages) == 4, "nothing is new"


def test_a_day_begun_before_hours_were_kept_has_none_and_the_next_has_all():
    results, keyed = Results(), Keyed()
    for hours, stages in (((0, 10), [Thresholds(SETTING)]), ((10, 52), [DailyEnergy(SETTING), Thresholds(SETTING)])):
        houses = Houses(SETTING, stages)
        houses.open(keyed)
        for [(keyed.key, row)] in rows_of(every_two_hours(*hours), [1], SETTING, Thresholds.wanted):
            results.take(houses.process_element(row, keyed))
    first, second = (record for record in results.last("daily_energy").values() if record["final"])
    assert (first["kwh"], first["hours"], first["hour_starts"], first["hour_kwh"]) == (pytest.approx(2.4), [], [], [])
    assert (second["kwh"], second["hours"]) == (pytest.approx(2.4), list(range(24)))
    assert second["hour_kwh"] == [pytest.approx(0.1)] * 24 and second["hour_covered_s"] == [3600] * 24
    assert second["hour_starts"] == [START_MS + h * HOUR_MS for h in range(24, 48)]


def test_houses_of_a_shard_take_turns_with_their_early_results():
    results, keyed = Results(), Keyed()
    houses = Houses(SETTING, [DailyEnergy(SETTING)])
    houses.open(keyed)
    ids = list(range(1, 2 * (EARLY_HOUSES + 3), 2))  # all of one shard
    for hour in (2, 4):
        bursts = [b for house_id in ids for b in every_two_hours(hour, hour + 2, house_id=house_id)]
        for [(keyed.key, row)] in rows_of(bursts, [len(bursts)], SETTING, DailyEnergy.wanted):
            results.take(houses.process_element(row, keyed))

    def sent_by_the_next_timer() -> list[int]:
        [(_, keyed.now_ms)] = keyed.processing_timers
        before = len(results.messages)
        for time_ms in keyed.due(keyed.processing_timers):
            results.take(houses.on_timer(time_ms, keyed))
        return [record["house_id"] for _, record, _ in results.messages[before:]]

    assert houses.waiting() == ids and sent_by_the_next_timer() == ids[:EARLY_HOUSES]
    for [(keyed.key, row)] in rows_of(every_two_hours(6, 8, house_id=1), [1], SETTING, DailyEnergy.wanted):
        results.take(houses.process_element(row, keyed))
    assert sent_by_the_next_timer() == [*ids[EARLY_HOUSES:], 1]
    assert houses.waiting() == [] and not keyed.processing_timers


def test_timers_that_a_checkpoint_lacks_are_registered_again_with_the_first_message_after_it():
    results, keyed = Results(), Keyed()

    def take(hour):
        for [(keyed.key, row)] in rows_of(every_two_hours(hour, hour + 2), [1], SETTING, DailyEnergy.wanted):
            results.take(houses.process_element(row, keyed))

    for hours in (2, 4), (6,):
        houses = Houses(SETTING, [DailyEnergy(SETTING)])
        houses.open(keyed)
        keyed.processing_timers.clear()
        keyed.event_timers.clear()
        for hour in hours:
            take(hour)
        assert len(keyed.processing_timers) == len(keyed.event_timers) == 1 and houses.waiting() == [1]


def test_an_alert_is_emitted_with_the_batch_of_its_first_reading():
    # A limit of 100 W + 500 W is there once the first day is closed: at 1 a.m., hour 25.
    bursts = every_two_hours(0, 32, h28=3000.0)
    results, _, _ = pipeline(bursts[:15], [1], SETTING, [Thresholds, Spikes])
    [alert] = results.last("alerts").values()
    assert (alert["open"], alert["readings"], alert["peak_watts"], alert["excess_kwh"]) == (True, 1, 3000, 0)
    results, _, _ = pipeline(bursts, [1], SETTING, [Thresholds, Spikes])
    [alert] = results.last("alerts").values()
    # (3000 - limit) W for 2 h; the limit is 500 W over the 1 % bin of 100 W.
    assert alert["open"] is False and alert["excess_kwh"] == pytest.approx(2 * (3 - alert["limit_watts"] / 1000))
    assert alert["limit_watts"] == pytest.approx(600, abs=1)


def test_a_replay_leaves_the_records_of_its_days_only():
    bursts = every_two_hours(0, 24 * 6, h28=3000.0, h60=3000.0, h100=3000.0)
    bursts.insert(40, burst(START_MS + HOUR_MS, START_MS + 2 * HOUR_MS, {2: [(START_MS + HOUR_MS, 1)]}))
    bursts.insert(65, burst(START_MS + 50 * HOUR_MS, START_MS + 51 * HOUR_MS, {2: [(START_MS + 50 * HOUR_MS, 1)]}))
    _, whole, _ = pipeline(bursts, [3], SETTING)
    _, replayed, _ = pipeline(bursts, [3], SETTING, run=Run(replay_from="2011-04-20", replay_to="2011-04-21"))
    days = {days_since_1970(date(2011, 4, 20)), days_since_1970(date(2011, 4, 21))}
    for topic, all_records, some in (("daily_energy", 6, 2), ("thresholds", 8, 2), ("alerts", 3, 1), ("late", 2, 1)):
        records = whole.last(topic)
        expected = {key: record for key, record in records.items() if record["date"] in days}
        assert (len(records), len(expected)) == (all_records, some)
        assert {key: {**r, "house_time": 0} for key, r in replayed.last(topic).items()} == {
            key: {**r, "house_time": 0} for key, r in expected.items()}


def test_a_dead_letter_goes_on_to_its_topic():
    letter = dict(partition=2, offset=7, received=START_MS, reason="it is no Avro", payload=b"?")
    row = Row(None, encode("dead_letter", letter))
    for run, expected in ((LIVE, [letter]), (Run(replay_from="2011-04-18", replay_to="2011-04-18"), [letter]),
                          (Run(replay_from="2011-04-19", replay_to="2011-04-19"), [])):
        keyed, results = Keyed(), Results()
        keyed.key = 0
        houses, join = Houses(SETTING, [], run), SpikesJoin(SETTING, run)
        for function, process in ((houses, houses.process_element), (join, join.process_element1)):
            function.open(keyed)
            results.take(process(fitting(row, BATCHES), keyed))
        assert [(topic, record) for topic, record, _ in results.messages] == [("dead_letter", r) for r in expected] * 2
        assert keyed.event_timers == set() and keyed.state == {}


def test_a_house_without_readings_emits_nothing():
    bursts = [burst(START_MS, START_MS + 1000, {1: []}), burst(START_MS, START_MS + 1000, {})]
    _, ended, keyed = pipeline(bursts, [1], SETTING)
    assert ended.messages == [] and keyed.event_timers == set()
    rows = [row for batch in rows_of(bursts, [1], SETTING, Spikes(SETTING).wanted) for row in batch]
    results, keyed = spikes_alone(rows, [], [True, True], SETTING)
    end_of_topics(results, keyed, SETTING)
    assert results.messages == []


def test_a_batch_does_not_overtake_one_that_waits():
    # The versions up to that of 18 April hold up to hour 25: the burst of hour 60 waits, and that of hour 20, for which there is
    # a version, waits behind it. For by hour 60 its day is closed.
    bursts = [*every_two_hours(0, 20), *every_two_hours(60, 62), *every_two_hours(20, 22)]
    pipelined, _, _ = pipeline(bursts, [1], SETTING)
    rows = [row for batch in rows_of(bursts, [1], SETTING, Spikes(SETTING).wanted) for row in batch]
    versions = versions_of(pipelined)
    results, _ = spikes_alone(rows, versions, [False] * 3 + [True] * len(rows) + [False] * (len(versions) - 3), SETTING)
    assert results.readings_late() == pipelined.readings_late() == {(1, date(2011, 4, 18)): 1}


def test_a_message_that_is_no_threshold_is_ignored():
    bursts = every_two_hours(0, 32, h28=3000.0)
    pipelined, _, _ = pipeline(bursts, [1], SETTING)
    rows = [row for batch in rows_of(bursts, [1], SETTING, Spikes(SETTING).wanted) for row in batch]
    versions = [(1, b"?"), (1, encode_burst(bursts[0])), *versions_of(pipelined)]
    results, _ = spikes_alone(rows, versions, [False] * len(versions) + [True] * len(rows), SETTING)
    assert results.last("alerts") == pipelined.last("alerts") != {}


def test_readings_without_a_threshold_have_a_valid_house_time():
    bursts = every_two_hours(0, 4)
    rows = [row for batch in rows_of(bursts, [1], SETTING, Spikes(SETTING).wanted) for row in batch]
    results, keyed = spikes_alone(rows, [], [True, True], SETTING)
    end_of_topics(results, keyed, SETTING)
    assert [record["reason"] for _, record, _ in results.messages] == [NO_THRESHOLD] * 2
    assert all(START_MS <= record["house_time"] <= START_MS + 2 * HOUR_MS for _, record, _ in results.messages)


@pytest.mark.parametrize("before, after", [(NEW_YORK, "Europe/London"), ("Europe/London", NEW_YORK)])
@pytest.mark.parametrize("hour", [20, 30, 60])
def test_spikes_does_not_wait_for_ever_when_a_house_changes_its_time_zone(before, after, hour):
    spikes = {f"h{h}": 3000.0 for h in (50, 90)}
    bursts = every_two_hours(0, hour, before, **spikes) + every_two_hours(hour, 120, after, **spikes)
    pipelined, _, _ = pipeline(bursts, [1], SETTING)
    rows = [row for batch in rows_of(bursts, [1], SETTING, Spikes(SETTING).wanted) for row in batch]
    versions = versions_of(pipelined)
    results, keyed = spikes_alone(rows, versions, [False] * len(versions) + [True] * len(rows), SETTING)
    assert starts_of(results) == starts_of(pipelined) == [50, 90]
    assert not waiting_of(state_of(keyed, 1))


def test_a_day_that_was_closed_stays_closed_when_a_house_changes_its_time_zone():
    # London's 18 April ends at hour 19 and is closed at hour 20. New York's goes on to hour 24, yet it takes no more.
    bursts = every_two_hours(0, 22, "Europe/London") + every_two_hours(22, 24, watts=777.0) + every_two_hours(24, 150)
    _, ended, _ = pipeline(bursts, [1], SETTING)
    assert sum(record["readings"] for record in ended.last("daily_energy").values()) + sum(ended.readings_late().values()) == 75
    assert ended.readings_late() == {(1, date(2011, 4, 18)): 1}


# Overlaps

def kettle(first_s, last_s, reach_s, step_s=300):
    """Bursts of 5 minutes that reach so far into the next: a kettle of 3 kW for 100 s in each 10 minutes, a reading each 10 s."""
    def at(s):
        return START_MS + s * 1000

    return [burst(at(s), at(s + step_s + reach_s), {1: [(at(t), 3000.0 if 400 <= t % 600 < 500 else 0.0) for t in range(s, s + step_s + reach_s, 10)]})
            for s in range(first_s, last_s, step_s)]


@pytest.mark.parametrize("reach_s", [10, 130, 600])
def test_bursts_that_reach_into_the_next_ones_lose_nothing(reach_s):
    day_s = 86_400
    _, ended, keyed = pipeline(kettle(0, day_s + 7200, reach_s), [7], Settings())
    first, *_ = ended.last("daily_energy").values()
    assert (first["kwh"], first["readings"], first["covered_s"], first["final"]) == (12, 8640, 86_400, True)
    _, right, _ = pipeline(kettle(0, day_s + 7200, 0), [7], Settings())
    assert {**first, "duplicates": 0} == next(iter(right.last("daily_energy").values()))
    assert keyed.counted["readings_late"] == 0 and keyed.counted["readings_duplicate"] > reach_s // 10 * 300
    assert list(right.last("thresholds").values())[:3] == list(ended.last("thresholds").values())[:3]


def test_a_burst_across_several_spans_fills_the_holes_between_them():
    # 100 W from minute 10 to 20 and from 30 to 40; then a burst of 200 W from 0 to 50, a reading each minute: three pieces of it are new.
    def minutes(first, end, watts):
        times = [START_MS + m * 60_000 for m in range(first, end)]
        return burst(times[0], START_MS + end * 60_000, {1: [(t, watts) for t in times]})

    bursts = [minutes(10, 20, 100.0), minutes(30, 40, 100.0), minutes(0, 50, 200.0), minutes(50, 51, 0.0)]
    for sizes in ([1], [3], [4]):
        results, ended, _ = pipeline(bursts, sizes, Settings())
        [day] = ended.last("daily_energy").values()
        assert day["kwh"] == pytest.approx((20 * 100 + 30 * 200) / 60_000) and (day["readings"], day["duplicates"]) == (51, 20)
        assert not results.readings_late()
        means = {key[2] - START_MS: row[2] for key, row in ended.minutes().items()}
        assert [means[m * 60_000] for m in (0, 10, 20, 30, 40)] == [200, 100, 200, 100, 200]


def test_what_lies_in_a_closed_day_stays_late_and_the_rest_of_its_burst_is_used():
    bursts = every_two_hours(0, 28)  # 18 April is closed with the reading of hour 26
    across = burst(START_MS + 23 * HOUR_MS, START_MS + 29 * HOUR_MS, {1: [(START_MS + h * HOUR_MS, 500.0) for h in (23, 25, 28)]})
    results, ended, _ = pipeline([*bursts, across], [1], SETTING)
    assert results.readings_late() == {(1, date(2011, 4, 18)): 1}
    newest = max(ended.last("daily_energy").values(), key=lambda day: day["date"])
    assert (newest["readings"], newest["duplicates"]) == (3, 1)  # those of hours 24, 26 and 28; that of hour 25 is in a span that was received


def test_an_overlap_without_its_readings_is_reported():
    # A new worker begins with a burst of four days before the newest: that what goes on from it may overlap two days later, it cannot know.
    bursts = every_two_hours(0, 116)
    again = [burst(START_MS + h * HOUR_MS, START_MS + (h + 3) * HOUR_MS, {1: [(START_MS + h * HOUR_MS, 100.0)]}) for h in range(22, 118, 3)]
    results, _, keyed = pipeline([*bursts, *again], [1], SETTING, restarts=[58])
    reasons = Counter(record["reason"] for record in results.last("late").values())
    assert reasons[REFUSALS[OVERLAPPING]] == 1  # that of hours 115 to 118; those before it are in spans that were received
    assert sum(keyed.counted[f"readings_{name}"] for name in ("used", "duplicate", "late")) == 58 + len(again)
    results, _, _ = pipeline([*bursts, *again], [1], SETTING)
    assert not [r for r in results.last("late").values() if r["reason"] == REFUSALS[OVERLAPPING]]


# Silent houses

def dates_of(results: Results) -> list[date]:
    return sorted(EPOCH + timedelta(days=version["date"]) for version in results.last("thresholds").values())


def silent(days: int, window_days: int) -> tuple[Results, dict[date, dict]]:
    """A week of 100 W, some days without a reading, then one day: (results, versions by date)."""
    back = 24 * (7 + days)
    setting = SETTING.but(window_days=window_days)
    results, ended, _ = pipeline([*every_two_hours(0, 168), *every_two_hours(back, back + 28)], [5], setting)
    assert_thresholds(results, judged([*every_two_hours(0, 168), *every_two_hours(back, back + 28)], setting), setting)
    return ended, {EPOCH + timedelta(days=v["date"]): v for v in results.last("thresholds").values()}


def test_a_house_that_returns_after_a_year_has_one_version_for_all_of_it():
    _, versions = silent(365, 7)
    back = date(2012, 4, 24)  # a year after 25 April 2011, the first day without a reading, there being a 29 February
    assert [day for day in versions if day > date(2011, 4, 24)] == [back - timedelta(days=2), back - timedelta(days=1), back, back + timedelta(days=1)]
    gap = versions[back - timedelta(days=2)]
    one_am = {day: midnight_ms(ZoneInfo(NEW_YORK), day) + HOUR_MS for day in (date(2011, 4, 25), back - timedelta(days=1))}
    assert (gap["valid_from"], gap["valid_to"]) == tuple(one_am.values())
    assert [versions[day]["meters"] for day in (gap and back - timedelta(days=2), back)] == [[], []], "nothing is left in the window"
    assert [(m["readings"], m["covered_s"], m["warming_up"]) for m in versions[back + timedelta(days=1)]["meters"]] == [(12, 86_400, False)]


def test_a_window_is_aged_by_the_days_without_readings():
    # Readings on 18 to 24 April, the last of which holds 20 h into the 25th; none until 29 April.
    _, versions = silent(4, 7)
    assert sorted(day.day for day in versions) == [16, 17, 18, 19, 20, 21, 22, 23, 24, 27, 28, 29, 30]
    [week] = versions[date(2011, 4, 27)]["meters"]  # in force from the 25th on; of 20 to 26 April
    assert (week["readings"], week["covered_s"]) == (5 * 12, 5 * 86_400 + 72_000)
    [three] = versions[date(2011, 4, 29)]["meters"]  # of 22 to 28 April
    assert (three["readings"], three["covered_s"], three["warming_up"]) == (3 * 12, 3 * 86_400 + 72_000, False)
    _, versions = silent(10, 7)
    assert versions[date(2011, 5, 5)]["meters"] == []
    _, versions = silent(10, 14)
    assert versions[date(2011, 5, 5)]["meters"][0]["readings"] == 4 * 12  # of 21 April to 4 May


def test_a_first_burst_of_1970_costs_no_more_than_another():
    long_ago = burst(3 * DAY_MS, 3 * DAY_MS + HOUR_MS, {1: [(3 * DAY_MS, 100.0)]})
    results, ended, _ = pipeline([long_ago, *every_two_hours(0, 26)], [1], SETTING.but(oldest_date="1970-01-03"))
    assert dates_of(results) == [date(1970, 1, 2), date(1970, 1, 3), date(2011, 4, 16), date(2011, 4, 17), date(2011, 4, 18)]
    assert len(ended.last("daily_energy")) == 4  # two of 1970: a reading holds on into the next day
