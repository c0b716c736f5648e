"""./smw bench watchdog on a house whose alerts can be worked out by hand."""

import argparse
import json
import re
from datetime import date, timedelta
from itertools import pairwise

import numpy as np
import pytest

from bench import watchdog
from bench.watching.core import UNSEEN, Core
from bench.watching.faults import Placing
from bench.watching.scores import Outcome
from bench.watching.watched import Watched, last_of_each, number
from generator.datasets import measured_houses
from generator.houses import HouseDay
from smartmeter.errors import UserError
from smartmeter.local_days import local_date, midnight_ms
from smartmeter.settings import Settings

FIRST, DAYS, ZONE = date(2013, 3, 28), 13, "Europe/London"
"""The fourth of these days has 23 hours. The mains are always on: only a glitch exceeds their limit, 1.15 x 2200 + 3000 = 5530 W.
The kettle's limit is 1.15 x 2000 + 30 = 2330 W, the fridge's 1.15 x 80 + 30 = 122 W. The mains hold 120 W beside the other meters, so the kind
hour is for more than 13 minutes over about 1.1 kW."""

PLACING = Placing(1, 4, 30.0, 1_000_000)


def write_house(folder, times_s, **watts_of):
    """Write a house: label -> power at each time."""
    (folder / "house_1").mkdir(parents=True)
    (folder / "house_1" / "labels.dat").write_text("".join(f"{channel} {label}\n" for channel, label in enumerate(watts_of, 1)))
    for channel, watts in enumerate(watts_of.values(), 1):
        np.savetxt(folder / "house_1" / f"channel_{channel}.dat", np.column_stack([times_s, watts]), fmt="%d")


def times_s(days, period_s):
    """The times of readings over days from FIRST on, in s since 1970-01-01T00:00Z."""
    return np.arange(midnight_ms(FIRST, ZONE), midnight_ms(FIRST + timedelta(days=days), ZONE), period_s * 1000) // 1000


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder of one house: mains, kettle, fridge; a reading a minute."""
    folder, at_s = tmp_path_factory.mktemp("made") / "kitchen", times_s(DAYS, 60)
    minutes = at_s // 60
    kettle = np.where(minutes % 600 < 4, 2000, 0)
    fridge = np.where(minutes % 60 < 20, 80, 0)
    write_house(folder, at_s, aggregate=120 + kettle + fridge, kettle=kettle, fridge=fridge)
    return folder


def alerts_of(folder):
    """(kind, meter, duration in s) of each alert of the house in a folder."""
    [house] = measured_houses(folder)
    watched = Watched(house, warm_up_days=1)
    assert list(watched.watch(Core(Settings())))
    return [(alert.kind, alert.meter_id, (alert.end_ms - alert.start_ms) / 1000) for alert in watched.alerts]


def arguments(*argv):
    parser = argparse.ArgumentParser()
    watchdog.add_arguments(parser)
    return parser.parse_args([*map(str, argv)])


def run(*argv):
    return watchdog.run(arguments(*argv), Settings())


@pytest.fixture(scope="module")
def watched(data):
    [house] = measured_houses(data)
    watched = Watched(house, warm_up_days=7)
    assert len(list(watched.watch(Core(Settings())))) == DAYS
    return watched


def test_the_figures_of_the_house(data, tmp_path, capsys):
    assert run("--data", data, "--faults", 4, "--out", tmp_path) == 0
    printed = capsys.readouterr().out
    found = json.loads((tmp_path / "watchdog.json").read_text())
    assert found["houses"][0] | {"meters": None} == {
        "house": "kitchen/house_1",
        "timezone": ZONE,
        "meters": None,
        "first": "2013-03-28",
        "last": "2013-04-09",
        "days": 13,
        "judged_days": 6,
    }
    assert [meter["role"] for meter in found["houses"][0]["meters"]] == ["mains", "heater", "fridge"]
    assert [(row["alarms"], row["weekly"], round(row["high"], 3)) for row in found["false_alarms"]] == [(0, 0, 4.279)] * 2
    recall = {(row["fault"], row["meter_id"]): row for row in found["recall"] if row["house"]}
    for fault, meter_id, kind, delay_s in (
        ("x2, 10 min", 3, "level", 0),
        ("+1 kW, 10 min", 2, "level", 0),
        ("+1 kW, 10 min", 3, "level", 0),
        ("+3 kW, 10 min", 2, "level", 0),
        ("+3 kW, 10 min", 3, "level", 0),
        ("standby doubled, 1 day", 1, "standby", 22 * 3600),
        ("mains +5 kW, 15 min", 1, "hour", 13 * 60),
        ("mains dead, 1 day", 1, "dead", 3600),
        ("silent, 1 day", 1, "silent", 3600),
        ("silent, 1 day", 2, "silent", 3600),
        ("silent, 1 day", 3, "silent", 3600),
        ("glitch, 1 reading", None, "glitch", 0),
    ):
        row = recall[fault, meter_id]
        assert (row["share"], row["delay_s"], row["found_by"]) == (1, delay_s, {kind: 4 if meter_id else 12})
    assert recall["heater stuck, 6 h", 2]["found_by"] == recall["fridge never off, 6 h", 3]["found_by"] == {"run": 4}
    assert recall["fridge dead, 1 day", 3]["found_by"] == {"off": 4}
    assert recall["mains +2 kW, 15 min", 1]["found_by"] == {"hour": 4}
    assert "kitchen/house_1  2013-03-28 to 2013-04-09" in printed and "0 of 0" in printed
    heads, _, *lines = printed[printed.index("injected fault") :].splitlines()
    assert re.split(" {2,}", heads)[1:] == [
        *("faults", "recall", "95 %", "median delay, min", "found by", "after its end", "missed in an alert", "only on other meters"),
        "kitchen/house_1",
    ]
    [line] = [line for line in lines if line.startswith("x1.5")]
    assert re.split(" {2,}", line) == ["x1.5, 10 min", "8", "0.50", "0.22 - 0.78", "0.0", "1 band, 3 level", "0", "0", "0", "0.50"]


WASH_W = np.repeat([90, 2250, 90, 2250, 40], [10, 16, 25, 12, 20])
"""A dishwasher's programme: a pump for most of its time, and a heater; a reading a minute."""


