"""./smw generate: sends readings of some days to Kafka, synthetic or from a data set."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

from generator.channels import WATTS_PER_UNIT, ReadingOptions
from generator.datasets import measured_houses
from generator.faults import write_ground_truth
from generator.history import HISTORY_BURST_S, first_today, produce
from generator.houses import House
from generator.live import BURST_S, produce_live
from generator.meter_file import read_meter_file
from generator.multiply import multiplied_houses
from generator.solar import solar_houses
from generator.synthetic import SyntheticHouse, synthetic_houses
from smartmeter.errors import UserError
from smartmeter.folders import private_folder
from smartmeter.local_days import dates
from smartmeter.settings import Settings

HOUSES = 20
DAYS = 14


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ./smw generate."""
    add_history_arguments(parser)
    parser.add_argument(
        "--live",
        action="store_true",
        help="synthetic houses only: send the days and today up to now at once, then "
        f"each burst as it ends ({BURST_S} s, or --burst-s), until Ctrl-C; a later start continues where the topic ends",
    )


def add_history_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments about the days to send: which houses, and how."""
    parser.add_argument("--days", type=int, help=f"local days of each house (default {DAYS}; measured houses: all)")
    parser.add_argument(
        "--start",
        type=_date,
        help="first day, such as 2024-03-01 (default: so that the last day is the newest "
        "that is over at every house; measured houses: their first day)",
    )
    parser.add_argument("--data", type=Path, help="folder of a data set in REDD's or UK-DALE's layout (default: synthetic houses)")
    parser.add_argument(
        "--houses",
        type=int,
        help=f"number of houses (default {HOUSES}; with --data: the measured "
        "houses as they are; with --data and a number: that many made from their clean days)",
    )
    parser.add_argument(
        "--timezone",
        help="IANA time zone of the data, or else of the synthetic houses (default: "
        "America/New_York for REDD, Europe/London for UK-DALE, that of its zip for a synthetic house)",
    )
    parser.add_argument("--unit", choices=list(WATTS_PER_UNIT), default="W", help="unit of the power in the data (default W)")
    parser.add_argument("--meters", type=Path, metavar="FILE.toml", help="what the data does not state of its meters (docs/data.md)")
    parser.add_argument(
        "--strict",
        action="store_true",
        help="refuse data with values that are missing or cannot be used, or times out of order (default: report them and continue)",
    )
    parser.add_argument("--seed", type=int, default=1, help="the same seed makes the same houses (default 1)")
    parser.add_argument("--speed", type=_speed, default=float("inf"), help="multiple of real time: 1 is live (default max)")
    parser.add_argument(
        "--burst-s", type=int, help=f"seconds of a burst (default: about one second of real time, at most {HISTORY_BURST_S})"
    )
    parser.add_argument(
        "--solar", action="store_true", help="synthetic houses that have solar, a battery and an ev charger too (default: they do not)"
    )


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Send the days of args to Kafka, and write the ground truth of synthetic houses. Raises UserError."""
    houses, first, end = plan(args, settings)
    if args.live:
        if args.data or args.speed != float("inf"):
            raise UserError("--live takes neither --data nor --speed: it sends synthetic houses in real time")
        produce_live(houses, first, args.burst_s, settings)
        return 0
    if args.data is None:
        with _usable_folders():
            private_folder(settings.stack.home)
            _write_truth(settings.stack.home / "ground_truth.csv", houses, first, end)
    produce(houses, first, end, args.burst_s, args.speed, settings)
    return 0


def plan(args: argparse.Namespace, settings: Settings) -> tuple[Sequence[House], date, date]:
    """(houses, first day, day after the last) for the arguments of generate. Raises UserError."""
    if args.days is not None and args.days < 1:
        raise UserError(f"--days {args.days}: give 1 or more")
    if args.data is not None and args.houses is None and args.days is not None and args.start is None:
        raise UserError("--days needs --start if the houses are measured ones: give the first day")
    with _usable_folders():
        houses = _houses(args, settings)
    return houses, *_day_range(args, houses)


def _day_range(args: argparse.Namespace, houses: Sequence[House]) -> tuple[date, date]:
    """[first, end) of the days to send; all days of measured houses unless days are given."""
    if args.data is not None and args.houses is None and args.days is None:
        return args.start or date.min, date.max
    days = timedelta(days=args.days or DAYS)
    first = args.start or first_today(houses) - days
    return first, first + days


def _houses(args: argparse.Namespace, settings: Settings) -> Sequence[House]:
    if args.houses is not None and args.houses < 1:
        raise UserError(f"--houses {args.houses}: give 1 or more")
    if args.burst_s is not None and args.burst_s < 1:
        raise UserError(f"--burst-s {args.burst_s}: give 1 or more")
    if args.seed < 0:
        raise UserError(f"--seed {args.seed}: give 0 or more")
    if args.data is None:
        if args.meters:
            raise UserError("--meters states what --data does not: it needs --data")
        return (solar_houses if args.solar else synthetic_houses)(args.houses or HOUSES, args.seed, args.timezone)
    if args.solar:
        raise UserError("--solar makes synthetic houses: it does not go with --data")
    reading = ReadingOptions(args.unit, args.strict, read_meter_file(args.meters))
    if args.houses is None:
        return measured_houses(args.data, args.timezone, reading, settings.rules.max_gap_s)
    return multiplied_houses(args.data, args.houses, args.seed, settings.stack.home, args.timezone, reading, settings.rules.max_gap_s)


@contextmanager
def _usable_folders() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{error.filename}: {error.strerror}; --data needs a folder that can be read, SMW_HOME one that can be written"
        ) from None


def _write_truth(path: Path, houses: Sequence[House], first: date, end: date) -> None:
    synthetic = [house for house in houses if isinstance(house, SyntheticHouse)]
    write_ground_truth(path, (fault for day in dates(first, end) for house in synthetic for fault in house.faults(day)))


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date such as 2024-03-01") from None


def _speed(text: str) -> float:
    try:
        speed = float("inf") if text == "max" else float(text)
    except ValueError:
        speed = 0.0
    if not speed > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is neither max nor a number over 0")
    return speed
