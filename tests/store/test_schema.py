"""The views on numbers worked by hand."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta
from itertools import permutations
from unittest.mock import patch

import pytest

from store import schema
from store.sink import COLUMNS

DAY = 18000  # 2019-04-14, in days since 1970-01-01
DAY_MS = DAY * 86_400_000
TODAY = int(time.time() // 86400)


def house(house_id, zip_code, updated=0):
    return (house_id, "America/New_York", "synthetic", zip_code, "Cambridge", "MA", 42.37, -71.11, 36349, updated)


FIGURES = ("power_kwh", "power_exported_kwh", "register_kwh", "register_exported_kwh", "register_faults")


def energy(
    house_id,
    meter_id,
    kwh,
    *,
    day=DAY,
    covered_s=86400.0,
    max_gap_s=1.0,
    readings=10,
    duplicates=0,
    final=True,
    revision=1,
    refused=0,
    hours=(),
    exported_kwh=0.0,
    hour_exported_kwh=(),
    gaps=0,
    figures=(None, None, None, None, 0),
):
    """hours: (seconds into the day, local hour, kWh, s covered). figures: by power and by register, and the register's faults."""
    starts, *columns = map(list, zip(*hours)) if hours else ([], [], [], [])
    return (
        house_id,
        meter_id,
        day,
        kwh,
        readings,
        duplicates,
        covered_s,
        max_gap_s,
        86400,
        final,
        revision,
        refused,
        [day * 86_400_000 + 1000 * start_s for start_s in starts],
        *columns,
        exported_kwh,
        list(hour_exported_kwh),
        gaps,
        *figures,
    )


USUAL = (False, [90, 60], 45, 3, 20, [], None, None, [100.0, 200.0], 5)
UNKNOWN = (None, [], None, None, None, [], None, None, [], None)


def threshold(house_id, meter_id, *, day=DAY, percentile_watts=200.0, limit_watts=330.0, revision=1, usual=USUAL):
    return (
        house_id,
        meter_id,
        day,
        (day - 1) * 86_400_000,
        day * 86_400_000,
        0.97,
        7,
        percentile_watts,
        1000,
        86400.0,
        limit_watts is None,
        limit_watts,
        revision,
        *usual,
    )


def alert(
    house_id,
    meter_id,
    start_s=0,
    *,
    day=DAY,
    duration_s=60,
    is_open=False,
    retracted=0,
    peak_watts=2000.0,
    excess_kwh=0.5,
    revision=1,
    rule="",
):
    """An alert that starts some seconds into a day; rule: its kind if that is one of duration."""
    start = day * 86_400_000 + 1000 * start_s
    return (
        f"{house_id}/{meter_id}/{start}" + f"/{rule}" * bool(rule),
        house_id,
        meter_id,
        day,
        start,
        start + int(1000 * duration_s),
        is_open,
        retracted,
        20,
        peak_watts,
        200.0,
        330.0,
        excess_kwh,
        revision,
        rule or "level",
        "critical",
        "2,000 W, over its limit of 330 W",
        "it falls to 330 W or less for 60 s",
        rule,
    )


def acknowledgement(house_id, meter_id, *, note="seen", withdrawn=0, acknowledged_s=100):
    """That of the alert at the start of DAY, given so many seconds into it."""
    return (f"{house_id}/{meter_id}/{DAY_MS}", house_id, note, "eve", withdrawn, DAY_MS + 1000 * acknowledged_s)


def time_of(start_s):
    """The time so many seconds into DAY, as the client gives it."""
    return datetime(2019, 4, 14) + timedelta(seconds=start_s)


def insert(writer, table, *rows):
    writer.insert(table, rows, column_names=COLUMNS[table])


@pytest.fixture
def meters(writer):
    """Houses 1 and 2: mains 1 and 2, refrigerator 3."""
    insert(
        writer,
        "meters",
        *(
            (h, m, label, kind, 0, 0, role)
            for h in (1, 2)
            for m, label, kind, role in (
                (1, "mains", "mains", "grid"),
                (2, "mains", "mains", "grid"),
                (3, "refrigerator", "appliance", "load"),
            )
        ),
    )


