"""What ./smw demo prints of the results of results.py."""

from __future__ import annotations

import argparse

import pytest

from commands import demo
from commands.demo import Totals


@pytest.fixture
def printed(db, stored):
    arguments = argparse.Namespace(data="DIR", stop=True)
    note = "DIR/house_1/channel_1.dat:51: 2 missing values: left out (this is the first)"
    return demo.report(stored, db, 7, Totals(used=7), arguments, [note, note]).splitlines()


def test_houses_and_their_total(printed):
    # house 1: 10 + 12 + 14 + 3 kWh, Saturday covered by half, so 27 / 3; the oven used 9.5 kWh; house 5 has no mains, and half a meter of March
    assert printed[0].split() == [
        "house",
        "city",
        "days",
        "whole_days",
        "kwh",
        "kwh_a_whole_day",
        "measured_by",
        "covered_percent",
        "top_appliance",
        "share_percent",
    ]
    assert printed[2].split() == ["1", "New", "York", "4", "3", "39", "9", "mains", "87.5", "oven", "24.4"]
    assert printed[6].split() == ["5", "London", "3", "2", "7.4", "2.5", "all", "meters", "91.7", "washer", "NULL"]
    assert printed[9] == "228.90 kWh of 6 houses on 15 house-days, 13 of them at least 99 % covered"


def test_alerts_have_their_number(printed):
    assert "4 alerts by kind: 4 level" in printed
    assert "4 of 4 alerts, those with the most energy over the limit:" in printed


def test_what_was_left_out_is_printed_again_once(printed):
    at = printed.index("Notes on the data:")
    assert printed[at + 1 :] == ["- DIR/house_1/channel_1.dat:51: 2 missing values: left out (this is the first)"]
