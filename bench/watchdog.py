"""Measures what the rules for alerts do on the houses of a data set: false alarms, injected faults found, labelled days.

The jobs' own stages take each house's days, without Kafka and Flink. All alerts after the warm-up count as false alarms, except on labelled
days. Then faults are injected at drawn places, and each is run apart from the others. A fault counts as found if its meter has an alert that
overlaps it, or begins within 15 minutes after it, and that does not begin during an alert of the run without the fault. The delay runs
from the fault's beginning until the alert opens. A week is 7 days with readings.

Intervals are of 95 %: for alarms a week the wider of a bootstrap over days and Poisson's, for shares Wilson's. The same data, settings and
seed give the same JSON.

--labels names a CSV file with lines house,date[,meter], such as 1,2014-03-02,4: days on which a house, or one of its meters, is known to have
a fault. A house is its number, or folder/house_N if several have that number. The days are scored against the days with an alert. They are
left out of the false alarms, and no fault is injected on them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from bench.watching.bars import svg
from bench.watching.core import Core
from bench.watching.faults import Placing, role_of
from bench.watching.figures import Figures, figures_of, panels, report
from bench.watching.labelled_days import labelled_days
from bench.watching.scores import Place
from bench.watching.watched import Result, Watched
from generator.channels import WATTS_PER_UNIT, ReadingOptions
from generator.datasets import MeasuredHouse, measured_houses
from smartmeter.errors import UserError
from smartmeter.messages.rules import SENSITIVITIES
from smartmeter.progress import Pace
from smartmeter.settings import Settings
from smartmeter.timezones import is_timezone

EVERY = ""
"""Stands for all folders of --data."""

EACH = 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ./smw bench watchdog."""
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="DIR", help="folders of data sets, as for ./smw demo --data")
    parser.add_argument(
        "--timezone",
        nargs="+",
        default=[],
        metavar="[DIR=]ZONE",
        help="IANA time zone of all data, or of one folder of --data by its name, such as uci=Europe/Paris (default: as for ./smw demo)",
    )
    parser.add_argument("--unit", choices=list(WATTS_PER_UNIT), default="W", help="unit of the power in the data (default W)")
    parser.add_argument("--labels", type=Path, metavar="FILE", help="days with a fault, as lines house,date[,meter]")
    parser.add_argument("--faults", type=int, default=EACH, metavar="N", help=f"faults of each kind and meter (default {EACH}; 0: none)")
    parser.add_argument(
        "--warm-up-days", type=int, metavar="N", help="first days with readings of each house that do not count (default: SMW_WINDOW_DAYS)"
    )
    parser.add_argument("--sensitivity", choices=SENSITIVITIES, default="normal", help="of all houses, as a rule of users (default normal)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed draws the same faults (default 1)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="folder for watchdog.json and watchdog.svg (default: SMW_HOME/bench)")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Measure, print and save."""
    for name, least in (("faults", 0), ("seed", 0), ("warm_up_days", 1)):
        given = getattr(args, name)
        if given is not None and given < least:
            raise UserError(f"--{name.replace('_', '-')} {given}: give {least} or more")
    houses = houses_of(args, settings)
    labels = labelled_days(args.labels, houses) if args.labels else None
    results = results_of(houses, labels or [], args, settings)
    figures = figures_of(results, labels, args.seed)
    print(report(results, figures))
    folder = args.out or settings.stack.home / "bench"
    print(f"\nSaved as {' and '.join(map(str, save(folder, results, figures, args, settings)))}")
    return 0


def houses_of(args: argparse.Namespace, settings: Settings) -> list[MeasuredHouse]:
    """The houses of all folders. Raises UserError for a folder that cannot be used, and for two houses of one name."""
    zones, found = dict(zone_of(text, args.data) for text in args.timezone), dict[str, MeasuredHouse]()
    for folder in args.data:
        zone = zones.get(folder.resolve().name, zones.get(EVERY))
        try:
            houses = measured_houses(folder, zone, ReadingOptions(args.unit), settings.rules.max_gap_s)
        except OSError as error:
            raise UserError(f"{error.filename}: {error.strerror}; --data needs a folder that can be read") from None
        for house in houses:
            if house.source in found:
                raise UserError(f"--data {folder}: there are two houses {house.source}; give each folder once, or rename one")
            found[house.source] = house
    return list(found.values())


def zone_of(text: str, folders: Sequence[Path]) -> tuple[str, str]:
    """(name of a folder of --data, its time zone) in an argument [DIR=]ZONE; EVERY for all folders."""
    name, _, zone = text.rpartition("=")
    if not is_timezone(zone):
        raise UserError(f"--timezone {text}: {zone!r} is no IANA time zone, such as Europe/Paris")
    folder = Path(name).name
    if name and folder not in {path.resolve().name for path in folders}:
        raise UserError(f"--timezone {text}: no folder {folder} in --data")
    return folder or EVERY, zone


def results_of(houses: Sequence[MeasuredHouse], labels: Sequence[Place], args: argparse.Namespace, settings: Settings) -> list[Result]:
    """Run the jobs on each house in turn, so one house at a time is in memory."""
    core, warm_up_days = Core(settings, sensitivity=args.sensitivity), args.warm_up_days or settings.rules.window_days
    placing = Placing(args.seed, args.faults, settings.rules.on_watts, round(settings.rules.max_gap_s * 1000))
    results = [watch(core, Watched(house, warm_up_days, days_of(house, labels)), placing) for house in houses]
    if not any(result.judged for result in results):
        most = max(result.days for result in results)
        raise UserError(
            f"no house has more than {most} days with readings, and {warm_up_days} are warm-up; give more days, or a lower --warm-up-days"
        )
    return results


def days_of(house: MeasuredHouse, labels: Sequence[Place]) -> list[int]:
    """The labelled days of a house."""
    return [day for name, day, _ in labels if name == house.source]


def watch(core: Core, watched: Watched, placing: Placing) -> Result:
    """Run the jobs on a house, then with each fault."""
    faults, outcomes = watched.faults(placing), []
    with Pace(f"days and faults of {watched.name} run", len(watched.days) + len(faults)) as pace:
        for _ in watched.watch(core):
            pace.add(1)
        for fault in faults:
            outcomes.append(watched.outcome(core, fault))
            pace.add(1)
    return watched.result(outcomes)


def save(folder: Path, results: Sequence[Result], figures: Figures, args: argparse.Namespace, settings: Settings) -> tuple[Path, Path]:
    """Write the JSON and the plot. The same data, settings and seed give the same files."""
    record = {
        "seed": args.seed,
        "faults_each": args.faults,
        "sensitivity": args.sensitivity,
        "warm_up_days": args.warm_up_days or settings.rules.window_days,
        "settings": {item.variable.name: item.value for item in settings.rules.items()},
        "houses": [house_record(result) for result in results],
        **asdict(figures),
        "faults": [asdict(outcome) for result in results for outcome in result.outcomes],
    }
    paths = folder / "watchdog.json", folder / "watchdog.svg"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        paths[0].write_text(json.dumps(record, indent=1) + "\n")
        paths[1].write_text(svg(panels(figures)))
    except OSError as error:
        raise UserError(f"--out {folder}: {error.strerror}; give a folder that can be written") from None
    return paths


def house_record(result: Result) -> dict[str, object]:
    """A house as it is saved."""
    house = result.house
    return {
        "house": house.source,
        "timezone": house.timezone,
        "meters": [{"meter_id": meter.meter_id, "label": meter.label, "role": role_of(meter)} for meter in house.meters],
        "first": str(result.first),
        "last": str(result.last),
        "days": result.days,
        "judged_days": len(result.judged),
    }
