"""Files of kinds that were refused, or gave a wrong energy in silence: imported and taken through the jobs, they give the right one."""

from __future__ import annotations

from collections import Counter

import pytest

from smartmeter.settings import Settings
from tests.unit.channel_files import house
from tests.unit.driver import pipeline
from tests.unit.test_import_ import smw_import as smw_import

FIRST = 1303132929
RISING = [(FIRST + 60 * minute, 200 + minute % 50) for minute in range(300)]
"""A reading a minute, from 200 W to 249 W six times."""
RISING_KWH = (6 * 50 * 224.5 - 249) / 60_000  # the last one holds for no time, as none follows
MISSING_KWH = RISING_KWH - 1 / 60_000  # without the 201 W of minute 51, the 200 W before it hold on


def lines(readings, separator=" "):
    return "".join(f"{at}{separator}{watts}\n" for at, watts in readings)


def but(minute, watts):
    """RISING with another value in a minute."""
    return lines([*RISING[:minute], (RISING[minute][0], watts), *RISING[minute + 1 :]])


def days_of(sent) -> list[dict]:
    """The records of daily_energy after the jobs have had what was sent."""
    houses, bursts = sent
    _, ended, _ = pipeline(bursts, [len(bursts)], Settings(), houses=houses)
    return list(ended.final["daily_energy"].values())


def kwh_of(days: list[dict]) -> dict[tuple[int, int], float]:
    """(house, meter) -> energy of all days."""
    kwh = Counter()
    for day in days:
        kwh[day["house_id"], day["meter_id"]] += day["kwh"]
    return dict(kwh)


@pytest.mark.parametrize(
    "channel, labels, words, kwh",
    {
        "plain": (lines(RISING), "1 mains", "", RISING_KWH),
        "byte order mark": (lines(RISING), "\ufeff1 mains", "", RISING_KWH),
        "tab in the labels": (lines(RISING), "1\tmains", "", RISING_KWH),
        "commas": (lines(RISING, ","), "1 mains", "", RISING_KWH),
        "header": ("unix,watts\n" + lines(RISING, ","), "1 mains", "", RISING_KWH),
        "milliseconds": (lines((1000 * at, watts) for at, watts in RISING), "1 mains", "", RISING_KWH),
        "out of order": (lines([*RISING[1:], RISING[0]]), "1 mains", "", RISING_KWH),
        "kilowatts": (lines((at, watts / 1000) for at, watts in RISING), "1 mains", "--unit kW", RISING_KWH),
        "nan": (but(51, "nan"), "1 mains", "", MISSING_KWH),
        "question mark": (but(51, "?"), "1 mains", "", MISSING_KWH),
        "error code": (but(51, 2**32 - 1), "1 mains", "--skip-bad", MISSING_KWH),
        "a clamp's noise": (but(51, -0.3), "1 mains", "", RISING_KWH - 201 / 60_000),
        "half-hours": (lines((FIRST + 1800 * slot, 300) for slot in range(401)), "1 mains", "", 60),
    }.values(),
)
def test_one_meter(smw_import, tmp_path, channel, labels, words, kwh):
    house(tmp_path, labels=labels, c1=channel)
    assert kwh_of(days_of(smw_import(tmp_path, "--timezone", "UTC", *words.split()))) == {(1, 1): pytest.approx(kwh, rel=1e-6)}


def test_a_folder_that_is_not_named_as_in_the_data_set(smw_import, tmp_path):
    house(tmp_path, labels="1 mains", c1=lines(RISING)).rename(tmp_path / "house1")
    assert kwh_of(days_of(smw_import(tmp_path, "--timezone", "UTC"))) == {(1, 1): pytest.approx(RISING_KWH, rel=1e-6)}


def test_a_capital_makes_no_appliance_of_mains(smw_import, tmp_path):
    house(tmp_path, labels="1 Aggregate\n2 Fridge", c1=lines(RISING), c2=lines(RISING))
    [described], _ = smw_import(tmp_path, "--timezone", "UTC")
    assert [(meter["label"], meter["kind"]) for meter in described["meters"]] == [("Aggregate", "mains"), ("Fridge", "appliance")]


def test_a_clamp_that_measures_nothing_leaves_the_other_meters_alone(smw_import, tmp_path):
    hour = [(FIRST + second, 0) for second in range(0, 3601, 6)]
    watts = {"c1": 400, "c2": 80, "c3": -0.4}
    house(tmp_path, labels="1 mains\n2 fridge\n3 clamp", **{name: lines((at, power) for at, _ in hour) for name, power in watts.items()})
    days = days_of(smw_import(tmp_path, "--timezone", "UTC"))
    assert kwh_of(days) == {(1, 1): pytest.approx(0.4), (1, 2): pytest.approx(0.08), (1, 3): 0}
    assert sum(day["exported_kwh"] for day in days) == pytest.approx(0.0004)
