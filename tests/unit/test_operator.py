"""The operator of all jobs: timers, turns of the houses of a shard, dead letters, and parts that fail."""

from __future__ import annotations

import dataclasses
import logging

import pytest
from pyflink.common import Row

from jobs.core.house_days import HouseDays
from jobs.core.stage import Stage
from jobs.core.state_version import StateFault
from jobs.daily_energy import DailyEnergy
from jobs.flink.operator import BATCHES, EARLY_HOUSES, STAYS, Houses
from jobs.spikes import SpikesJoin
from smartmeter.messages.codec import decode, encode
from smartmeter.run import LIVE, Run
from tests.unit.driver import SETTING, Results, every_two_hours, rows_of, state_of
from tests.unit.flink_stand_in import FlinkStandIn, MapState, fitting
from tests.unit.logs import HOUR_MS, START_MS
from tests.unit.messages import good, houses, stages, to_batches


def test_houses_of_a_shard_take_turns_with_their_early_results():
    results, keyed = Results(), FlinkStandIn()
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

    assert list(houses.houses(keyed).waiting) == ids and sent_by_the_next_timer() == ids[:EARLY_HOUSES]
    for [(keyed.key, row)] in rows_of(every_two_hours(6, 8, house_id=1), [1], SETTING, DailyEnergy.wanted):
        results.take(houses.process_element(row, keyed))
    assert sent_by_the_next_timer() == [*ids[EARLY_HOUSES:], 1]
    assert not houses.houses(keyed).waiting and not keyed.processing_timers


def test_timers_that_a_checkpoint_lacks_are_registered_again_with_the_first_message_after_it():
    results, keyed = Results(), FlinkStandIn()

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
        assert len(keyed.processing_timers) == len(keyed.event_timers) == 1 and list(houses.houses(keyed).waiting) == [1]


def test_a_dead_letter_goes_on_to_its_topic():
    letter = dict(partition=2, offset=7, received=START_MS, reason="it is no Avro", payload=b"?")
    row = Row(None, encode("dead_letter", letter))
    for of_run, expected in (
        (LIVE, [letter]),
        (Run(replay_from="2011-04-18", replay_to="2011-04-18"), [letter]),
        (Run(replay_from="2011-04-19", replay_to="2011-04-19"), []),
    ):
        keyed, results = FlinkStandIn(), Results()
        keyed.key = 0
        houses, join = Houses(SETTING, [], of_run), SpikesJoin(SETTING, of_run)
        for function, process in ((houses, houses.process_element), (join, join.process_element1)):
            function.open(keyed)
            results.take(process(fitting(row, BATCHES), keyed))
        assert [(topic, record) for topic, record, _ in results.messages] == [("dead_letter", r) for r in expected] * 2
        assert keyed.event_timers == set() and keyed.state == {}


class Breaking(Stage):
    """Fails on a batch that has a message of offset 1 or 4, after it has changed what it can."""

    def take(self, change):
        change.state.put("runs", b"of this batch")
        change.state.put("pane/7", b"of this batch")
        yield (
            "late",
            {
                "partition": 0,
                "offset": 0,
                "house_id": 1,
                "date": 1,
                "start": 0,
                "end": 0,
                "readings": 0,
                "kwh": 0.0,
                "house_time": 0,
                "reason": "",
            },
        )
        if set(change.batch.sections["offset"].tolist()) & {1, 4}:
            raise IndexError("x" * 5000)


def test_a_message_on_which_a_part_fails_is_a_dead_letter_and_changes_nothing(caplog):
    keyed, payloads = FlinkStandIn(), [good(1, hour) for hour in range(6)]
    with caplog.at_level(logging.ERROR):
        found = houses(to_batches(payloads), keyed, [Breaking()])
    dead = {record["offset"]: record for topic, record in found if topic == "dead_letter"}
    assert set(dead) == {1, 4}
    assert all(
        record["reason"].startswith("the job fails on it: IndexError: xxx")
        and record["reason"].endswith(STAYS)
        and len(record["reason"]) < 1200
        and record["payload"] == b""
        for record in dead.values()
    )
    assert dead[1]["received"] == START_MS + 2 * HOUR_MS
    house = HouseDays.from_bytes(state_of(keyed, 1).get("days"))
    assert house.sections["readings"].sum() == 4
    assert (keyed.counted["readings_used"], keyed.counted["messages_failed"], keyed.counted["results", "topic", "dead_letter"]) == (4, 2, 2)
    assert keyed.counted["results", "topic", "late"] == sum(topic == "late" for topic, _ in found)
    assert len(caplog.records) == 1


