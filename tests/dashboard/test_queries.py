"""The dashboard's queries on the results of results.py: every figure is worked out by hand."""

from __future__ import annotations

import math
from datetime import date

import pandas as pd
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from dashboard import queries
from smartmeter.messages.rules import no_rule
from tests.dashboard.results import (
    FRI,
    KETTLE,
    LONG_AGO,
    MAINS,
    MON,
    NEWEST_FIRST,
    NEWEST_MS,
    NO_ALERT,
    OVEN,
    SAT,
    SPRING,
    SUN,
    UNKNOWN,
    utc,
)

ALL = (SPRING, MON)
MINUTE, HOUR = 60, 3600


def rows(frame: pd.DataFrame, *columns: str) -> list[tuple]:
    """Some columns of a table, or all, with days as dates and None for what is missing."""

    def plain(value):
        if value is None or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
            return None
        return value.date() if isinstance(value, pd.Timestamp) and value.tz is None else value

    frame = frame[list(columns)] if columns else frame
    return [tuple(map(plain, row)) for row in frame.itertuples(index=False, name=None)]


def close(expected: list[tuple]) -> list[tuple]:
    """Expected rows whose floats may be off by a rounding."""
    return [tuple(pytest.approx(value) if isinstance(value, float) else value for value in row) for row in expected]


def seconds(day: date, clock: str) -> int:
    return round(utc(day, clock).timestamp())


def ms(day: date, clock: str) -> int:
    return 1000 * seconds(day, clock)


# How much there is


def test_houses_have_their_days_and_a_time_zone_even_when_unknown(db):
    new_york = ("America/New_York", "synthetic", "10001", "New York", "NY")
    assert [rows(queries.house(db, house_id)) for house_id in range(1, 8)] == [
        [(1, *new_york, FRI, MON)],
        [(2, *new_york, FRI, MON)],
        [(3, *new_york, FRI, MON)],
        [(4, *new_york, FRI, FRI)],
        [(5, "Europe/London", "ukdale", "SW1A", "London", "", SPRING, SUN)],
        [(6, "UTC", "", "", "", "", SUN, SUN)],
        [],
    ]


def test_the_first_houses_are_listed(db):
    new_york = ("10001", "New York", "NY")
    all_six = [*((house_id, *new_york) for house_id in (1, 2, 3, 4)), (5, "SW1A", "London", ""), (6, "", "", "")]
    assert rows(queries.houses(db, 9)) == all_six and rows(queries.houses(db, 5)) == all_six[:5]


def test_days_with_results(db, nothing):
    assert queries.days(db) == {"first": SPRING, "last": MON} and queries.days(nothing) == {"first": None, "last": None}


def test_figures_of_all_houses_are_the_same_in_parts(db, monkeypatch):
    def found():
        energy = queries.energy_of_all(db, *ALL), queries.energy_by_zip(db, *ALL)
        return [rows(table) for table in (*energy, *(queries.doubtful_days(db, *ALL, 0, limit) for limit in (9, 2)))]

    whole = found()
    monkeypatch.setattr(queries, "PART_HOUSE_DAYS", 4 * ((ALL[1] - ALL[0]).days + 1))
    parts = queries.house_parts(db, *ALL)
    assert [(part["low"], part["high"]) for part in parts] == [(-(2**63), 4), (5, 2**63 - 1)]
    assert found() == whole


def test_time_zones_of_houses(db, nothing):
    assert queries.timezones(db) == ["America/New_York", "Europe/London"] and queries.timezones(nothing) == []


def test_meters_begin_with_the_mains_and_an_unknown_one_has_a_name(db):
    assert rows(queries.meters(db, 1)) == [
        (1, "mains", "mains", 0, "grid"),
        (2, "refrigerator", "appliance", 0, "load"),
        (3, "oven", "appliance", 0, "load"),
    ]
    assert rows(queries.meters(db, 6)) == [(7, "meter 7", "", 0, "")]