def test_only_the_newest_revision_shows(writer, reader, meters):
    insert(writer, "daily_energy", energy(1, 3, 2.5, revision=8))
    insert(writer, "daily_energy", energy(1, 3, 1.0, revision=7, final=False))
    insert(writer, "daily_energy", energy(1, 3, 2.5, revision=8))
    assert writer.query("SELECT house_id, date, label, kwh, final FROM daily_energy_by_label").result_rows == [
        (1, date(2019, 4, 14), "refrigerator", 2.5, True)
    ]
    assert reader.query("SELECT kwh FROM daily_energy").result_rows == [(2.5,)]


def test_energy_by_hour_has_the_hours_of_the_newest_revision(writer, reader, meters):
    insert(writer, "daily_energy", energy(1, 3, 2.5, hours=[(0, 23, 0.5, 600.0), (3600, 23, 2.0, 1800.0)], revision=8), energy(2, 99, 1.0))
    insert(
        writer,
        "daily_energy",
        energy(1, 3, 1.0, hours=[(0, 23, 1.0, 60.0), (7200, 0, 0.0, 60.0)], revision=7, final=False),
        energy(2, 98, 4.0, hours=[(3600, 1, 4.0, 3600.0)], exported_kwh=1.5, hour_exported_kwh=[1.5]),
    )
    for client in (writer, reader):
        assert client.query("SELECT * FROM energy_by_hour ORDER BY house_id, hour_start").result_rows == [
            (1, 3, "refrigerator", "appliance", time_of(0), date(2019, 4, 14), 23, 0.5, 600.0, True, 0.0, 0, "load"),
            (1, 3, "refrigerator", "appliance", time_of(3600), date(2019, 4, 14), 23, 2.0, 1800.0, True, 0.0, 0, "load"),
            (2, 98, "", "", time_of(3600), date(2019, 4, 14), 1, 4.0, 3600.0, True, 1.5, 0, ""),
        ]
        exported = "SELECT meter_id, exported_kwh FROM daily_energy_by_label ORDER BY meter_id"
        assert client.query(exported).result_rows == [(3, 0.0), (98, 1.5), (99, 0.0)]


def test_meter_without_description_shows_without_label(writer, meters):
    insert(writer, "daily_energy", energy(1, 99, 1.0))
    assert writer.query("SELECT meter_id, label, kind FROM daily_energy_by_label").result_rows == [(99, "", "")]
    assert writer.query("SELECT * FROM appliance_share").result_rows == []
    assert writer.query("SELECT meters, mains_coverage_percent FROM data_quality").result_rows == [(1, None)]


def test_newest_label_holds(writer, meters):
    insert(writer, "meters", (1, 3, "freezer", "appliance", 5, 0, "load"))
    insert(writer, "daily_energy", energy(1, 3, 1.0))
    assert writer.query("SELECT label FROM daily_energy_by_label").result_rows == [("freezer",)]


def test_appliance_share_is_of_both_mains_of_the_same_house_and_day(writer, meters):
    insert(
        writer,
        "daily_energy",
        energy(1, 1, 6.0),
        energy(1, 2, 4.0),
        energy(1, 3, 2.5),  # 2.5 / (6 + 4)
        energy(1, 1, 1.0, day=DAY + 1),
        energy(1, 3, 1.0, day=DAY + 1),  # 1 / 1
        energy(2, 1, 0.0),
        energy(2, 3, 1.0),
    )  # mains measured nothing
    assert writer.query("SELECT house_id, date, consumption_kwh, share_percent FROM appliance_share ORDER BY ALL").result_rows == [
        (1, date(2019, 4, 14), 10.0, 25.0),
        (1, date(2019, 4, 15), 1.0, 100.0),
        (2, date(2019, 4, 14), 0.0, None),
    ]


def test_energy_by_zip_counts_mains_and_houses_once(writer, meters):
    insert(writer, "houses", house(1, "02138"), house(2, "02139"))
    insert(writer, "houses", house(2, "02138", updated=1))  # house 2 moved: only its newest zip counts
    insert(writer, "daily_energy", energy(1, 1, 6.0), energy(1, 2, 4.0), energy(1, 3, 2.5), energy(2, 1, 20.0))
    assert writer.query("SELECT zip, date, houses, kwh, kwh_per_house FROM energy_by_zip").result_rows == [
        ("02138", date(2019, 4, 14), 2, 30.0, 15.0)
    ]


