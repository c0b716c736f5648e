"""What a source takes from a message, and which clocks are believed."""

from dataclasses import replace
from decimal import Decimal

from gateway.source import LONGEST_AHEAD_MS, Source, is_sane, stamp_ms
from smartmeter.messages.codec import EXPORT

CLAMP = Source(1, 2, "solar", "Europe/Amsterdam", "t", "p", Decimal(-1000), "at", silent_s=600.0)


def test_sign_and_unit():
    assert CLAMP.read({"p": 1.5}) == (-1500.0, 0)
    assert replace(CLAMP, quantity=EXPORT, factor=Decimal(10**6)).read({"p": Decimal("9007199254.740993")}) == (0, 2**53 + 1)


def test_a_stamp_is_free_and_a_clock_that_was_set_back_is_followed():
    assert [stamp_ms(1000, free_ms) for free_ms in (900, 1001, 1000 + LONGEST_AHEAD_MS, 1001 + LONGEST_AHEAD_MS)] == [
        1000,
        1001,
        1000 + LONGEST_AHEAD_MS,
        1000,
    ]


def test_a_name_stays_in_its_line():
    assert str(replace(CLAMP, label="sun\x1b[2J", topic="a\nb")) == r"house 1, sun\x1b[2J, topic a\nb"
    assert str(replace(CLAMP, topic="")) == "house 1, solar, meter 2 by HTTP", "two meters may have one label"


def test_a_time_that_is_none():
    assert CLAMP.time_ms({"at": 1713251703}) == 1713251703000
    assert CLAMP.time_ms({}) is CLAMP.time_ms({"at": "soon"}) is replace(CLAMP, time="").time_ms({"at": 1713251703}) is None


def test_a_clock_that_was_never_set_is_not_believed():
    now_ms = 1_800_000_000_000
    assert is_sane(now_ms, now_ms) and is_sane(now_ms - 86_400_000, now_ms) and is_sane(now_ms + 60_000, now_ms)
    assert not is_sane(1000, now_ms) and not is_sane(now_ms + 60_001, now_ms) and not is_sane(now_ms - 86_400_001, now_ms)
