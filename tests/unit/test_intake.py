"""What messages become, and what is left out and counted."""

from collections import Counter
from decimal import Decimal

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gateway.disk_spool import BY_ARRIVAL, ENTRY
from gateway.intake import Intake, Message
from gateway.source import LONGEST_AHEAD_MS, Source
from smartmeter.messages.codec import EXPORT, IMPORT, POWER

NOW = 1_800_000_000_000
LAMP = Source(1, 2, "lamp", "Europe/Amsterdam", "lamp", "", Decimal(1))
KETTLE = Source(1, 3, "kettle", "Europe/Amsterdam", "kettle", "p", Decimal(1), "at")
MAINS = [
    Source(1, 4, "mains", "Europe/Amsterdam", "mains", path, Decimal(10**6), quantity=quantity, is_optional=quantity == EXPORT)
    for quantity, path in ((POWER, "p"), (IMPORT, "in"), (EXPORT, "out"))
]
NONE = np.empty(0, ENTRY)


def message(topic="lamp", payload=b"5", message_id=0, is_repeat=False, is_retained=False, at=0):
    return Message(topic, payload, message_id, is_repeat, is_retained, NOW + at, 1)


def intake(remembered=NONE, floor_ms=0):
    counts = Counter()
    found = Intake(
        [LAMP, KETTLE, *MAINS], remembered, lambda house_id: floor_ms, lambda reason, readings: counts.update({reason: readings})
    )
    return found, counts


def stamps(found, *messages):
    return [entry.arrived_ms - NOW for sent in messages for entry in found.entries(sent)]


def test_an_entry():
    found, counts = intake()
    [entry] = found.entries(message("kettle", b'{"p": 5, "at": 1800000000.5}', 9))
    digest = message("kettle", b'{"p": 5, "at": 1800000000.5}').digest
    assert entry == (1, NOW, NOW + 500, digest, 3, 9, 5.0, POWER, 0, 0) and not counts
    assert found.entries(message())[0].device_ms == BY_ARRIVAL
    assert np.array([entry], ENTRY).tolist() == [entry]


def test_power_and_registers_of_one_message():
    found, counts = intake()
    some = [(entry.quantity, entry.watts, entry.mwh) for entry in found.entries(message("mains", b'{"p": -0.5, "in": 9007199254.740993}'))]
    assert some == [(POWER, -500_000.0, 0), (IMPORT, 0.0, 9_007_199_254_740_993)] and not counts


def test_one_wrong_value_takes_no_other_with_it():
    found, counts = intake()
    assert [entry.quantity for entry in found.entries(message("mains", b'{"p": "on", "in": 1, "out": NaN}'))] == [IMPORT]
    assert [entry.quantity for entry in found.entries(message("mains", b'{"p": 1, "out": 2}'))] == [POWER, EXPORT]
    assert counts == {"unusable": 3}


def test_a_message_that_cannot_be_read_is_left_out_once_a_meter():
    found, counts = intake()
    assert found.entries(message("mains", b"\xff")) == found.entries(message("mains", b"{}", is_retained=True)) == []
    assert counts == {"unusable": 1, "retained": 1}


def test_what_is_left_out_is_counted():
    found, counts = intake()
    for bad in (message("bulb"), message(payload=b"on"), message(is_retained=True), message("kettle", b"{}")):
        assert found.entries(bad) == []
    assert counts == {"unknown topic": 1, "unusable": 2, "retained": 1}


def test_a_message_that_comes_again_counts_once_also_after_a_restart():
    found, counts = intake()
    [entry] = found.entries(message(message_id=5))
    assert found.entries(message(message_id=5, is_repeat=True)) == []
    later, counted = intake(np.array([entry], ENTRY))
    assert later.entries(message(message_id=5, is_repeat=True, at=9)) == []
    assert counts == counted == {"repeated": 1}


def test_of_a_message_that_comes_again_what_was_written_counts_once():
    found, counts = intake()
    sent = message("mains", b'{"p": 1, "in": 2}', 7)
    power, register = found.entries(sent)
    later, counted = intake(np.array([power], ENTRY))
    assert later.entries(message("mains", b'{"p": 1, "in": 2}', 7, is_repeat=True)) == [register] and counted == {"repeated": 1}
    assert not counts


def test_another_message_is_no_repeat():
    found, counts = intake()
    found.entries(message(message_id=5))
    for other in (message(message_id=5), message(message_id=6, is_repeat=True), message(message_id=5, payload=b"6", is_repeat=True)):
        assert len(found.entries(other)) == 1
    assert not counts


def test_messages_that_come_at_once_all_have_a_time():
    found, _ = intake(floor_ms=NOW + 3)
    assert stamps(found, message(), message(), message(at=1), message(at=9)) == [3, 4, 5, 9]
    assert stamps(found, message(at=9 - LONGEST_AHEAD_MS)) == [9 - LONGEST_AHEAD_MS], "the clock was set back"


def test_a_clock_at_1970_gives_the_time_of_arrival():
    found, _ = intake()
    assert [found.entries(message("kettle", b'{"p": 1, "at": %d}' % at))[0].device_ms - NOW for at in (5, 1_900_000_000)] == [0, 1]


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans())))
def test_times_of_a_meter_rise(gaps):
    found, _ = intake()
    at, seen = 0, []
    for gap, retained in gaps:
        at += gap
        seen += stamps(found, message(at=at, is_retained=retained))
    assert seen == sorted(set(seen))