def test_data_quality(writer, meters):
    insert(
        writer,
        "daily_energy",
        energy(1, 1, 1.0, covered_s=86400.0, max_gap_s=3.0, readings=100, duplicates=1),
        energy(1, 2, 1.0, covered_s=43200.0, max_gap_s=43200.0, readings=50, duplicates=2, final=False, refused=1),
        energy(1, 3, 1.0, covered_s=0.0, max_gap_s=86400.0, readings=0, refused=8640),
    )
    answer = writer.query(
        "SELECT meters, coverage_percent, mains_coverage_percent, longest_gap_s, readings, duplicates, refused, final FROM data_quality"
    )
    assert answer.result_rows == [(3, 50.0, 75.0, 86400.0, 150, 3, 8641, False)]


def test_meters_whose_readings_lie_farther_apart_than_they_hold(writer, meters):
    half_hours = dict(readings=48, covered_s=48_000.0, gaps=48)
    insert(
        writer,
        "daily_energy",
        energy(1, 1, 1.0, readings=86_000, covered_s=80_000.0, gaps=20),  # it was offline now and then
        energy(1, 2, 1.0, readings=4, covered_s=4000.0, gaps=2),  # it sent two readings, twice
        *(energy(1, 3, 1.0, day=DAY + day, **half_hours) for day in range(3)),
        energy(1, 3, 1.0, day=DAY + 3, readings=24, covered_s=24_000.0, gaps=24, final=False),
        energy(2, 1, 1.0, **half_hours),
        energy(2, 1, 1.0, day=DAY + 1, readings=48, covered_s=86_400.0),  # it holds for half an hour since
        energy(2, 9, 1.0, readings=200, covered_s=43_200.0, gaps=20),
    )
    days = [date(2019, 4, 14 + day) for day in range(3)]
    assert writer.query("SELECT * FROM sparse_meters ORDER BY house_id, meter_id").result_rows == [
        (1, 3, "refrigerator", "appliance", 3, days[0], days[2], days[2], 1800.0, pytest.approx(100 * 38.4 / 86.4)),
        (2, 1, "mains", "mains", 1, days[0], days[0], days[1], 1800.0, pytest.approx(100 * 38.4 / 86.4)),
        (2, 9, "", "", 1, days[0], days[0], days[0], 432.0, 50.0),
    ]


def test_both_figures_of_meters_with_a_register(writer, meters):
    insert(
        writer,
        "daily_energy",
        energy(1, 1, 5.0, figures=(4.5, 1.0, 5.0, None, 2)),
        energy(1, 2, 3.0),
        energy(2, 9, 0.0, figures=(None, None, None, 7.5, 0)),
    )
    assert writer.query("SELECT * FROM sum_check ORDER BY house_id").result_rows == [
        (1, 1, "mains", date(2019, 4, 14), True, 5.0, 4.5, 0.5, None, 1.0, None, 2),
        (2, 9, "", date(2019, 4, 14), True, None, None, None, 7.5, None, None, 0),
    ]


def test_alerts_of_several_kinds_that_start_together_each_have_a_row(writer, reader):
    insert(writer, "alerts", alert(1, 3), alert(1, 3, rule="run"), alert(1, 3, rule="band"))
    insert(writer, "alerts", alert(1, 3, rule="run", excess_kwh=2.0, revision=2), alert(1, 3, rule="band", retracted=1, revision=2))
    assert reader.query("SELECT alert_kind, excess_kwh FROM alert_list ORDER BY ALL").result_rows == [("level", 0.5), ("run", 2.0)]


def test_an_alert_of_the_whole_house_has_its_name(writer, reader, meters):
    insert(writer, "houses", house(1, "02138"))
    insert(writer, "alerts", alert(1, 0, is_open=True, rule="silent"))
    for view in ("alert_list", "open_alerts", "top_meters"):
        assert reader.query(f"SELECT meter_id, label, kind FROM {view}").result_rows == [(0, "the house", "")]
    assert reader.query("SELECT zip, alerts FROM alerts_by_zip").result_rows == [("02138", 1)]


def test_newest_revision_of_a_threshold_shows(writer, reader):
    insert(writer, "thresholds", threshold(1, 3, revision=8), threshold(1, 3, day=DAY + 1, limit_watts=None))
    insert(writer, "thresholds", threshold(1, 3, percentile_watts=100.0, limit_watts=180.0, revision=7))
    assert reader.query("SELECT date, percentile_watts, warming_up, limit_watts FROM thresholds ORDER BY date").result_rows == [
        (date(2019, 4, 14), 200.0, False, 330.0),
        (date(2019, 4, 15), 200.0, True, None),
    ]


