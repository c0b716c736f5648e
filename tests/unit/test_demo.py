"""./smw demo: what it reads in the generator's log, and its progress line; tests/dashboard/test_demo.py has its report."""

import argparse
from datetime import date

import pytest

from commands import demo
from commands.demo import Progress, Totals, generate_command, generated, total


@pytest.mark.parametrize(
    "log, produced, left_s",
    [
        ("", 0, 0),
        ("produced 12,345 readings, 1,234 readings/s", 12_345, 0),
        ("note: x\nproduced 12,345 readings, 1,234 readings/s, 1,030 s left\n", 12_345, 1030),
        ("produced 5 readings, 1 readings/s, 30 s left\nproduced 99 readings of 2 houses in 3 bursts, 4.0 s: 5 readings/s", 99, 0),
    ],
)
def test_the_generators_log(log, produced, left_s):
    assert generated(log) == (produced, left_s)


def test_the_generator_gets_the_options_that_were_given():
    parser = argparse.ArgumentParser()
    demo.add_arguments(parser)
    words = generate_command(parser.parse_args(["--houses", "3", "--start", "2026-11-01", "--strict", "--stop"]))
    assert words[1:5] == ["-P", "-m", "commands", "generate"] and {"--houses=3", f"--start={date(2026, 11, 1)}", "--strict"} <= set(words)
    assert "--stop" not in words and not [word for word in words if word.endswith("=None")]


@pytest.mark.parametrize(
    "produced, totals, left_s, now_s, line",
    [
        (0, Totals(), 0, 4, "4 s: 0 readings produced, 0 processed, 0 rows stored"),
        (
            5_000_000,
            Totals(used=2_000_000, late=1, duplicate=1, refused=1, rows=7),
            0,
            12,
            "12 s: 5,000,000 readings produced, 2,000,003 processed, 7 rows stored; 1.00 M readings/s, about 3 s left",
        ),
        (
            5_000_000,
            Totals(used=2_000_000),
            20,
            12,
            "12 s: 5,000,000 readings produced, 2,000,000 processed, 0 rows stored; 1.00 M readings/s, about 23 s left",
        ),
    ],
)
def test_the_progress_line(produced, totals, left_s, now_s, line):
    progress = Progress()
    progress.begun, progress.idle_until = 0.0, 10.0
    assert progress.line(produced, totals, left_s, now_s) == line


def test_the_energy_of_all_houses():
    houses = [dict(days=2, whole_days=1, kwh=1000.5), dict(days=3, whole_days=3, kwh=0.25)]
    assert total(houses) == "1,000.75 kWh of 2 houses on 5 house-days, 4 of them at least 99 % covered"
