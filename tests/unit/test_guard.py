"""The guard: a failure is narrowed down to the piece of work that causes it."""

import logging

import pytest

from jobs.core.guard import LONGEST_REASON, Guard, reason_of
from jobs.core.state_version import StateFault


def halves(numbers: list[int]):
    middle = len(numbers) // 2
    return (numbers[:middle], numbers[middle:]) if middle else None


@pytest.mark.parametrize(
    "numbers, results",
    [
        ([1, 2, 4], ["1", "2", "4"]),
        ([0], ["division by zero"]),
        ([1, 0, 4], ["1", "division by zero", "4"]),
        ([0, 0, 5, 2, 0], ["division by zero", "division by zero", "5", "2", "division by zero"]),
        ([], []),
    ],
)
def test_only_the_faulty_piece_fails(numbers, results):
    reasons = []

    def failed(work, reason):
        reasons.append(reason)
        return ["division by zero"]

    assert Guard().each(numbers, lambda work: [str(round(n / n * n)) for n in work], halves, failed) == results
    assert reasons == ["the job fails on it: ZeroDivisionError: division by zero"] * results.count("division by zero")


def test_a_fault_of_state_is_passed_on():
    def fail(work):
        raise StateFault("unreadable")

    with pytest.raises(StateFault, match="unreadable"):
        Guard().each([1, 2], fail, halves, lambda work, reason: [])


def test_each_kind_of_failure_is_logged_once(caplog):
    def fail(work):
        raise {1: KeyError, 2: IndexError}[work[0]](f"number {work[0]}")

    with caplog.at_level(logging.ERROR):
        assert Guard().each([1, 2, 1, 2], fail, halves, lambda work, reason: [work[0]]) == [1, 2, 1, 2]
    assert [record.exc_info[0] for record in caplog.records] == [KeyError, IndexError]


def test_a_reason_has_a_bounded_length():
    assert reason_of(ValueError("no")) == "the job fails on it: ValueError: no"
    assert len(reason_of(ValueError("x" * 5000))) == LONGEST_REASON == 1000