def test_threshold_from_the_beginning_of_time(writer, reader):
    row = list(threshold(1, 3))
    row[3] = 0
    insert(writer, "thresholds", row)
    assert reader.query("SELECT valid_from, valid_to FROM thresholds").result_rows == [(datetime(1970, 1, 1), time_of(0))]


def test_alert_list_shows_meter_and_place(writer, reader, meters):
    insert(writer, "houses", house(1, "02138"))
    insert(writer, "alerts", alert(1, 3, 60, duration_s=3, is_open=True, excess_kwh=0.1, revision=1))
    insert(writer, "alerts", alert(1, 3, 60, duration_s=90.5, excess_kwh=0.25, revision=3))
    insert(writer, "alerts", alert(1, 3, 60, duration_s=9, is_open=True, excess_kwh=0.2, revision=2))
    for client in (writer, reader):
        assert client.query("SELECT * EXCEPT stored FROM alert_list").result_rows == [
            (
                f"1/3/{DAY_MS + 60_000}",
                1,
                3,
                "refrigerator",
                "appliance",
                "Cambridge",
                "02138",
                date(2019, 4, 14),
                time_of(60),
                time_of(150.5),
                90.5,
                False,
                20,
                2000.0,
                200.0,
                330.0,
                0.25,
                "level",
                "critical",
                "2,000 W, over its limit of 330 W",
                "it falls to 330 W or less for 60 s",
                None,
                "",
                "",
            )
        ]
        assert client.query("SELECT stored FROM alert_list").result_rows == client.query("SELECT stored FROM alerts FINAL").result_rows


def test_alert_of_unknown_meter_and_house_shows_without_label_and_place(writer, meters):
    insert(writer, "alerts", alert(1, 99), alert(9, 1))
    assert writer.query("SELECT house_id, meter_id, label, kind, city, zip FROM alert_list ORDER BY ALL").result_rows == [
        (1, 99, "", "", "", ""),
        (9, 1, "", "", "", ""),
    ]
    assert writer.query("SELECT house_id, label, kind, alerts FROM top_meters ORDER BY ALL").result_rows == [(1, "", "", 1), (9, "", "", 1)]
    assert writer.query("SELECT * FROM alerts_by_zip").result_rows == []


FOUND, RETRACTED, FOUND_AGAIN = (
    alert(1, 3, excess_kwh=0.1, revision=1),
    alert(1, 3, retracted=1, revision=2),
    alert(1, 3, excess_kwh=0.3, revision=3),
)


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("rows", [*permutations([FOUND, RETRACTED]), *permutations([FOUND, RETRACTED, FOUND_AGAIN])])
def test_retraction_holds_until_the_alert_is_found_again_in_whichever_order(writer, reader, rows, merged):
    writer.command("TRUNCATE TABLE alerts")
    for row in rows:
        insert(writer, "alerts", row)
        if merged:
            writer.command("OPTIMIZE TABLE alerts FINAL")
    left = [(0.3,)] if FOUND_AGAIN in rows else []
    assert reader.query("SELECT excess_kwh FROM alerts").result_rows == left
    for view in ("alert_list", "top_meters"):
        assert writer.query(f"SELECT excess_kwh FROM {view}").result_rows == left


def profile(house_id, meter_id, minute=0, part=0, *, day=DAY, readings=60, watts=(1.5, 2.5, 4.0)):
    """A minute of a meter, so many minutes into a day; watts: lowest, mean and highest."""
    return (house_id, meter_id, max(day * 86_400 + 60 * minute, 0), part, readings, *watts)


def test_power_by_minute_puts_the_parts_of_a_minute_together(writer, reader, meters):
    insert(
        writer,
        "power_profile",
        profile(1, 3, readings=30, watts=(2, 3, 4)),
        profile(1, 3, part=7, readings=10, watts=(1, 1.5, 2)),
        profile(1, 3, part=8, readings=20, watts=(5, 6, 9)),
        profile(1, 3, 1),
        profile(1, 99, watts=(0, 0, 0)),
    )
    for client in (writer, reader):
        assert client.query("SELECT * FROM power_by_minute ORDER BY meter_id, minute").result_rows == [
            (1, 3, "refrigerator", "appliance", time_of(0), 60, 1.0, 3.75, 9.0),  # (30 * 3 + 10 * 1.5 + 20 * 6) / 60
            (1, 3, "refrigerator", "appliance", time_of(60), 60, 1.5, 2.5, 4.0),
            (1, 99, "", "", time_of(0), 60, 0.0, 0.0, 0.0),
        ]


