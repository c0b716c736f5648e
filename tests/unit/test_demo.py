"""./smw demo: its options and its progress line; tests/dashboard/test_demo.py has its report."""

import argparse
from dataclasses import replace
from datetime import date

import pytest

from commands import demo
from commands.demo import NOTHING_YET, Throughput, Totals, generate_command, total
from smartmeter.errors import UserError
from smartmeter.reports import Progress
from smartmeter.settings import Settings


def test_the_generator_gets_the_options_that_were_given():
    parser = argparse.ArgumentParser()
    demo.add_arguments(parser)
    words = generate_command(parser.parse_args(["--houses", "3", "--start", "2026-11-01", "--strict", "--stop"]))
    assert words[1:5] == ["-P", "-m", "commands", "generate"] and {"--houses=3", f"--start={date(2026, 11, 1)}", "--strict"} <= set(words)
    assert "--stop" not in words and not [word for word in words if word.endswith("=None")]


def test_the_live_demo_takes_no_other_option():
    parser = argparse.ArgumentParser()
    demo.add_arguments(parser)
    demo.require_nothing_else(parser.parse_args(["--live"]))
    for others, named in ((["--houses", "3"], "--houses"), (["--stop"], "--stop"), (["--seed", "2", "--burst-s", "9"], "--seed|--burst-s")):
        with pytest.raises(UserError, match=f"^--live takes no ({named}): its devices are those of one house, in real time$"):
            demo.require_nothing_else(parser.parse_args(["--live", *others]))


def test_a_demo_begins_empty(tmp_path):
    settings = Settings().but(home=tmp_path)
    for name in ("kafka", "gateway", "kept"):
        (tmp_path / name).mkdir()
    demo.wipe(settings)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_the_progress_line():
    throughput = Throughput()
    throughput.begun = 0.0
    producing = Progress("readings produced", 5_000_000, left_s=20.0)
    some = Totals(used=2_000_000, late=1, duplicate=1, refused=1, rows=7)
    for generated, totals, now_s, line in (
        (NOTHING_YET, Totals(), 3.0, "3 s: 0 of 0 produced readings processed; 0 rows stored"),
        (producing, Totals(), 10.0, "10 s: 0 of 5,000,000 produced readings processed; 0 rows stored"),
        (
            producing,
            some,
            12.0,
            "12 s: 2,000,003 of 5,000,000 produced readings processed, 1,000,002 a second, about 23 s left; 7 rows stored",
        ),
        (
            replace(producing, left_s=None),
            some,
            14.0,
            "14 s: 2,000,003 of 5,000,000 produced readings processed, 500,001 a second, about 6 s left; 7 rows stored",
        ),
    ):
        assert str(throughput.progress(generated, totals, now_s)) == line


def test_the_energy_of_all_houses():
    houses = [dict(days=2, whole_days=1, kwh=1000.5), dict(days=3, whole_days=3, kwh=0.25)]
    assert total(houses) == "1,000.75 kWh of 2 houses on 5 house-days, 4 of them at least 99 % covered"