def test_totals_and_health(db):
    # two messages with 3 and 4 late readings; of five alerts one is retracted
    assert queries.totals(db) == {"houses": 6, "meters": 11, "readings": 1_500_000, "first": SPRING, "last": MON, "newest_ms": NEWEST_MS}
    assert queries.health(db) == {"late": 3 + 4, "dead": 3, "open_alerts": 1, "alerts": 4}


def test_dead_letters_by_reason(db):
    both = [("not Avro", 2, utc(FRI, "13:00")), ("in the future", 1, utc(SAT, "12:00"))]
    assert rows(queries.dead_letters(db, 20)) == both
    assert rows(queries.dead_letters(db, 1)) == both[:1]


# Energy


def test_energy_of_all_is_that_of_the_mains_and_of_appliances_where_there_are_none(db):
    assert rows(queries.energy_of_all(db, *ALL)) == close(
        [
            (SPRING, 1, 0.4 + 2.0, (100 + 50) / 2, True),  # of two meters one was covered by half
            (FRI, 4, 10 + 20 + 11 + 99.0, 100.0, True),
            (SAT, 3, 12 + 22 + (0.5 + 1.5), (50 + 100 + 100) / 3, True),
            (SUN, 4, 14 + 20 + (1 + 2) + 1.5, 100.0, True),
            (MON, 3, 3 + 5 + 4.0, 100.0, False),
        ]
    )
    assert rows(queries.energy_of_all(db, SAT, SAT), "date") == [(SAT,)]


def test_energy_of_a_house(db):
    assert rows(queries.energy_of_house(db, 1, FRI, MON)) == close(
        [(FRI, 10.0, 100.0, True), (SAT, 12.0, 50.0, True), (SUN, 14.0, 100.0, True), (MON, 3.0, 100.0, False)]
    )
    assert rows(queries.energy_of_house(db, 5, *ALL), "date", "kwh") == close([(SPRING, 2.4), (SAT, 2.0), (SUN, 3.0)])


def test_the_median_of_an_even_count_is_between_the_middle_two(db):
    # Friday: 10, 11, 20, 99; Monday: 3, 4, 5
    assert rows(queries.zip_median(db, "10001", *ALL)) == [
        (FRI, (11 + 20) / 2, 4),
        (SAT, (12 + 22) / 2, 2),
        (SUN, (14 + 20) / 2, 2),
        (MON, 4, 3),
    ]
    assert rows(queries.zip_median(db, "SW1A", SUN, SUN)) == [(SUN, 3, 1)]


def test_appliance_energy_leaves_the_mains_out(db):
    assert rows(queries.appliance_energy(db, 1, SUN, MON)) == [
        (SUN, 2, 0, "refrigerator", 1, 1),
        (SUN, 3, 0, "oven", 4, 4),
        (MON, 2, 0, "refrigerator", 0.25, 0.25),
        (MON, 3, 0, "oven", 0.5, 0.5),
    ]
    assert rows(queries.appliance_energy(db, 6, *ALL)) == [(SUN, 7, 0, "meter 7", 1.5, 1.5)]


def test_energy_by_zip_counts_days_of_houses_and_leaves_out_who_has_no_place(db):
    # 10001: (10 + 12 + 14 + 3) + (20 + 22 + 20 + 5) + (11 + 4) + 99 on 4 + 4 + 2 + 1 days; the alerts of the oven and of house 2
    assert rows(queries.energy_by_zip(db, *ALL)) == close(
        [("10001", "New York", "NY", 40.75, -73.99, 4, 220.0, 20.0, 2), ("SW1A", "London", "", None, None, 1, 7.4, 7.4 / 3, 1)]
    )
    assert rows(queries.energy_by_zip(db, SAT, SAT), "zip", "houses", "kwh", "alerts") == [("10001", 2, 34, 0), ("SW1A", 1, 2, 0)]
    assert rows(queries.energy_by_zip(db, MON, MON), "zip", "kwh", "alerts") == [("10001", 12, 1)]


# Power