def test_a_minute_that_comes_again_with_more_readings_takes_the_place_of_the_first_in_whichever_order(writer, reader):
    insert(writer, "power_profile", profile(1, 1, readings=20), profile(1, 1, 1, readings=60))
    insert(writer, "power_profile", profile(1, 1, readings=60, watts=(1, 2, 3)), profile(1, 1, 1, readings=20, watts=(9, 9, 9)))
    expected = [(time_of(0), 60, 2.0), (time_of(60), 60, 2.5)]
    for client in (writer, reader):
        assert client.query("SELECT minute, readings, mean_watts FROM power_by_minute ORDER BY minute").result_rows == expected
    writer.command("OPTIMIZE TABLE power_profile FINAL")
    assert writer.query("SELECT minute, readings, mean_watts FROM power_profile ORDER BY minute").result_rows == expected


def rule(house_id, meter_id, valid_from_s=0, *, withdrawn=False, sensitivity="low", normal=(), written=0, day_ms=DAY_MS):
    """normal: (kind, minutes, W)."""
    kinds, minutes, watts = map(list, zip(*normal)) if normal else ([], [], [])
    limits = (1500.0, 5, None, 600, None, None, None)
    at = day_ms + 1000 * valid_from_s
    return (house_id, meter_id, at, withdrawn, sensitivity, *limits, kinds, minutes, watts, "eve", at + written)


def test_rule_list_shows_until_when_each_rule_of_a_meter_holds(writer, reader, meters):
    insert(writer, "rules", rule(1, 3, 120, withdrawn=True), rule(1, 3, 0), rule(1, 0, 60), rule(2, 3, 30))
    insert(writer, "rules", rule(1, 3, 0, sensitivity="high", normal=[("run", 20, 0.0)], written=-5))  # takes the place of one
    insert(writer, "rules", rule(1, 3, 600), rule(1, 99))
    expected = [
        (1, 0, "the house", time_of(60), None, False, "low", []),
        (1, 3, "refrigerator", time_of(0), time_of(120), False, "high", ["run"]),
        (1, 3, "refrigerator", time_of(120), time_of(600), True, "low", []),
        (1, 3, "refrigerator", time_of(600), None, False, "low", []),
        (1, 99, "", time_of(0), None, False, "low", []),
        (2, 3, "refrigerator", time_of(30), None, False, "low", []),
    ]
    for client in (writer, reader):
        answer = client.query(
            "SELECT house_id, meter_id, label, valid_from, valid_to, withdrawn, sensitivity, normal_kinds FROM rule_list "
            "ORDER BY house_id, meter_id, valid_from"
        )
        assert answer.result_rows == expected
    columns = "limit_watts, limit_minutes, longest_on_minutes, longest_off_minutes, off_from, off_to, muted_until, normal_minutes, normal_watts, author"
    assert writer.query(
        f"SELECT {columns}, written FROM rule_list WHERE house_id = 1 AND meter_id = 3 ORDER BY valid_from LIMIT 1"
    ).result_rows == [(1500.0, 5, None, 600, None, None, None, [20], [0.0], "eve", time_of(-0.005))]


SEEN, TAKEN_BACK, SEEN_AGAIN = (
    acknowledgement(1, 3, acknowledged_s=1),
    acknowledgement(1, 3, withdrawn=1, acknowledged_s=2),
    acknowledgement(1, 3, note="once more", acknowledged_s=3),
)


