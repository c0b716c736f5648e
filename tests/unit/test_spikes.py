"""Spikes: alerts as the pipeline emits them, and the spikes job alone, which waits for thresholds."""

from __future__ import annotations

from datetime import date
from functools import reduce
from operator import or_

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyflink.common import Row

from jobs.core.batches import Batch, Wanted, unpack
from jobs.core.shards import shard_of
from jobs.core.state import HouseState
from jobs.core.watch import Watch
from jobs.flink.operator import END_OF_TIME_MS
from jobs.spikes import NO_THRESHOLD, Spikes, SpikesJoin, Waiting, stages
from jobs.thresholds import Thresholds
from smartmeter.messages.codec import encode_burst
from smartmeter.settings import Settings
from tests.unit.driver import SETTING, SHARDS, Results, check_state, every_two_hours, houses_of, pipeline, rows_of, state_of, versions_of
from tests.unit.flink_stand_in import FlinkStandIn
from tests.unit.logs import HOUR_MS, NEW_YORK, START_MS, burst, cuts, examples, house_logs_and_settings

OF_ALERTS = (Thresholds, Spikes, Watch)
"""The stages without which there would be other alerts."""


def wanted_by(setting: Settings) -> Wanted:
    """What the spikes job reads of its topic."""
    return reduce(or_, (stage.wanted for stage in stages(setting)), Watch.wanted)


def spikes_alone(rows, versions, order, setting: Settings) -> tuple[Results, FlinkStandIn]:
    """The results of the spikes job for rows (shard, BATCHES) and versions (house_id, payload), which arrive in `order`.

    order: True for the next row, False for the next version.
    """
    results, keyed = Results(), FlinkStandIn()
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
        results.take(function.on_timer(keyed.now_ms, keyed))  # one that looks for silent houses
        check_state(keyed, setting)
    assert next(rows, None) is next(versions, None) is None
    return results, keyed


def end_of_topics(results: Results, keyed: FlinkStandIn, setting: Settings):
    """Signal the end of its topics to the spikes job."""
    for time_ms in keyed.due(keyed.event_timers):
        assert time_ms == END_OF_TIME_MS
        function = SpikesJoin(setting)
        function.open(keyed)
        results.take(function.on_timer(time_ms, keyed))


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


def waiting_of(state: HouseState) -> list[Batch]:
    """The batches of a house that wait; each has a key of its own, and no other has."""
    waiting = Waiting(state)
    keys = [f"waiting/{n}" for n in range(waiting.first, waiting.end)]
    assert {f"{state.house_id}/{key}" for key in keys} == {
        key for key in state.of_shard.map if key.startswith(f"{state.house_id}/waiting/")
    }
    return [batch for key in keys for batch in unpack(state.get(key))]


