"""Daily energy: when results are emitted, and which have hours."""

from __future__ import annotations

import pytest

from jobs.core.shards import shard_of
from jobs.daily_energy import DailyEnergy
from jobs.flink.operator import Houses
from jobs.thresholds import Thresholds
from smartmeter.messages.codec import IMPORT
from tests.unit.driver import SETTING, SHARDS, Results, every_two_hours, pipeline, rows_of
from tests.unit.flink_stand_in import FlinkStandIn
from tests.unit.logs import HOUR_MS, START_MS, burst, with_registers
from tests.unit.outcomes import assert_energy, judged


def test_early_results_follow_a_change_after_a_while_and_final_ones_immediately():
    results, keyed = Results(), FlinkStandIn()
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


@pytest.mark.parametrize(
    "later, kwh", [([], [(0.8, False), (0.8, True), (1.4, True)]), ([(20, 0.0)], [(0.8, False), (0.4, False), (0.4, True), (0.0, True)])]
)
def test_a_day_into_which_only_a_reading_of_the_day_before_holds_has_its_row_once_it_is_over(later, kwh):
    """Meter 1 draws 100 W from 16 o'clock on, for 22 h, unless a reading of 20 o'clock comes later that ends it."""

    def hours(begin, end, meter, *readings):
        at_ms = [(START_MS + hour * HOUR_MS, watts) for hour, watts in readings]
        return burst(START_MS + begin * HOUR_MS, START_MS + end * HOUR_MS, {meter: at_ms})

    bursts = [
        hours(0, 18, 1, (16, 100.0)),
        hours(24, 40, 2, (30, 0.0), (39, 0.0)),
        hours(40, 48, 2, (47, 0.0)),
        hours(18, 24, 1, *later),
        hours(48, 74, 2, (73, 0.0)),
    ]
    setting = SETTING.but(allowed_lateness_s=24 * 3600.0)
    results, ended, _ = pipeline(bursts, [1], setting, stages_of=(DailyEnergy,))
    of_meter_1 = [(record["kwh"], record["final"]) for _, record, _ in results.messages if record["meter_id"] == 1]
    assert [row for n, row in enumerate(of_meter_1) if row not in of_meter_1[:n]][1:] == kwh
    assert_energy(ended, judged(bursts, setting))


def test_a_register_corrects_an_hour_once_it_is_over():
    """By power the meter draws 100 W, by its register 110 W; both are read each quarter of an hour."""
    quarter_ms, found = HOUR_MS // 4, []
    times = [START_MS + quarter * quarter_ms for quarter in range(10)]
    bursts = [
        with_registers(burst(at, at + quarter_ms, {1: [(at, 100)]}), {(1, IMPORT): [(at, 110 * (at - START_MS) // 3600)]}) for at in times
    ]
    for n in range(1, 11):
        _, ended, _ = pipeline(bursts[:n], [1], SETTING)
        assert_energy(ended, judged(bursts[:n], SETTING))
        [day] = ended.final["daily_energy"].values()
        found.append(day["kwh"])
    assert found == pytest.approx([0, 0.025, 0.05, 0.075, 0.11, 0.135, 0.16, 0.185, 0.22, 0.245])


def test_a_day_begun_before_hours_were_kept_has_none_and_the_next_has_all():
    results, keyed = Results(), FlinkStandIn()
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


def test_what_is_fed_in_has_its_own_columns_also_by_hour():
    results, keyed = Results(), FlinkStandIn()
    houses = Houses(SETTING, [DailyEnergy(SETTING)])
    houses.open(keyed)
    powers = [500.0, -2000.0, -0.25] + [100.0] * 24
    bursts = [burst(at, at + HOUR_MS, {1: [(at, watts)]}) for at, watts in zip(range(START_MS, START_MS + 27 * HOUR_MS, HOUR_MS), powers)]
    for [(keyed.key, row)] in rows_of(bursts, [len(bursts)], SETTING, DailyEnergy.wanted):
        results.take(houses.process_element(row, keyed))
    [first] = (record for record in results.last("daily_energy").values() if record["final"])
    assert (first["kwh"], first["exported_kwh"], first["covered_s"]) == (pytest.approx(2.6), 2.00025, 86_400)
    assert first["hour_kwh"][:4] == [0.5, 0, 0, pytest.approx(0.1)] and first["hour_exported_kwh"][:4] == [0, 2, 0.00025, 0]
    assert [record["hour_exported_kwh"] for record in results.last("daily_energy").values() if not record["final"]] == [[]]
