"""What the picture of an alert shows beside the power, by hand."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pandas as pd
import pytest

from dashboard import pictures
from jobs.core.open_runs import LEVEL_WATTS
from jobs.core.spells import KINDS
from smartmeter.messages.rules import no_rule
from tests.dashboard.results import SPRING, SUN

LONDON = ZoneInfo("Europe/London")
START_S = 1_800_000_000
START = pd.Timestamp(START_S, unit="s", tz="UTC")
USUAL = pd.Series(
    {
        "longest_run_minutes": [90, 60, 30],
        "longest_off_minutes": 120.0,
        "longest_same_minutes": 5.0,
        "longest_gap_minutes": 20.0,
        "longest_silence_minutes": 15.0,
        "rare_watts": [60.0, 100.0, 400.0, 9e6],
    }
)


def alert(kind: str, limit_watts: float = 60.0, meter_id: int = 2, peak_watts: float = 500.0) -> pd.Series:
    return pd.Series({"alert_kind": kind, "limit_watts": limit_watts, "meter_id": meter_id, "peak_watts": peak_watts, "start": START})


def power(*watts: tuple[float, float] | None) -> pd.DataFrame:
    """Lowest and highest power of each minute up to the start; None: no reading."""
    rows = [(START_S - 60 * (len(watts) - 1 - i), *of) for i, of in enumerate(watts) if of]
    return pd.DataFrame(rows, columns=["start_s", "min_watts", "max_watts"]).assign(mean_watts=lambda rows: rows["max_watts"])


def test_every_kind_of_duration_has_a_meaning():
    assert set(KINDS) | {"percentile", *pictures.OF_LEVEL} == set(pictures.KINDS)
    assert LEVEL_WATTS[0] == pictures.FIRST_LEVEL_WATTS and LEVEL_WATTS[1] == 2 * LEVEL_WATTS[0]


@pytest.mark.parametrize(
    "of, minutes",
    [
        (alert("run", 30), 90),
        (alert("run", 60), 60),
        (alert("run", 120), 30),
        (alert("run", 240), None),  # of a level that is not stored
        (alert("run", 0), None),
        (alert("off"), 120),
        (alert("frozen", 0), 5),
        (alert("silent", 0), 20),
        (alert("silent", 0, meter_id=0), 15),
        (alert("band", 0), None),
        (alert("hour"), None),
    ],
)
def test_how_long_something_usually_lasts(of, minutes):
    assert pictures.usual_minutes(of, USUAL) == minutes
    assert pictures.usual_minutes(of, None) is None


@pytest.mark.parametrize(
    "kind, minutes", [("limit", 10), ("overrun", 240), ("idle", None), ("schedule", None), ("run", None), ("level", None)]
)
def test_how_long_a_rule_allows_something(kind, minutes):
    rule = no_rule(1, 2, 0, 0) | {"limit_watts": 60.0, "limit_minutes": 10, "longest_on_minutes": 240}
    assert pictures.allowed_minutes(alert(kind), rule) == minutes
    assert pictures.allowed_minutes(alert(kind), None) is None


def test_the_usual_length_is_unknown_with_too_little_history():
    assert pictures.usual_minutes(alert("off"), pd.Series({"longest_off_minutes": float("nan")})) is None


@pytest.mark.parametrize(
    "of, minutes, before",
    [
        (alert("level"), None, timedelta(minutes=30)),
        (alert("band"), None, timedelta(minutes=30)),
        (alert("run"), 60.0, timedelta(minutes=3 * 60 + 30 + 60)),
        (alert("dead"), None, timedelta(hours=2)),
        (alert("standby"), None, timedelta(hours=24)),
        (alert("limit"), 10.0, timedelta(minutes=3 * 10 + 30 + 60)),
        (alert("schedule"), None, timedelta(minutes=30 + 60)),
    ],
)
def test_a_picture_begins_before_what_lasts_too_long(of, minutes, before):
    assert pictures.begins(of, minutes) == START - before


@pytest.mark.parametrize(
    "of, before, minutes",
    [
        (alert("run", 60), power((80, 90), (50, 90), (61, 70), (70, 99)), 1),
        (alert("run", 60), power((80, 90), (61, 70), (60, 99)), 0),
        (alert("off", 60), power((0, 61), (0, 60), (5, 5), (0, 1)), 2),
        (alert("idle", 60), power((0, 61), (0, 60), (5, 5), (0, 1)), 2),
        (alert("limit", 60), power((80, 90), (60, 90), (61, 70), (70, 99)), 1),
        (alert("frozen", 0), power((7, 7), (8, 8), (8, 8), (8, 8)), 2),
        (alert("frozen", 0), power((8, 8), (8, 9), (8, 8)), 0),
        (alert("silent", 0), power((8, 8), None, None, None), 2),
        (alert("run", 60), power(), 0),
    ],
)
def test_when_what_lasts_too_long_began(of, before, minutes):
    assert pictures.begun(of, before) == START_S - 60 * minutes


def test_rare_powers_lie_between_usual_ones():
    found = pictures.spans_of_power([60.0, 100.0, 400.0, 9e6], 550.0)
    assert found.values.tolist() == [[0, 60, True], [60, 100, False], [100, 400, True], [400, 550, False]]
    assert pictures.spans_of_power([60.0, 100.0], 80.0).values.tolist() == [[0, 60, True], [60, 80, False]]
    assert pictures.spans_of_power([], 80.0).values.tolist() == [[0, 80, True]]


def test_what_no_other_meter_measures():
    rows = [
        (1, 0, 500, 600, 700),
        (2, 0, 100, 150, 250),
        (3, 0, 50, 50, 50),
        (1, 60, 100, 100, 100),
        (2, 60, 90, 120, 150),
        (3, 60, 0, 0, 0),
    ]
    rows += [(1, 120, 500, 500, 500), (2, 120, 100, 100, 100)]  # without meter 3
    found = pictures.beside(pd.DataFrame(rows, columns=["meter_id", "start_s", "min_watts", "mean_watts", "max_watts"]), 1)
    # 500 - 250 - 50, 600 - 150 - 50, 700 - 100 - 50; then less than nothing, and 100 - 90
    assert found.values.tolist() == [[0, 200, 400, 550], [60, 0, 0, 10]]
    solar = [(4, at_s, -3000, -2000, -1000) for at_s in (0, 60)]
    with_solar = pd.DataFrame([*rows, *solar], columns=["meter_id", "start_s", "min_watts", "mean_watts", "max_watts"])
    assert pictures.beside(with_solar, 1).values.tolist() == found.values.tolist()


def test_the_power_of_a_house_is_that_of_its_mains_in_sum():
    both = pd.DataFrame([(1, 0, 1, 2, 3), (2, 0, 10, 20, 30)], columns=["meter_id", "start_s", "min_watts", "mean_watts", "max_watts"])
    assert pictures.of_house(both).values.tolist() == [[0, 11, 22, 33]]


def version(day: date, hours: int = 24) -> pd.DataFrame:
    """In force from 01:00 UTC on a day to the same time of the next; its limit in hour h is 1000 + h W."""
    at = datetime(day.year, day.month, day.day, 1, tzinfo=UTC)
    return pd.DataFrame(
        {
            "valid_from": [pd.Timestamp(at)],
            "valid_to": [pd.Timestamp(at + timedelta(days=1))],
            "hour_watts": [[1000.0 + h for h in range(hours)]],
        }
    )


@pytest.mark.parametrize("day, first_hour, last_hour_before_midnight", [(SUN, 2, 23), (SPRING, 1, 22), (date(2026, 11, 10), 1, 23)])
def test_the_limits_of_hours_since_midnight_where_the_clocks_change(day, first_hour, last_hour_before_midnight):
    limits = pictures.hourly_limits(version(day), LONDON)
    midnight = pd.Timestamp(datetime.combine(day + timedelta(days=1), datetime.min.time(), LONDON)).tz_convert("UTC")
    assert limits["watts"].iloc[0] == 1000 + first_hour
    assert limits[limits["valid_to"] == midnight]["watts"].tolist() == [1000 + last_hour_before_midnight]
    assert limits[limits["valid_from"] == midnight]["watts"].tolist() == [1000]
    assert (limits["valid_from"].iloc[1:].array == limits["valid_to"].iloc[:-1].array).all()
    assert (limits["valid_from"].iloc[0], limits["valid_to"].iloc[-1]) == (version(day)["valid_from"][0], version(day)["valid_to"][0])


def test_versions_without_hours_have_no_limits():
    assert pictures.hourly_limits(version(SUN, hours=0), LONDON).empty


def test_the_picture_of_a_run():
    shown = pictures.picture(alert("run", 60), power((10, 10), (80, 90), (80, 90)), USUAL, version(SUN), LONDON)
    assert shown.limits["watts"].tolist() == [60]
    assert shown.usual_bar.values.tolist() == [[START_S - 60, START_S - 60 + 60 * 60, 60]]
    assert shown.bands.empty
    assert shown.caption == (
        "Blue: mean power, from the lowest to the highest reading. The dashed line is the power, 60 W, that the meter stays over. "
        "The green bar is as long as that usually lasts at most, 1 h, from the time when it began. Red: the alert."
    )


def test_the_picture_of_an_own_limit():
    rule = no_rule(1, 2, 0, 0) | {"limit_watts": 60.0, "limit_minutes": 10}
    before = power((10, 10), (80, 90), (80, 90))
    shown = pictures.picture(alert("limit", 60), before, USUAL, version(SUN), LONDON, rule)
    assert shown.limits["watts"].tolist() == [60]
    assert shown.usual_bar.values.tolist() == [[START_S - 60, START_S - 60 + 10 * 60, 60]]
    assert "The dashed line is the limit of its own rule, 60 W. The green bar is as long as its rule allows, 10 min," in shown.caption
    shown = pictures.picture(alert("limit", 60), before, None, version(SUN), LONDON)  # its rule is not stored
    assert shown.usual_bar.empty and shown.caption.endswith("the limit of its own rule, 60 W. Red: the alert.")


def test_the_picture_of_a_band_and_of_a_frozen_meter():
    shown = pictures.picture(alert("band", 0), power((80, 90)), USUAL, version(SUN), LONDON)
    assert shown.limits.empty and shown.usual_bar.empty
    assert shown.bands["high_watts"].tolist() == [60, 100, 400, pytest.approx(1.1 * 500)]
    shown = pictures.picture(alert("frozen", 0), power((8, 8)), USUAL, version(SUN), LONDON)
    assert shown.usual_bar["watts"].tolist() == [8] and shown.limits.empty


def test_the_picture_of_an_hour_has_its_limits_and_one_without_history_says_so():
    shown = pictures.picture(alert("hour", 1010), power((80, 90)), USUAL, version(SUN), LONDON)
    assert shown.limits["watts"].max() == 1023
    shown = pictures.picture(alert("off"), power((0, 0)), None, version(SUN), LONDON)
    assert shown.usual_bar.empty and "What is usual for the meter at that time is not stored." in shown.caption
    assert "not stored" not in pictures.picture(alert("dead"), power((0, 0)), None, version(SUN), LONDON).caption


def test_minutes_in_words():
    assert [pictures.lasts(minutes) for minutes in (0, 8, 60, 114.0, 1440)] == ["0 min", "8 min", "1 h", "1 h 54 min", "24 h"]
