"""Which answers are kept, and for how long."""

from __future__ import annotations

import threading

import pytest

from dashboard.kept import LONG_S, TIMES, Kept


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Query:
    """A query that takes a time by the clock, and counts its calls."""

    def __init__(self, clock: Clock, takes_s: float):
        self.clock, self.takes_s, self.calls = clock, takes_s, 0

    def __call__(self) -> int:
        self.clock.now += self.takes_s
        self.calls += 1
        return self.calls


def test_a_quick_answer_is_never_kept():
    kept, query = Kept(clock := Clock()), Query(clock, LONG_S)
    assert [kept.answer("a", query), kept.answer("a", query)] == [1, 2]


def test_a_slow_answer_is_kept_for_some_times_as_long_as_it_took():
    kept, query = Kept(clock := Clock()), Query(clock, 2)
    assert kept.answer("a", query) == 1
    clock.now += 2 * TIMES - 0.01
    assert kept.answer("a", query) == 1
    clock.now += 0.01
    assert kept.answer("a", query) == 2


def test_answers_of_other_arguments_are_others():
    kept, query = Kept(clock := Clock()), Query(clock, 1)
    assert [kept.answer(key, query) for key in ("a", "b", "a")] == [1, 2, 1]


def test_a_failure_is_raised_and_not_kept():
    kept, query = Kept(clock := Clock()), Query(clock, 1)

    def fails():
        clock.now += 1
        raise OSError("away")

    with pytest.raises(OSError, match="away"):
        kept.answer("a", fails)
    assert kept.answer("a", query) == 1


def test_what_is_no_longer_kept_is_forgotten():
    kept, query = Kept(clock := Clock()), Query(clock, 1)
    for key in range(100):
        kept.answer(key, query)
    assert len(kept._answers) == TIMES and not kept._locks


def test_sessions_share_one_query():
    kept, query = Kept(clock := Clock()), Query(clock, 1)
    started, go_on, answers = threading.Event(), threading.Event(), []

    def slow() -> int:
        started.set()
        go_on.wait()
        return query()

    threads = [threading.Thread(target=lambda: answers.append(kept.answer("a", slow))) for _ in range(3)]
    for thread in threads:
        thread.start()
    started.wait()
    go_on.set()
    for thread in threads:
        thread.join()
    assert (answers, query.calls) == ([1, 1, 1], 1)