def test_power_by_minute_puts_the_parts_of_a_minute_together(db):
    at = seconds(SUN, "14:00")
    # 60 readings of 200 W and 20 of 600 W: 24,000 / 80
    assert rows(queries.power(db, 1, [1], at, at + 2 * MINUTE, MINUTE)) == [(1, at, 50, 300, 900), (1, at + MINUTE, 500, 700, 800)]


def test_power_by_step_is_weighted_by_readings(db):
    at = seconds(SUN, "14:00")
    # and 20 of 700 W: 38,000 / 100; the oven: 60 of 2000 W and 60 of 3500 W
    assert rows(queries.power(db, 1, [1, 3], at, at + HOUR, 2 * MINUTE)) == [(1, at, 50, 380, 900), (3, at, 0, 2750, 4000)]


def test_power_ends_before_the_end_and_steps_count_from_the_start(db):
    at = seconds(SUN, "14:00")
    assert rows(queries.power(db, 1, [1], at - MINUTE, at + MINUTE, 2 * MINUTE), "start_s", "mean_watts") == [(at - MINUTE, 300)]
    assert rows(queries.power(db, 1, [1], at + MINUTE, at + 2 * HOUR + MINUTE, HOUR), "start_s", "mean_watts") == [
        (at + MINUTE, 700),
        (at + MINUTE + HOUR, 1000),
    ]
    assert rows(queries.power(db, 2, [1], at, at + HOUR, MINUTE)) == []


def by_hour(db, house_id, day) -> tuple[dict[int, float], bool]:
    """(hour -> kWh of a day, whether its hours are known)."""
    found = queries.energy_by_hour(db, house_id, day, day)
    [known] = set(found["known"])
    return {hour: kwh for _, hour, kwh, _ in rows(found)}, bool(known)


def test_a_house_has_the_hours_of_its_mains(db):
    assert by_hour(db, 1, SUN) == ({10: 7, 12: 7}, True)
    assert by_hour(db, 1, SAT) == ({23: 12}, True)


def test_a_day_whose_hours_were_not_kept_is_shared_evenly(db):
    assert by_hour(db, 1, FRI) == (dict.fromkeys(range(24), pytest.approx(10 / 24)), False)


def test_an_hour_that_came_twice_has_both_and_without_mains_all_meters_count(db):
    assert by_hour(db, 5, SUN) == ({1: 1.5, 12: 1.5}, True)


def test_an_hour_that_never_came_has_nothing(db):
    assert by_hour(db, 5, SPRING) == ({0: pytest.approx(0.6), 2: pytest.approx(1.8)}, True)


def test_the_parts_of_the_days_add_up_to_the_days(db):
    hours = queries.energy_by_hour(db, 1, FRI, MON)
    assert rows(hours.groupby("date", as_index=False)["kwh"].sum()) == close([(FRI, 10.0), (SAT, 12.0), (SUN, 14.0), (MON, 3.0)])


# Thresholds and alerts


def test_thresholds_that_were_in_force_at_some_time(db):
    columns = ("meter_id", "date", "percentile_watts", "limit_watts", "warming_up")
    before, saturday, sunday = (3, FRI, 0, None, True), (3, SAT, 1400, 3250, False), (3, SUN, 1500, 3480, False)
    assert rows(queries.thresholds(db, 1, [3], utc(FRI, "04:00"), utc(MON, "04:00")), *columns) == [before, saturday, sunday]
    assert rows(queries.thresholds(db, 1, [1, 3], utc(SUN, "05:00"), utc(MON, "05:00")), *columns) == [(1, SUN, 2000, 9000, False), sunday]
    assert rows(queries.thresholds(db, 1, [3], utc(SUN, "04:59"), utc(SUN, "05:00")), *columns) == [saturday]
    assert rows(queries.thresholds(db, 1, [3], utc(MON, "05:00"), utc(MON, "06:00"))) == []
    assert rows(queries.thresholds(db, 1, [1], utc(SUN, "05:00"), utc(MON, "05:00")), "valid_from", "valid_to", "quantile") == [
        (utc(SUN, "05:00"), utc(MON, "05:00"), 0.97)
    ]