def test_a_dishwasher_at_its_ordinary_work_raises_no_alert(tmp_path):
    at_s = times_s(2, 60)
    dishwasher = np.zeros(len(at_s), int)
    for begin in (20 * 60, 24 * 60 + 9 * 60, 24 * 60 + 21 * 60):
        dishwasher[begin : begin + len(WASH_W)] = WASH_W
    write_house(tmp_path, at_s, aggregate=208 + dishwasher, dish_washer=dishwasher)
    assert alerts_of(tmp_path) == []


def test_one_absurd_reading_of_a_fridge_is_a_glitch_and_no_spike(tmp_path):
    at_s = times_s(2, 8)
    fridge = np.where(at_s % 3600 < 1800, 87, 1)
    mains = 300 + fridge
    fridge[-3000] = 32_768
    write_house(tmp_path, at_s, aggregate=mains, fridge=fridge, washing_machine=np.zeros(len(at_s), int))
    assert alerts_of(tmp_path) == [("glitch", 2, 8)]


@pytest.mark.parametrize("first_hour", [0, 3])
def test_a_heat_pump_that_is_always_on_and_draws_3_kw_more_for_six_hours_raises_an_alert(tmp_path, first_hour):
    """Its standby of 38 W does not make mains of it: its limit is 1.15 x 2300 + 30 W, and not 3 kW higher. 21 hours are enough for it."""
    at_s = times_s(2, 60)
    minutes = np.arange(len(at_s)) % 240
    heat_pump = np.where(minutes < 3, 2300, np.where(minutes < 45, 1800, 38))
    heat_pump[26 * 60 : 32 * 60] += 3000
    at_s, heat_pump = at_s[first_hour * 60 :], heat_pump[first_hour * 60 :]
    write_house(tmp_path, at_s, aggregate=345 + heat_pump, heat_pump=heat_pump)
    assert alerts_of(tmp_path) == [("level", 2, 6 * 3600)]


def test_the_same_seed_gives_the_same_files(data, tmp_path, capsys):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run("--data", data, "--faults", 1, "--seed", seed, "--out", tmp_path / name)
    for file in "watchdog.json", "watchdog.svg":
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    first, other = (json.loads((tmp_path / name / "watchdog.json").read_text())["faults"] for name in "ac")
    assert [fault["fault"] for fault in first] == [fault["fault"] for fault in other] and first != other


def test_a_run_with_a_fault_equals_one_from_the_first_day_in_short_bursts(watched):
    from_the_first_day = Core(Settings(), burst_s=300)
    faults = {fault.kind.name: fault for fault in watched.faults(PLACING)}.values()
    assert len(faults) == 15
    for fault in faults:
        first, last = watched.day_at(np.array([fault.start_ms, fault.end_ms])).tolist()
        days, state, sent = [*watched.days[:first], *watched._with_fault(fault, watched.days[first : last + 2])], UNSEEN, []
        for day in days:
            alerts, state = from_the_first_day.take(watched.house, day, state)
            sent += alerts
        span = fault.start_ms, fault.end_ms
        expected = Outcome.of(watched.name, fault.meter_id, fault.kind.name, *span, last_of_each(sent), watched.alerts)
        assert watched.outcome(Core(Settings()), fault) == expected


