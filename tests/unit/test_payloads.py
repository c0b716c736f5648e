"""Numbers and times in payloads, and the reasons why others are none."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.payloads import LARGEST_BYTES, MWH_PER_UNIT, Missing, Unusable, document, mwh, number, time_ms, total, value_at, watts


@pytest.mark.parametrize(
    "payload, path, reason",
    [
        (b"on", "", "'on' is no number"),
        (b"", "", "'' is no number"),
        (b"NaN", "", "nan is no finite number, or larger than any meter shows"),
        (b"1e999", "", "1E+999 is no finite number, or larger than any meter shows"),
        (b"1e99999999999999999999", "", "Infinity is no finite number, or larger than any meter shows"),
        (b"true", "", "'True' is no number"),
        (b"null", "", "'None' is no number"),
        (b"1_000", "", "'1_000' is no number"),
        (b'{"a": 1}', "", "\"{'a': 1}\" is no number"),
        (b'{"a": 1}', "b", "it has no b"),
        (b'{"a": 1}', "a.b", "it has no a.b"),
        (b"[1, 2]", "7", "it has no 7"),
        (b"[[1], 2]", "", "'[[1], 2]' is no number"),
        (b"[]", "", "'[]' is no number"),
        (b"\xff", "", "it is no text in UTF-8"),
        (b"1e10", "", "1e+10 W is more than a meter can measure"),
        (b"x" * (LARGEST_BYTES + 1), "", "it has 65,537 bytes, more than 65,536"),
        (b"[" * 60_000, "", f"'{'[' * 40}' is no number"),
        (b"9" * 5000, "", f"'{'9' * 40}' is no number"),
    ],
)
def test_what_is_no_power(payload, path, reason):
    with pytest.raises(Unusable) as raised:
        watts(document(payload), path, Decimal(1))
    assert str(raised.value) == reason


@pytest.mark.parametrize(
    "payload, path, factor, expected",
    [
        (b" 25.7\n", "", 1, 25.7),
        (b"-1.5", "", 1000, -1500),
        (b'"3"', "", 1, 3),
        (b"1e-99999999", "", 1000, 0),
        (b'{"ENERGY": {"Power": [1, 2, "3.5"]}}', "ENERGY.Power", 1, 6.5),
        (b'{"ENERGY": {"Power": [1, 2, 3]}}', "ENERGY.Power.1", -1, -2),
        (b'{"in": "0.2", "out": 0.5}', "in - out", 1000, -300),
    ],
)
def test_power(payload, path, factor, expected):
    assert watts(document(payload), path, Decimal(factor)) == expected


@pytest.mark.parametrize(
    "payload, path, unit, expected",
    [
        (b"9007199254740993", "", "mWh", 2**53 + 1),
        (b"9007199254740.993", "", "Wh", 2**53 + 1),
        (b'"9007199254.740993"', "", "kWh", 2**53 + 1),
        (b"576460752.303423489", "", "MWh", 2**59 + 1),
        (b"3", "", "Wmin", 50),
        (b"1000000000003", "", "Wmin", 16_666_666_666_717),
        (b"0.0000004", "", "kWh", 0),
        (b'{"low": "1.1", "high": 2.2}', "low + high", "kWh", 3_300_000),
        (b'{"total": 913.252, "back": 0.252}', "total - back?", "Wh", 913_000),
        (b'{"total": 913.252}', "total - back?", "Wh", 913_252),
    ],
)
def test_a_register_is_whole_mwh_and_exact(payload, path, unit, expected):
    assert mwh(document(payload), path, MWH_PER_UNIT[unit]) == expected


@pytest.mark.parametrize(
    "payload, reason",
    [
        (b"-0.001", "-0.001 kWh is less than 0"),
        (b"1e13", "1e+13 kWh is more than a register can show"),
        (b"NaN", "nan is no finite number, or larger than any meter shows"),
        (b"off", "'off' is no number"),
        (b"true", "'True' is no number"),
    ],
)
def test_what_is_no_register(payload, reason):
    with pytest.raises(Unusable) as raised:
        mwh(document(payload), "", MWH_PER_UNIT["kWh"])
    assert str(raised.value) == reason


def test_what_is_missing_is_no_wrong_value():
    with pytest.raises(Missing, match="it has no b"):
        total({"a": 1}, "a + b")
    with pytest.raises(Unusable) as raised:
        total({"a": 1, "b": "on"}, "a + b?")
    assert not isinstance(raised.value, Missing)


@given(
    st.binary()
    | st.recursive(
        st.none() | st.floats() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    ).map(lambda found: json.dumps(found).encode()),
    st.text(st.sampled_from("a.0")),
)
def test_any_payload_has_a_number_or_a_reason(payload, path):
    try:
        assert abs(watts(document(payload), path, Decimal(1))) <= 1e9
        assert 0 <= mwh(document(payload), path, Decimal(50) / 3) < 2**63
    except Unusable as error:
        assert str(error)


def test_times():
    assert time_ms("2024-03-31T03:30:00", "Europe/Amsterdam") == time_ms("2024-03-31T01:30:00Z", "UTC") == 1711848600000
    assert time_ms(1713251703.25, "UTC") == time_ms(document(b"1713251703.25"), "UTC") == 1713251703250
    for wrong in ("today", None, -1, True, 1e300, [1]):
        with pytest.raises(Unusable):
            time_ms(wrong, "Asia/Tokyo")


def test_a_list_position():
    assert value_at({"a": [{"b": 5}]}, "a.0.b") == 5
    assert number([1, "2.5"]) == Decimal("3.5")
