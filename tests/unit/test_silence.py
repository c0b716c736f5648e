"""A meter falls silent once, until it sends again."""

from gateway.silence import Silence
from tests.unit.test_source import CLAMP


def test_a_meter_falls_silent_once_until_it_sends_again():
    silence = Silence([CLAMP], 1000.0)
    assert silence.fallen(1600.0) == [] and not silence.is_silent(CLAMP, 1600.0)
    assert silence.fallen(1601.0) == [CLAMP] and silence.is_silent(CLAMP, 1601.0)
    assert silence.fallen(1700.0) == []
    assert silence.arrived(CLAMP, 1800.0) and not silence.arrived(CLAMP, 1801.0)
    assert silence.fallen(2401.0) == [] and silence.fallen(2402.0) == [CLAMP]


def test_meters_that_are_no_more():
    silence = Silence([CLAMP], 1000.0)
    assert silence.use([], 1001.0) == [CLAMP] and silence.fallen(9999.0) == []
