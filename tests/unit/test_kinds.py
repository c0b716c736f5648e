"""The kinds of a house's meters, by its description."""

import numpy as np
import pytest

from jobs.core.kinds import NO_KINDS, MeterKinds
from tests.unit.logs import description


def kinds(**kind_of) -> MeterKinds:
    return MeterKinds.of(description(1, **kind_of)["meters"])


@pytest.mark.parametrize("always_on, mains", [(False, [False, True, False]), (True, [False, True, True])])
def test_only_a_meter_that_is_not_described_is_guessed(always_on, mains):
    of_house = kinds(m7="mains", m2="appliance", m40="mains")
    assert of_house.are_mains(np.array([2, 7, 9], np.int32), np.full(3, always_on)).tolist() == mains


def test_without_a_description_all_are_guessed():
    assert NO_KINDS.are_mains(np.array([1, 2], np.int32), np.array([True, False])).tolist() == [True, False]
    assert kinds() == NO_KINDS and NO_KINDS.are_mains(np.empty(0, np.int32), np.empty(0, bool)).tolist() == []


def test_ev_chargers_are_appliances_and_solar_and_batteries_are_sources_that_are_no_mains():
    of_house = kinds(m1="mains", m2="solar", m3="battery", m4="ev", m5="appliance")
    meters = np.array([1, 2, 3, 4, 5, 6], np.int32)
    assert of_house.are_sources(meters).tolist() == [False, True, True, False, False, False]
    assert of_house.are_mains(meters, np.full(6, True)).tolist() == [True, False, False, False, False, True]
    assert not NO_KINDS.are_sources(meters).any()
    assert kinds(m4="ev") == kinds(m4="appliance") != kinds(m4="solar") == kinds(m4="battery")


def test_the_order_of_the_meters_does_not_matter_but_for_one_that_is_there_twice():
    assert kinds(m1="mains", m3="appliance", m2="appliance") == kinds(m2="appliance", m1="mains", m3="appliance")
    twice = [*description(1, m1="mains")["meters"], *description(1, m1="appliance")["meters"]]
    assert MeterKinds.of(twice) == kinds(m1="appliance")
