"""Faults of synthetic houses: what they change, and when an alert belongs to one."""

import csv

import numpy as np
import pytest

from generator.faults import HISTORY_DAYS, TOLERANCE_MS, Fault, apply, belongs, read_ground_truth, without_silent, write_ground_truth
from smartmeter.settings import Settings

TIMES_MS = np.arange(1000) * 3000


def changed(kind, watts):
    """A meter at 100 W with a fault from its 200th to its 800th reading."""
    readings = np.full(1000, 100, np.float32)
    apply(Fault(1, 3, kind, 600_000, 2_400_000, watts), TIMES_MS, readings)
    assert (readings[:200] == 100).all() and (readings[800:] == 100).all()
    return readings[200:800]


@pytest.mark.parametrize(
    "kind, watts, expected",
    [
        ("level", 900, 1000),
        ("hour", 3000, 3100),
        ("standby", 50, 150),
        ("off", 0, 0),
        ("dead", 0, 0),
        ("frozen", 71.5, 71.5),
        ("glitch", 9, 9),
    ],
)
def test_readings_in_a_fault(kind, watts, expected):
    assert (changed(kind, watts) == np.float32(expected)).all()


@pytest.mark.parametrize("kind", ["run", "band"])
def test_a_power_that_is_held_has_noise(kind):
    held = changed(kind, 2000)
    assert held.mean() == pytest.approx(2000, rel=0.01) and held.std() == pytest.approx(40, rel=0.15)


def test_a_silent_meter_sends_nothing():
    assert (changed("silent", 0) == 100).all()
    silent, other = Fault(1, 3, "silent", 600_000, 2_400_000, 0), Fault(1, 3, "level", 0, 9000, 5)
    times_ms, watts = without_silent([other, silent], TIMES_MS, np.arange(1000, dtype=np.float32))
    assert times_ms.tolist() == [*range(0, 600_000, 3000), *range(2_400_000, 3_000_000, 3000)]
    assert watts.tolist() == [*range(200), *range(800, 1000)]


def test_what_belongs_to_a_fault():
    late_ms = 2000 + TOLERANCE_MS
    spans = [(0, 1000), (0, 1001), (1500, 1600), (late_ms - 1, late_ms + 5), (late_ms, late_ms + 5)]
    assert [belongs(*span, 1000, 2000) for span in spans] == [False, True, True, True, False]


def test_ground_truth_file(tmp_path):
    faults = [Fault(3, 1, "level", 1000, 4000, 812.5), Fault(3, 4, "silent", 3000, 9000, 0.0)]
    write_ground_truth(tmp_path / "new" / "truth.csv", faults)
    with open(tmp_path / "new" / "truth.csv", newline="") as lines:
        assert next(csv.DictReader(lines)) == dict(house_id="3", meter_id="1", kind="level", start_ms="1000", end_ms="4000", watts="812.5")
    assert read_ground_truth(tmp_path / "new" / "truth.csv") == faults


def test_the_history_that_the_rules_need():
    assert Settings().rules.usual_days == HISTORY_DAYS
