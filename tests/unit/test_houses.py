"""The record of a house, and the parents of its meters."""

from contextlib import nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from generator.houses import Meter, check_parents
from generator.synthetic import synthetic_houses
from smartmeter.errors import UserError
from smartmeter.messages.codec import decode, encode


def test_house_record_fits_its_schema():
    record = synthetic_houses(1, seed=1)[0].record()
    assert decode(encode("house", record)) == ("house", record)


def meters(*parents: int) -> list[Meter]:
    """Meters 1, 2, ... with these parents."""
    return [Meter(meter_id, "", "appliance", parent) for meter_id, parent in enumerate(parents, 1)]


def test_a_meter_may_lie_under_any_other():
    check_parents("house 1", meters())
    check_parents("house 1", meters(0, 1, 2, 2, 5 - 1))


@pytest.mark.parametrize(
    "parents, reason",
    [
        (
            (0, 7),
            "house 1: the parent of meter 2 is 7, which is no meter of the house; give one of its meters, or 0 if only the mains contain it",
        ),
        ((0, 2), "house 1: meter 2 in 2 is a circle of parents; correct the parent of one of them"),
        ((3, 0, 4, 1), "house 1: meter 1 in 3 in 4 in 1 is a circle of parents; correct the parent of one of them"),
        ((2, 3, 2), "house 1: meter 2 in 3 in 2 is a circle of parents; correct the parent of one of them"),
    ],
)
def test_a_parent_that_is_unknown_or_contains_itself_is_refused(parents, reason):
    with pytest.raises(UserError) as error:
        check_parents("house 1", meters(*parents))
    assert str(error.value) == reason


@given(st.integers(1, 5).flatmap(lambda count: st.lists(st.integers(0, count + 1), min_size=count, max_size=count)))
def test_parents_are_refused_if_and_only_if_some_meter_never_ends_at_the_mains(parents):
    ends = {0}
    for _ in parents:
        ends |= {meter_id for meter_id, parent in enumerate(parents, 1) if parent in ends}
    with nullcontext() if len(ends) == len(parents) + 1 else pytest.raises(UserError, match="^house 1: "):
        check_parents("house 1", meters(*parents))