def test_nothing_of_a_house_is_changed_by_a_batch_that_fails_alone():
    keyed = FlinkStandIn()
    houses(to_batches([good(1)], first_offset=9), keyed, [Breaking()])
    before = {key: dict(of) for key, of in keyed.state.items()}
    houses(to_batches([good(1, 1)], first_offset=1), keyed, [Breaking()])
    assert before == keyed.state


def test_state_that_cannot_be_read_is_no_messages_fault(monkeypatch):
    monkeypatch.setattr(MapState, "get", lambda self, key: 1 / 0)
    with pytest.raises(StateFault, match="the state of a shard fails: ZeroDivisionError"):
        houses(to_batches([good(1)]), FlinkStandIn(), [])


ANEW = Run(replay_from="2011-04-17", replay_to="2011-04-20", archived=True, anew=77)


def values_of(keyed: FlinkStandIn, house_id: int) -> dict[str, bytes | None]:
    """A house's state, its days without their revision."""
    state = state_of(keyed, house_id)
    days = dataclasses.replace(HouseDays.from_bytes(state.get("days")), revision=0).to_bytes()
    return {name: state.get(name) for name in (*state.small, *state.large)} | {"days": days}


def test_a_house_begins_anew_once_in_a_run_and_others_stay():
    in_order = FlinkStandIn()
    houses(to_batches([good(1, hour) for hour in range(40)]), in_order, stages(SETTING))
    keyed = FlinkStandIn()
    houses(to_batches([good(1, hour) for hour in range(30, 40)] + [good(3, 5)]), keyed, stages(SETTING))
    state, before, other = state_of(keyed, 1), 10**15, values_of(keyed, 3)
    state.put("days", dataclasses.replace(HouseDays.from_bytes(state.get("days")), revision=before).to_bytes())  # ahead of the wall clock
    state.keep()
    for hours in (range(20), range(20, 40)):  # the second after a restart of the job
        found = houses(to_batches([good(1, hour) for hour in hours]), keyed, stages(SETTING), ANEW)
        assert all(record["revision"] > before for topic, record in found if topic in ("daily_energy", "thresholds"))
        assert not [topic for topic, _ in found if topic == "late"]
    assert values_of(keyed, 1) == values_of(in_order, 1) and values_of(keyed, 3) == other
    houses(to_batches([good(1, 3)]), keyed, stages(SETTING), dataclasses.replace(ANEW, anew=78))
    assert HouseDays.from_bytes(state_of(keyed, 1).get("days")).clock_ms == START_MS + 3 * HOUR_MS


def test_a_run_in_which_houses_begin_anew_leaves_early_results_of_others_waiting():
    keyed, function = FlinkStandIn(), Houses(SETTING, [DailyEnergy(SETTING)], ANEW)
    for hour in (0, 1, 2):  # the first two close days
        houses(to_batches([good(house_id, hour) for house_id in (1, 3, 5)]), keyed, [DailyEnergy(SETTING)])
    for hour in (0, 1, 2):  # the first two close days
        houses(to_batches([good(3, hour)]), keyed, [DailyEnergy(SETTING)], ANEW)
    function.open(keyed)
    [(_, keyed.now_ms)] = keyed.processing_timers
    found = [decode(value)[1] for time_ms in keyed.due(keyed.processing_timers) for _, _, value in function.on_timer(time_ms, keyed)]
    assert [record["house_id"] for record in found] == [3] and list(function.houses(keyed).waiting) == [1, 5]
    assert len(keyed.processing_timers) == 1


class Opening(Stage):
    """Opens an alert with each batch."""

    def take(self, change):
        change.opened += 1
        change.state.put("runs", bytes(len(change.state.get("runs") or b"") + 1))
        yield from ()

    def open_alerts(self, state, house):
        return len(state.get("runs") or b"")


def test_the_open_alerts_of_a_house_that_begins_anew_are_no_longer_counted():
    keyed = FlinkStandIn()
    for hour in range(4):
        houses(to_batches([good(1, hour), good(3, hour)]), keyed, [Opening()])
    assert keyed.counted["open_alerts"]() == 8
    houses(to_batches([good(1)]), keyed, [Opening()], ANEW)
    assert keyed.counted["open_alerts"]() == 4 + 1