def test_a_run_with_a_fault_goes_on_from_the_state_before_its_first_day_and_ends_the_day_after_its_last(data):
    taken = []

    class Recorder:
        def take(self, house, day, state):
            taken.append((day.date, *state))
            return [], {f"after {day.date}": b""}

    [house] = measured_houses(data)
    watched = Watched(house, warm_up_days=7)
    list(watched.watch(Recorder()))
    assert taken[:2] == [(FIRST, *UNSEEN), (FIRST + timedelta(days=1), f"after {FIRST}")] and len(taken) == DAYS
    taken.clear()
    fault = next(fault for fault in watched.faults(PLACING) if fault.kind.name == "silent, 1 day")
    watched.outcome(Recorder(), fault)
    begun = local_date(fault.start_ms, ZONE)
    days = [begun + timedelta(days=day) for day in (-1, 0, 1, 2)]
    assert taken == [(day, f"after {before}") for before, day in pairwise(days)]


def test_the_only_meter_of_a_house_may_be_silent_for_a_whole_day(watched):
    day = watched.days[8]
    empty = HouseDay(day.date, day.start_ms, day.end_ms, [(times[:0], watts[:0]) for times, watts in day.readings])
    assert Core(Settings()).take(watched.house, empty, UNSEEN) == ([], UNSEEN)


def test_labelled_days_are_scored_and_have_neither_faults_nor_false_alarms(data, tmp_path, capsys):
    spiked = tmp_path / "spiked"
    (spiked / "house_1").mkdir(parents=True)
    for file in (data / "house_1").iterdir():
        (spiked / "house_1" / file.name).write_bytes(file.read_bytes())
    lines = np.loadtxt(spiked / "house_1" / "channel_3.dat", np.int64)
    for day in (8, 9):  # 5 and 6 April, at noon
        lines[lines[:, 0] == (midnight_ms(FIRST + timedelta(days=day), ZONE) // 1000 + 12 * 3600), 1] = 900
    np.savetxt(spiked / "house_1" / "channel_3.dat", lines, fmt="%d")
    labels = tmp_path / "days.csv"
    labels.write_text("house,date,meter\n1,2013-04-05,3\n1,2013-04-07\n1,2013-03-30\n")
    run("--data", spiked, "--faults", 3, "--labels", labels, "--out", tmp_path)
    found = json.loads((tmp_path / "watchdog.json").read_text())
    score = found["labelled"]
    assert (score["precision"]["share"], score["recall"]["share"], score["f1"], score["not_judged"]) == (0.5, 0.5, 0.5, 1)
    assert found["false_alarms"][0]["alarms"] == 1 and found["false_alarms"][0]["weekly"] == pytest.approx(7 / 4)
    labelled = {number(date(2013, 4, 5)), number(date(2013, 4, 7))}
    zone_ms = 3_600_000
    assert found["faults"] and not {(fault["start_ms"] + zone_ms) // 86_400_000 for fault in found["faults"]} & labelled
    assert "labelled days" in capsys.readouterr().out


@pytest.mark.parametrize(
    "argv, sentence",
    [
        (["--faults", -1], "--faults -1: give 0 or more"),
        (["--warm-up-days", 0], "--warm-up-days 0: give 1 or more"),
        (
            ["--warm-up-days", 13],
            "no house has more than 13 days with readings, and 13 are warm-up; give more days, or a lower --warm-up-days",
        ),
        (["--timezone", "Paris"], "--timezone Paris: 'Paris' is no IANA time zone, such as Europe/Paris"),
        (["--timezone", "uci=Europe/Paris"], "--timezone uci=Europe/Paris: no folder uci in --data"),
        (["--labels", "/nowhere/days.csv"], "/nowhere/days.csv: No such file or directory; give a file with lines house,date[,meter]"),
    ],
)
def test_a_mistake_is_one_sentence(data, tmp_path, argv, sentence):
    with pytest.raises(UserError) as raised_error:
        run("--data", data, "--out", tmp_path, *argv)
    assert str(raised_error.value) == sentence


def test_a_folder_without_houses_and_one_given_twice_are_refused(data, tmp_path):
    with pytest.raises(UserError, match="no folder house_1, house_2, ... in it"):
        run("--data", tmp_path)
    with pytest.raises(UserError, match=r"there are two houses kitchen/house_1; give each folder once, or rename one"):
        run("--data", data, data)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"--out .*: .*; give a folder that can be written"):
        run("--data", data, "--faults", 0, "--out", tmp_path / "file")


def test_the_time_zone_of_one_folder_or_of_all(data):
    for given, zone in (([], ZONE), (["Europe/Paris"], "Europe/Paris"), (["Europe/Paris", "kitchen=Asia/Tokyo"], "Asia/Tokyo")):
        [house] = watchdog.houses_of(arguments("--data", data, "--timezone", *given) if given else arguments("--data", data), Settings())
        assert house.timezone == zone