@pytest.mark.parametrize(
    "rows", [[], *permutations([SEEN]), *permutations([SEEN, TAKEN_BACK]), *permutations([SEEN, TAKEN_BACK, SEEN_AGAIN])]
)
def test_alert_list_shows_who_has_seen_an_alert_unless_that_was_withdrawn(writer, reader, rows):
    writer.command("TRUNCATE TABLE acknowledgements")
    insert(writer, "alerts", alert(1, 3, is_open=True), alert(2, 3, 1))
    insert(writer, "acknowledgements", acknowledgement(1, 2), acknowledgement(3, 3), *rows)  # two of no alert
    seen = {1: ("seen", "eve", time_of(1)), 3: ("once more", "eve", time_of(3))}.get(len(rows), ("", "", None))
    for client in (writer, reader):
        answer = client.query("SELECT house_id, open, note, author, acknowledged FROM alert_list ORDER BY house_id")
        assert answer.result_rows == [(1, True, *seen), (2, False, "", "", None)]
    assert writer.query("SELECT house_id, note FROM open_alerts").result_rows == [(1, seen[0])]


def test_open_alerts_newest_first(writer):
    insert(
        writer,
        "alerts",
        alert(1, 1, 10, is_open=True),
        alert(1, 1, 5),
        alert(2, 1, 30, is_open=True),
        alert(1, 2, 20, is_open=True),
        alert(1, 3, 40, is_open=True),
        alert(1, 4, 50, is_open=True),
    )
    insert(writer, "alerts", alert(1, 3, 40, revision=2), alert(1, 4, 50, is_open=True, retracted=1, revision=2))
    assert writer.query("SELECT house_id, meter_id, start FROM open_alerts").result_rows == [
        (2, 1, time_of(30)),
        (1, 2, time_of(20)),
        (1, 1, time_of(10)),
    ]


def test_alerts_by_zip(writer, meters):
    insert(writer, "houses", *(house(h, "02138") for h in (1, 2, 3, 5)), house(4, "02139"))
    insert(writer, "houses", house(5, "02139", updated=1))  # it moved: only its newest zip counts
    insert(
        writer,
        "alerts",
        alert(1, 1, 0, excess_kwh=0.5),
        alert(1, 1, 600, excess_kwh=0.25),
        alert(1, 3, is_open=True, excess_kwh=1.0),
        alert(2, 1, excess_kwh=2.0),
        alert(3, 1, excess_kwh=64.0),
        alert(2, 1, day=DAY + 1, excess_kwh=4.0),
        alert(4, 1, excess_kwh=8.0),
    )
    insert(writer, "alerts", alert(3, 1, excess_kwh=64.0, retracted=1, revision=2))
    answer = writer.query(
        "SELECT zip, city, state, latitude, longitude, population, date, alerts, houses_with_alert, houses, excess_kwh FROM alerts_by_zip ORDER BY zip, date"
    )
    place = ("Cambridge", "MA", 42.37, -71.11, 36349)
    assert answer.result_rows == [
        ("02138", *place, date(2019, 4, 14), 4, 2, 3, 3.75),  # houses 1 and 2 of 1, 2 and 3
        ("02138", *place, date(2019, 4, 15), 1, 1, 3, 4.0),
        ("02139", *place, date(2019, 4, 14), 1, 1, 2, 8.0),
    ]  # house 4 of 4 and 5


def test_top_meters(writer, meters):
    insert(
        writer,
        "alerts",
        alert(1, 3, 0, duration_s=60, peak_watts=900.0, excess_kwh=0.5),
        alert(1, 3, 600, duration_s=0.5, peak_watts=700.0, excess_kwh=0.25),
        alert(1, 1, 0, excess_kwh=0.125),
        alert(2, 1, 30, excess_kwh=4.0),
    )
    insert(writer, "alerts", alert(2, 1, 30, duration_s=10, peak_watts=100.0, excess_kwh=8.0, revision=2))
    assert writer.query("SELECT * FROM top_meters").result_rows == [
        (1, 3, "refrigerator", "appliance", 2, 0.75, 60.5, 900.0, time_of(600)),
        (2, 1, "mains", "mains", 1, 8.0, 10.0, 100.0, time_of(30)),
        (1, 1, "mains", "mains", 1, 0.125, 60.0, 2000.0, time_of(0)),
    ]


def test_alert_shows_when_it_was_stored(writer):
    before = datetime.now(UTC).replace(tzinfo=None)
    insert(writer, "alerts", alert(1, 3))
    stored = writer.query("SELECT stored FROM alerts").first_row[0]
    assert before - timedelta(milliseconds=1) <= stored <= datetime.now(UTC).replace(tzinfo=None)