@pytest.mark.parametrize(
    "filters, expected",
    [
        ({}, NEWEST_FIRST),
        ({"show": "open"}, [MAINS]),
        ({"show": "new"}, [MAINS, UNKNOWN]),  # the acknowledgement of UNKNOWN was taken back
        ({"house_id": 1}, [OVEN]),
        ({"label": "kettle"}, [KETTLE]),
        ({"show": "new", "house_id": 1}, []),
        ({"show": "open", "house_id": 2, "label": "mains"}, [MAINS]),
        ({"house_id": 2**53 - 1}, []),
    ],
)
def test_alerts(db, filters, expected):
    assert queries.alerts(db, 200, **filters)["alert_id"].tolist() == expected
    assert queries.alert_counts(db, **filters)["alerts"].sum() == len(expected)


def test_the_newest_alerts_first_and_no_more_than_the_limit(db):
    assert queries.alerts(db, 2)["alert_id"].tolist() == NEWEST_FIRST[:2]
    assert queries.alerts(db, 2, 1)["alert_id"].tolist() == NEWEST_FIRST[1:3]


def test_an_alert_has_its_place_its_time_zone_and_who_has_seen_it(db):
    columns = ("house_id", "label", "city", "timezone", "start", "duration_s", "peak_watts", "acknowledged", "note", "author")
    assert rows(queries.alert(db, OVEN), *columns) == [
        (1, "oven", "New York", "America/New_York", utc(SUN, "14:00"), 150, 4000, utc(SUN, "15:00"), "the roast", "ann@example.org")
    ]
    assert rows(queries.alert(db, UNKNOWN), *columns) == [(6, "", "", "UTC", utc(SUN, "23:30"), 30, 800, None, "", "")]
    assert rows(queries.alert(db, NO_ALERT)) == []


def test_alerts_between(db):
    whole = [(3, utc(SUN, "14:00"), utc(SUN, "14:02:30"), False, 4000, 3480, 0.01, "level", OVEN)]
    assert rows(queries.alerts_between(db, 1, [1, 3], utc(SUN, "04:00"), utc(MON, "04:00"))) == whole
    assert rows(queries.alerts_between(db, 1, [3], utc(SUN, "14:02:30"), utc(SUN, "14:03"))) == whole
    for meter_ids, start, end in (([1], "04:00", "23:00"), ([3], "13:00", "14:00"), ([3], "14:02:31", "23:00"), ([], "04:00", "23:00")):
        assert rows(queries.alerts_between(db, 1, meter_ids, utc(SUN, start), utc(SUN, end))) == []


def test_rules_of_a_house_and_its_meters(db):
    of_house, low, oven = queries.rules(db, 1)
    plain = no_rule(1, 3, ms(SAT, "12:00"), ms(SAT, "11:00"))
    assert of_house == {**plain, "meter_id": 0, "valid_from": ms(SUN, "04:00"), "sensitivity": "high", "author": "ann@example.org"} | {
        "written": ms(SAT, "10:00")
    }
    assert low == {**plain, "sensitivity": "low", "author": "ann@example.org"}
    assert oven == {
        **plain,
        "valid_from": ms(SUN, "12:00"),
        "limit_watts": 2000,
        "limit_minutes": 10,
        "longest_on_minutes": 240,
        "longest_off_minutes": 720,
        "off_from": 1320,
        "off_to": 360,
        "normal": [{"kind": "run", "minutes": 40, "watts": 0}, {"kind": "level", "minutes": 0, "watts": 3900}],
        "written": ms(SUN, "11:00"),
    }
    assert [(rule["valid_from"], rule["withdrawn"]) for rule in queries.rules(db, 5)] == [
        (ms(SAT, "12:00"), False),
        (ms(SUN, "12:00"), True),
    ]
    assert queries.rules(db, 2) == []


