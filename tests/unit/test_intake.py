"""What messages become, and what is left out and counted."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gateway.disk_spool import BY_ARRIVAL, ENTRY
from gateway.intake import MOST_AHEAD_MS, Intake, Message
from gateway.source import Source

NOW = 1_800_000_000_000
LAMP = Source(1, 2, "lamp", "Europe/Amsterdam", "lamp", "", "", 1.0)
KETTLE = Source(1, 3, "kettle", "Europe/Amsterdam", "kettle", "p", "", 1.0, "at")
NONE = np.empty(0, ENTRY)


def message(topic="lamp", payload=b"5", message_id=0, is_repeat=False, is_retained=False, at=0):
    return Message(topic, payload, message_id, is_repeat, is_retained, NOW + at, 1)


def intake(remembered=NONE, floor_ms=0):
    counts = Counter()
    found = Intake([LAMP, KETTLE], remembered, lambda house_id: floor_ms, lambda reason, readings: counts.update({reason: readings}))
    return found, counts


def stamps(found, *messages):
    return [entry[1] - NOW for sent in messages for entry in found.entries(sent)]


def test_an_entry():
    found, counts = intake()
    [entry] = found.entries(message("kettle", b'{"p": 5, "at": 1800000000.5}', 9))
    assert entry == (1, NOW, NOW + 500, message("kettle", b'{"p": 5, "at": 1800000000.5}').digest, 3, 9, 5.0, 0) and not counts
    assert found.entries(message())[0][2] == BY_ARRIVAL


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


def test_another_message_is_no_repeat():
    found, counts = intake()
    found.entries(message(message_id=5))
    for other in (message(message_id=5), message(message_id=6, is_repeat=True), message(message_id=5, payload=b"6", is_repeat=True)):
        assert len(found.entries(other)) == 1
    assert not counts


def test_messages_that_come_at_once_all_have_a_time():
    found, _ = intake(floor_ms=NOW + 3)
    assert stamps(found, message(), message(), message(at=1), message(at=9)) == [3, 4, 5, 9]
    assert stamps(found, message(at=9 - MOST_AHEAD_MS)) == [9 - MOST_AHEAD_MS], "the clock was set back"


def test_a_clock_at_1970_gives_the_time_of_arrival():
    found, _ = intake()
    assert [found.entries(message("kettle", b'{"p": 1, "at": %d}' % at))[0][2] - NOW for at in (5, 1_900_000_000)] == [0, 1]


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans())))
def test_times_of_a_meter_rise(gaps):
    found, _ = intake()
    at, seen = 0, []
    for gap, retained in gaps:
        at += gap
        seen += stamps(found, message(at=at, is_retained=retained))
    assert seen == sorted(set(seen))