def insert_aged(writer, age):
    """A row of every table that is so many days old."""
    day = TODAY - age
    insert(writer, "houses", house(age, "02138", updated=day * 86_400_000))
    insert(writer, "meters", (1, age, "mains", "mains", day * 86_400_000, 0, "grid"))
    insert(writer, "daily_energy", energy(1, 1, 1.0, day=day))
    insert(writer, "thresholds", threshold(1, 1, day=day))
    insert(writer, "alerts", alert(1, 1, day=day))
    insert(writer, "power_profile", profile(1, 1, day=day))
    insert(writer, "acknowledgements", (str(age), 1, "", "", 0, day * 86_400_000))
    insert(writer, "rules", rule(1, age, day_ms=day * 86_400_000))
    insert(writer, "late", (0, age, 1, day, day * 86_400_000, day * 86_400_000, 1, 1.0, day * 86_400_000, ""))
    insert(writer, "dead_letter", (0, age, day * 86_400_000, "", b""))
    insert(writer, "refused", ("houses", 0, age, day * 86_400_000, "", b""))


def retain(writer, database, days, profile_days=None):
    """Start with those settings (or one for both), and merge. Returns the statements that altered a table."""
    with patch.object(writer, "command", wraps=writer.command) as command:
        schema.create(writer, database.but(retention_days=days, profile_days=days if profile_days is None else profile_days))
    for table in schema.AGE_OF:
        writer.command(f"OPTIMIZE TABLE {table} FINAL")
    return [call.args[0] for call in command.call_args_list if call.args[0].startswith("ALTER")]


def rows_left(writer):
    """table -> how many rows lie in it."""
    return {table: writer.query(f"SELECT count() FROM {table}").first_row[0] for table in COLUMNS}


def test_retention(own_database):
    database, writer = own_database
    for age in (0, 40, 400, TODAY + 1):
        insert_aged(writer, age)
    kept = dict.fromkeys(("houses", "meters", "acknowledgements", "rules"), 4)
    assert retain(writer, database, 0) == [] and set(rows_left(writer).values()) == {4}
    for days, left in ((100, 2), (30, 1)):
        assert len(retain(writer, database, days)) == len(schema.AGE_OF)
        assert rows_left(writer) == dict.fromkeys(schema.AGE_OF, left) | kept
        assert retain(writer, database, days) == []
    for age in (28, 32):  # a day's room, should midnight pass while the tests run
        insert_aged(writer, age)
    retain(writer, database, 30)
    assert rows_left(writer) == dict.fromkeys(schema.AGE_OF, 2) | dict.fromkeys(kept, 6)
    assert len(retain(writer, database, 0)) == len(schema.AGE_OF)
    insert_aged(writer, 400)
    assert retain(writer, database, 0) == []
    assert rows_left(writer) == dict.fromkeys(schema.AGE_OF, 3) | dict.fromkeys(kept, 7)


def test_the_power_profile_has_a_time_of_its_own(own_database):
    database, writer = own_database
    for age in (0, 40):
        insert_aged(writer, age)
    assert retain(writer, database, 0, 30) == ["ALTER TABLE power_profile MODIFY TTL minute + toIntervalDay(30)"]
    assert rows_left(writer) == dict.fromkeys(COLUMNS, 2) | {"power_profile": 1}
    assert len(retain(writer, database, 30, 0)) == len(schema.AGE_OF)
    insert_aged(writer, 50)
    retain(writer, database, 30, 0)
    assert {table: n for table, n in rows_left(writer).items() if table in schema.AGE_OF} == dict.fromkeys(schema.AGE_OF, 1) | {
        "power_profile": 2
    }


def test_creating_again_keeps_the_data(writer, database, meters):
    insert(writer, "daily_energy", energy(1, 3, 2.5))
    schema.create(writer, database)
    assert writer.query("SELECT kwh FROM daily_energy").result_rows == [(2.5,)]


def test_every_column_is_filled_by_the_sink(reader, database):
    rows = reader.query(
        "SELECT table, groupArray(name) FROM system.columns WHERE database = {db:String} AND table IN {tables:Array(String)} AND name != 'stored' GROUP BY table",
        parameters={"db": database.clickhouse.database, "tables": list(COLUMNS)},
    ).result_rows
    assert {table: set(names) for table, names in rows} == {table: set(names) for table, names in COLUMNS.items()}