def test_the_newest_of_a_house(db, nothing):
    assert queries.newest(db, 1) == (ms(SUN, "16:01") // 1000, MON)
    assert queries.newest(db, 2) == (None, MON)  # it has no power profile
    assert queries.newest(nothing, 1) == (None, None)


def test_alert_labels(db):
    assert queries.alert_labels(db) == ["kettle", "mains", "oven"]


# Replays


def test_what_a_replay_replaces(db):
    # house 1: 14 + 1 + 4, house 2: 20 + 2, house 5: 1 + 2, house 6: 1.5
    assert queries.replayed(db, SUN, SUN, 0) == {"rows": 8, "kwh": 45.5, "alerts": 3}
    assert queries.replayed(db, SAT, MON, 1) == {"rows": 9, "kwh": (12 + 1 + 3) + (14 + 1 + 4) + (3 + 0.25 + 0.5), "alerts": 1}
    assert queries.replayed(db, SPRING, SPRING, 1) == {"rows": 0, "kwh": 0, "alerts": 0}


def test_rows_made_since(db):
    assert queries.made_since(db, SAT, MON, 0, NEWEST_MS) == 6
    assert queries.made_since(db, SAT, MON, 2, NEWEST_MS) == 2
    assert queries.made_since(db, SAT, MON, 0, NEWEST_MS + 1) == 0
    assert queries.made_since(db, FRI, FRI, 1, LONG_AGO) == 3


# A user's own query


@pytest.mark.parametrize("count, shown, more", [(0, 0, False), (9, 9, False), (10, 10, False), (11, 10, True), (200_000, 10, True)])
def test_a_users_query_returns_the_first_rows(db, count, shown, more):
    found, has_more = queries.of_user(db, f"SELECT number FROM numbers({count})", 10)
    assert (found.get("number", pd.Series()).tolist(), has_more) == (list(range(shown)), more)


def test_more_rows_are_detected_even_in_another_block(db):
    sql = "SELECT number FROM numbers(200000)"
    with db.query_df_stream(sql) as blocks:
        first = len(next(iter(blocks)))
    assert first < 200_000
    found, more = queries.of_user(db, sql, first)
    assert (len(found), more) == (first, True)


def test_a_failed_user_query_reports_its_error(db):
    with pytest.raises(DatabaseError, match="Code: 60"):
        queries.of_user(db, "SELECT * FROM nosuch", 10)


# No results


def test_without_results_there_is_nothing_but_columns(nothing, db):
    start, end = utc(SPRING, "00:00"), utc(MON, "23:00")
    for function, *arguments in (
        (queries.houses, 9),
        (queries.house, 1),
        (queries.meters, 1),
        (queries.dead_letters, 20),
        (queries.energy_of_all, *ALL),
        (queries.energy_of_house, 1, *ALL),
        (queries.zip_median, "10001", *ALL),
        (queries.power, 1, [1], seconds(SUN, "14:00"), seconds(SUN, "15:00"), MINUTE),
        (queries.energy_by_hour, 1, *ALL),
        (queries.appliance_energy, 1, *ALL),
        (queries.thresholds, 1, [1, 3], start, end),
        (queries.doubtful_days, *ALL, 0, 9),
        (queries.energy_by_zip, *ALL),
        (queries.alerts, 200),
        (queries.alert_counts,),
        (queries.alert, OVEN),
        (queries.alerts_between, 1, [3], start, end),
    ):
        without, with_results = function(nothing, *arguments), function(db, *arguments)
        assert without.empty and len(with_results), function
        assert without.dtypes.to_dict() == with_results.dtypes.to_dict(), function


def test_without_results_counts_are_0(nothing):
    assert queries.totals(nothing) == {"houses": 0, "meters": 0, "readings": 0, "first": None, "last": None, "newest_ms": 0}
    assert queries.health(nothing) == {"late": 0, "dead": 0, "open_alerts": 0, "alerts": 0}
    assert queries.replayed(nothing, *ALL, 0) == {"rows": 0, "kwh": 0, "alerts": 0}
    assert queries.made_since(nothing, *ALL, 0, 0) == 0
    assert queries.alert_labels(nothing) == []
