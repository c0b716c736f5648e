"""When houses are due, and which are looked at: by hand."""

from __future__ import annotations

from jobs.flink.absence import HOUSES_A_LOOK, LOOK_EVERY_MS, Absences, next_looks


def test_houses_are_due_at_their_time_until_something_comes():
    absences = Absences()
    absences.begin(0, [], 1000)
    assert not absences.is_time(0, LOOK_EVERY_MS - 1) and absences.is_time(0, LOOK_EVERY_MS) and not absences.is_time(1, 10**12)
    absences.expect(0, 7, 90_000)
    absences.expect(0, 8, 200_000)
    absences.expect(1, 9, 0)
    assert absences.look(0, 90_000) == ([7], [])
    assert [absences.is_due(0, 7, at_ms) for at_ms in (89_999, 90_000)] == [False, True] and not absences.is_due(0, 6, 10**12)
    absences.expect(0, 7, 300_000)
    absences.expect(0, 8, None)
    assert absences.look(0, 250_000) == ([], [])


def test_looks_are_at_the_same_times_whenever_they_are_planned():
    assert next_looks(0) == next_looks(LOOK_EVERY_MS - 1) == [LOOK_EVERY_MS, 2 * LOOK_EVERY_MS]
    assert next_looks(LOOK_EVERY_MS) == [2 * LOOK_EVERY_MS, 3 * LOOK_EVERY_MS]


def test_after_a_start_the_states_of_some_houses_are_read_at_each_look():
    absences, houses = Absences(), list(range(HOUSES_A_LOOK + 3))
    absences.begin(0, houses, 0)
    absences.expect(0, 2, 10**9)  # it has sent since
    assert absences.look(0, 1)[1] == [house for house in houses[:HOUSES_A_LOOK] if house != 2]
    assert absences.look(0, 2)[1] == houses[HOUSES_A_LOOK:] and absences.look(0, 3)[1] == []