def starts_of(results: Results) -> list[int]:
    """Hours since START_MS at which alerts start."""
    return sorted((record["start"] - START_MS) // HOUR_MS for record in results.last("alerts").values())


@examples
@given(house_logs_and_settings(), cuts, st.data())
def test_spikes_alone_emits_what_the_pipeline_emits_whenever_the_thresholds_arrive(log, sizes, data):
    bursts, setting = log
    pipelined, at_end, _ = pipeline(bursts, [3], setting, OF_ALERTS)
    rows = [row for batch in rows_of(bursts, sizes, setting, wanted_by(setting)) for row in batch]
    versions, order = data.draw(arrivals_of(rows, versions_of(pipelined)))
    results, keyed = spikes_alone(rows, versions, order, setting)
    assert results.last("alerts") == pipelined.last("alerts")
    assert results.readings_late() == pipelined.readings_late()
    end_of_topics(results, keyed, setting)
    assert results.last("alerts") == at_end.last("alerts")
    assert all(record["reason"] != NO_THRESHOLD for record in results.last("late").values())


@settings(parent=examples, max_examples=max(10, examples.max_examples // 4))
@given(house_logs_and_settings(), cuts, st.integers(0, 4), st.booleans())
def test_readings_without_a_threshold_are_reported_and_none_is_lost(log, sizes, known, rows_first):
    bursts, setting = log
    pipelined, _, _ = pipeline(bursts, sizes, setting, OF_ALERTS)
    rows = [row for batch in rows_of(bursts, sizes, setting, wanted_by(setting)) for row in batch]
    versions = versions_of(pipelined)[:known]
    order = [True] * len(rows) + [False] * len(versions)
    results, keyed = spikes_alone(rows, versions, order if rows_first else order[::-1], setting)
    waiting = [batch for house_id in houses_of(keyed) for batch in waiting_of(state_of(keyed, house_id))]
    before = results.readings_late()
    end_of_topics(results, keyed, setting)
    assert not any(waiting_of(state_of(keyed, house_id)) for house_id in houses_of(keyed))
    missed = {key: record for key, record in results.last("late").items() if record["reason"] == NO_THRESHOLD}
    assert sum((results.readings_late() - before).values()) == sum(
        int(batch.sections["readings"].sum() + batch.sections["refused"].sum()) for batch in waiting
    )
    if not known:
        assert sum(results.readings_late().values()) == sum(int(b.counts.sum()) for b in bursts)
        assert set(missed) == {b"0/%d" % n for n, b in enumerate(bursts) if b.counts.any()}


def test_readings_over_the_percentile_are_alerts_of_their_own_kind_where_the_setting_asks_for_it():
    """The percentile is the 1 % bin of 100 W, the limit 650 W. Two readings of 400 W are 200 W and more over the one, under the other."""
    bursts = every_two_hours(0, 40, h28=400.0, h30=400.0, h34=400.0)
    assert pipeline(bursts, [1], SETTING, [Thresholds, Spikes])[0].last("alerts") == {}
    results, _, _ = pipeline(bursts, [1], SETTING.but(percentile_watts=200.0), [Thresholds, Spikes])
    [(key, alert)] = results.last("alerts").items()
    assert key == alert["alert_id"].encode() and alert["alert_id"] == f"1/1/{START_MS + 28 * HOUR_MS}/percentile"
    assert (alert["kind"], alert["readings"], alert["open"]) == ("percentile", 2, False), "one reading alone is none"
    assert alert["percentile_watts"] == pytest.approx(100, rel=0.01) and alert["limit_watts"] == alert["percentile_watts"] + 200
    assert alert["excess_kwh"] == pytest.approx(4 * (0.4 - alert["limit_watts"] / 1000))


def test_an_alert_is_emitted_with_the_batch_of_its_second_reading():
    # A limit of 150 W + 500 W is there once the first day is closed: at 1 a.m., hour 25.
    bursts = every_two_hours(0, 34, h28=3000.0, h30=3000.0)
    results, _, _ = pipeline(bursts[:15], [1], SETTING, [Thresholds, Spikes])
    assert results.last("alerts") == {}
    results, _, _ = pipeline(bursts[:16], [1], SETTING, [Thresholds, Spikes])
    [alert] = results.last("alerts").values()
    # (3000 - limit) W for 2 h so far; the limit is 500 W over one and a half times the 1 % bin of 100 W.
    excess_kwh = 2 * (3 - alert["limit_watts"] / 1000)
    assert (alert["open"], alert["readings"], alert["peak_watts"]) == (True, 2, 3000) and alert["excess_kwh"] == pytest.approx(excess_kwh)
    results, _, _ = pipeline(bursts, [1], SETTING, [Thresholds, Spikes])
    [alert] = results.last("alerts").values()
    assert (alert["open"], alert["kind"]) == (False, "level") and alert["excess_kwh"] == pytest.approx(2 * excess_kwh)
    assert alert["limit_watts"] == pytest.approx(650, abs=1.5)


@pytest.mark.parametrize("watts, kinds", [(1250.0, []), (1350.0, ["glitch"])])
def test_a_reading_alone_is_a_glitch_from_twice_its_limit_on_once_it_is_over(watts, kinds):
    bursts = every_two_hours(0, 34, h28=watts)
    results, _, _ = pipeline(bursts[:15], [1], SETTING, [Thresholds, Spikes])
    assert results.last("alerts") == {}
    results, _, _ = pipeline(bursts, [1], SETTING, [Thresholds, Spikes])
    assert [(a["kind"], a["severity"], a["open"], a["readings"]) for a in results.last("alerts").values()] == [
        (kind, "info", False, 1) for kind in kinds
    ]


def test_an_alert_whose_start_moves_earlier_is_retracted():
    bursts = every_two_hours(0, 60, h48=3000.0, h50=3000.0, h52=3000.0)
    bursts.insert(26, bursts.pop(24))  # that of hour 48, after those of hours 50 and 52
    _, ended, _ = pipeline(bursts, [1], SETTING)
    assert starts_of(ended) == [48]
    assert [(r["start"] - START_MS) // HOUR_MS for _, r, _ in ended.messages if r.get("retracted")] == [50]


def test_a_house_without_readings_emits_nothing():
    bursts = [burst(START_MS, START_MS + 1000, {1: []}), burst(START_MS, START_MS + 1000, {})]
    _, ended, keyed = pipeline(bursts, [1], SETTING)
    assert ended.messages == [] and keyed.event_timers == set()
    rows = [row for batch in rows_of(bursts, [1], SETTING, wanted_by(SETTING)) for row in batch]
    results, keyed = spikes_alone(rows, [], [True, True], SETTING)
    end_of_topics(results, keyed, SETTING)
    assert results.messages == []


def test_a_batch_does_not_overtake_one_that_waits():
    # The versions up to that of 18 April hold up to hour 25: the bursts of hours 60 and 62 wait, and that of hour 20, for which there is
    # a version, waits behind them. For by hour 60 its day is closed.
    bursts = [*every_two_hours(0, 20), *every_two_hours(60, 64), *every_two_hours(20, 22)]
    pipelined, _, _ = pipeline(bursts, [1], SETTING)
    rows = [row for batch in rows_of(bursts, [1], SETTING, wanted_by(SETTING)) for row in batch]
    versions = versions_of(pipelined)
    results, _ = spikes_alone(rows, versions, [False] * 3 + [True] * len(rows) + [False] * (len(versions) - 3), SETTING)
    assert results.readings_late() == pipelined.readings_late() == {(1, date(2011, 4, 18)): 1}


def test_a_message_that_is_no_threshold_is_ignored():
    bursts = every_two_hours(0, 32, h28=3000.0)
    pipelined, _, _ = pipeline(bursts, [1], SETTING)
    rows = [row for batch in rows_of(bursts, [1], SETTING, wanted_by(SETTING)) for row in batch]
    versions = [(1, b"?"), (1, encode_burst(bursts[0])), *versions_of(pipelined)]
    results, _ = spikes_alone(rows, versions, [False] * len(versions) + [True] * len(rows), SETTING)
    assert results.last("alerts") == pipelined.last("alerts") != {}


def test_readings_without_a_threshold_have_a_valid_house_time():
    bursts = every_two_hours(0, 4)
    rows = [row for batch in rows_of(bursts, [1], SETTING, wanted_by(SETTING)) for row in batch]
    results, keyed = spikes_alone(rows, [], [True, True], SETTING)
    end_of_topics(results, keyed, SETTING)
    assert [record["reason"] for _, record, _ in results.messages] == [NO_THRESHOLD] * 2
    assert all(START_MS <= record["house_time"] <= START_MS + 2 * HOUR_MS for _, record, _ in results.messages)


@pytest.mark.parametrize("before, after", [(NEW_YORK, "Europe/London"), ("Europe/London", NEW_YORK)])
@pytest.mark.parametrize("hour", [20, 30, 60])
def test_spikes_does_not_wait_for_ever_when_a_house_changes_its_time_zone(before, after, hour):
    spikes = {"h50": 3000.0, "h90": 9000.0}  # each over the limit that the one before gives
    bursts = every_two_hours(0, hour, before, **spikes) + every_two_hours(hour, 120, after, **spikes)
    pipelined, _, _ = pipeline(bursts, [1], SETTING)
    rows = [row for batch in rows_of(bursts, [1], SETTING, wanted_by(SETTING)) for row in batch]
    versions = versions_of(pipelined)
    results, keyed = spikes_alone(rows, versions, [False] * len(versions) + [True] * len(rows), SETTING)
    assert starts_of(results) == starts_of(pipelined) == [50, 90]
    assert not waiting_of(state_of(keyed, 1))
