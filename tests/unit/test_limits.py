"""What the sink stores: limits of size and of values."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartmeter.messages.schemas import CodecError
from smartmeter.messages.topics import SCHEMA_OF
from store.limits import FIRST_MS, LAST_MS, LIMITS_OF, MOST_BYTES, check_size, fit

HOUSE = {
    "house_id": 7,
    "timezone": "UTC",
    "source": "",
    "zip": "",
    "city": "",
    "state": "",
    "latitude": None,
    "longitude": None,
    "population": None,
    "updated": 0,
    "meters": [],
}


def test_every_time_date_and_text_of_the_topics_is_limited():
    found = {
        name: (sorted(field for field, *_ in limits.ranges), sorted(field for field, _ in limits.texts))
        for name, limits in LIMITS_OF.items()
    }
    assert set(found) == set(SCHEMA_OF)
    assert found["alerts"] == (["date", "end", "start"], ["alert_id", "ends_when", "kind", "reason", "severity"])
    assert found["late"] == (["date", "end", "house_time", "start"], ["reason"])
    assert found["thresholds"] == (["date", "valid_from", "valid_to"], [])
    assert found["houses"] == (["updated"], ["city", "source", "state", "timezone", "zip"])
    assert found["rules"] == (["muted_until", "valid_from", "written"], ["author", "sensitivity"])
    assert [field for field, *_ in LIMITS_OF["daily_energy"].arrays] == ["hour_starts"]
    [(field, of_meter)] = LIMITS_OF["houses"].nested
    assert field == "meters" and of_meter.texts == [("label", 1000)]


@pytest.mark.parametrize(
    "latitude, longitude, stored",
    [
        (42.5, -71.25, (42.5, -71.25)),
        (-90.0, 180.0, (-90.0, 180.0)),
        (None, None, (None, None)),
        (90.1, -180.0, (None, -180.0)),
        (math.nan, math.inf, (None, None)),
        (0.0, -math.inf, (0.0, None)),
    ],
)
def test_an_impossible_place_is_stored_as_unknown(latitude, longitude, stored):
    house = fit("houses", {**HOUSE, "latitude": latitude, "longitude": longitude})
    assert (house["latitude"], house["longitude"]) == stored


@given(st.integers(-(2**63), 2**63 - 1))
def test_a_time_is_stored_where_clickhouse_has_room_for_it(time_ms):
    if FIRST_MS <= time_ms <= LAST_MS:
        assert fit("houses", {**HOUSE, "updated": time_ms})["updated"] == time_ms
    else:
        with pytest.raises(CodecError, match=f"updated is {time_ms}: it lies in the years 1900 to 2299"):
            fit("houses", {**HOUSE, "updated": time_ms})
    letter = {"partition": 0, "offset": 0, "received": time_ms, "reason": "x" * 5000, "payload": b"x"}
    assert fit("dead_letter", letter) == letter | {"received": min(max(time_ms, -2_208_988_800_000), 10_413_791_999_999)}


@pytest.mark.parametrize(
    "wrong",
    [
        {"hours": [0]},
        {"hour_kwh": []},
        {"hours": [0, 24]},
        {"hours": [-1, 0]},
        {"hour_starts": [0, LAST_MS + 1]},
        {"hour_covered_s": [1.0] * 3},
        {"hour_exported_kwh": [1.0]},
    ],
)
def test_hours_that_the_view_could_not_take_apart_are_refused(wrong):
    day = {"date": 18000, "hour_starts": [0, 3_600_000], "hours": [0, 1], "hour_kwh": [1.0, 2.0], "hour_covered_s": [1.0, 2.0]}
    day["hour_exported_kwh"] = []
    for exported in ([], [0.0, 3.0]):
        assert fit("daily_energy", day | {"hour_exported_kwh": exported}) == day | {"hour_exported_kwh": exported}
    with pytest.raises(CodecError, match="hour"):
        fit("daily_energy", {**day, **wrong})


def test_what_is_too_large_is_not_decoded():
    for name, most in MOST_BYTES.items():
        check_size(name, most)
        with pytest.raises(CodecError, match=f"it has {most + 1:,} bytes: at most {most:,} are accepted"):
            check_size(name, most + 1)
    check_size("power_profile", 9 << 20)
