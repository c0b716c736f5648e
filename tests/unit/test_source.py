"""What a source takes from a message, and which clocks are believed."""

from gateway.source import Source, is_sane

CLAMP = Source(1, 2, "solar", "Europe/Amsterdam", "t", "p", "", -1000.0, "at", silent_s=600.0)


def test_sign_unit_and_time():
    assert CLAMP.read(b'{"p": 1.5, "at": 1713251703}') == (-1500.0, 1713251703000)


def test_a_time_that_is_none_does_not_cost_the_reading():
    assert CLAMP.read(b'{"p": 1.5}') == CLAMP.read(b'{"p": 1.5, "at": "soon"}') == (-1500.0, None)


def test_a_clock_that_was_never_set_is_not_believed():
    now_ms = 1_800_000_000_000
    assert is_sane(now_ms, now_ms) and is_sane(now_ms - 86_400_000, now_ms) and is_sane(now_ms + 60_000, now_ms)
    assert not is_sane(1000, now_ms) and not is_sane(now_ms + 60_001, now_ms) and not is_sane(now_ms - 86_400_001, now_ms)
