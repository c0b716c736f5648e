"""Tariffs: which price holds when, what days cost, and their text in a URL."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.tariff import Tariff
from tests.dashboard.results import FRI, MON, SAT, SUN

LOW, HIGH = 0.25, 1.0


def peak_hours(tariff: Tariff, day) -> list[int]:
    hours = pd.Series(range(24))
    prices = tariff.prices(pd.Series(pd.Timestamp(day)).repeat(24).reset_index(drop=True), hours)
    assert set(prices) <= {LOW, HIGH}
    return hours[prices == HIGH].tolist()


def test_peak_hours_are_those_of_working_days():
    tariff = Tariff(LOW, HIGH, 16, 21)
    assert peak_hours(tariff, FRI) == peak_hours(tariff, MON) == [16, 17, 18, 19, 20]
    assert peak_hours(tariff, SAT) == peak_hours(tariff, SUN) == []


def test_peak_hours_may_be_those_of_all_days():
    assert [peak_hours(Tariff(LOW, HIGH, 16, 18, weekends=True), day) for day in (FRI, SAT, SUN, MON)] == [[16, 17]] * 4


def test_peak_hours_may_go_past_midnight_and_each_belongs_to_its_own_day():
    tariff = Tariff(LOW, HIGH, 22, 2)
    assert peak_hours(tariff, FRI) == peak_hours(tariff, MON) == [0, 1, 22, 23]
    assert peak_hours(tariff, SAT) == []


@pytest.mark.parametrize("begin, end, expected", [(5, 5, []), (23, 0, [23]), (0, 23, list(range(23))), (1, 0, list(range(1, 24)))])
def test_peak_hours_at_the_edges(begin, end, expected):
    assert peak_hours(Tariff(LOW, HIGH, begin, end), FRI) == expected


def test_a_day_costs_the_sum_of_its_hours():
    hours = pd.DataFrame([(FRI, 15, 4.0), (FRI, 16, 2.0), (FRI, 21, 8.0), (SAT, 16, 4.0)], columns=["date", "hour", "kwh"])
    hours["date"] = pd.to_datetime(hours["date"])
    days = Tariff(LOW, HIGH).by_day(hours)  # Friday: 4 and 8 kWh at 0.25, 2 at 1; Saturday: 4 at 0.25
    assert list(zip(days["date"].dt.date, days["cost"])) == [(FRI, 1 + 2 + 2), (SAT, 1)]
    assert Tariff(0.5, 0.5).by_day(hours)["cost"].tolist() == [14 / 2, 4 / 2]


def test_text():
    assert Tariff(0.3, 0.45, 16, 21, True).to_text() == "0.3,0.45,16,21,1"
    assert Tariff.from_text("0.3,0.45,22,6,0") == Tariff(0.3, 0.45, 22, 6, False)


prices, hours = st.floats(0, 999), st.integers(0, 23)


@given(st.builds(Tariff, prices, prices, hours, hours, st.booleans()))
def test_any_tariff_is_restored_from_its_text(tariff):
    assert Tariff.from_text(tariff.to_text()) == tariff


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0.3",
        "0.3,0.3,16,21",
        "0.3,0.3,16,21,0,",
        "a,0.3,16,21,0",
        "0.3,,16,21,0",
        "-0.01,0.3,16,21,0",
        "0.3,-1,16,21,0",
        "999.5,0.3,16,21,0",
        "0.3,1e9,16,21,0",
        "nan,0.3,16,21,0",
        "0.3,inf,16,21,0",
        "0.3,0.3,24,21,0",
        "0.3,0.3,16,24,0",
        "0.3,0.3,-1,21,0",
        "0.3,0.3,16.5,21,0",
        "0.3,0.3,16,21,2",
        "0.3,0.3,16,21,yes",
        "0.3,0.3,16,21,",
    ],
)
def test_what_is_no_tariff_is_refused(text):
    with pytest.raises(ValueError):
        Tariff.from_text(text)


@given(st.text() | st.lists(st.text(max_size=5) | st.floats().map(str), min_size=5, max_size=5).map(",".join))
def test_any_other_text_is_refused_or_is_a_tariff_that_the_page_can_show(text):
    try:
        tariff = Tariff.from_text(text)
    except ValueError:
        return
    assert 0 <= tariff.price <= 999 and 0 <= tariff.peak_price <= 999 and {tariff.peak_from, tariff.peak_to} <= set(range(24))
