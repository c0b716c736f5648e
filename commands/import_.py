"""./smw import: sends the readings in files of many formats to Kafka."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from commands import older_days
from commands.arguments import add_installed
from generator.channels import DatasetError, note
from generator.meter_file import read_meter_file
from importer import sendable, sending
from importer.formats.catalogue import format_of, formats, named
from importer.formats.mapping import read_mapping
from importer.formats.series import Faults, Format, Request, Unit
from importer.formats.sources import Source, sources
from importer.formats.tabular import Tabular
from importer.spool import Spool, SpooledHouse, note_doubts
from smartmeter import local_days
from smartmeter.errors import UserError
from smartmeter.folders import private_folder
from smartmeter.messages import archive_files
from smartmeter.progress import ProgressLine
from smartmeter.reports import Progress
from smartmeter.settings import Settings
from smartmeter.text_tables import table
from smartmeter.timezones import zone

MOST_HOUSES_SHOWN = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ./smw import."""
    parser.add_argument("paths", nargs="+", type=Path, metavar="FILE|DIR", help="files, folders of them, .gz and .zip")
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--format", metavar="NAME", help=f"one of {', '.join(each.name for each in formats())} (default: each file's own is found)"
    )
    how.add_argument("--map", type=Path, metavar="FILE.toml", help="what the columns of any CSV or Parquet file mean (docs/import.md)")
    parser.add_argument("--timezone", default="", help="IANA time zone of the houses (default: that of the format or the mapping)")
    parser.add_argument("--house", type=int, metavar="N", help="number of the house, if the files are of one house")
    parser.add_argument("--unit", choices=get_args(Unit)[:2], default="W", help="unit of power in files that do not state it (default W)")
    parser.add_argument("--meters", type=Path, metavar="FILE.toml", help="what the files do not state of their meters (docs/data.md)")
    parser.add_argument(
        "--without", action="append", default=[], metavar="LABEL", help="leave out the meters of this label; may be repeated"
    )
    parser.add_argument(
        "--skip-bad",
        action="store_true",
        help="leave bad lines out, and list them in SMW_HOME/bad_lines.txt (default: the first one stops)",
    )
    parser.add_argument(
        "--archive",
        type=Path,
        default=archive_files.USUAL,
        metavar="DIR",
        help=f"the archive that keeps days older than what their house has sent (default: {archive_files.USUAL})",
    )
    parser.add_argument("--check", action="store_true", help="read the files and report what is in them, but send nothing")
    parser.add_argument(
        "--jobmanager",
        metavar="HOST:PORT",
        help="take in older days on a Flink cluster: REST address of its JobManager (default: the local stack)",
    )
    parser.add_argument("--from-savepoint", metavar="DIR", help="with --jobmanager: the savepoint with which its pipeline was stopped")
    add_installed(parser)


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Read the files, then send them. Raises UserError before anything is sent, or ProducerError."""
    if args.house is not None and args.house < 1:
        raise UserError(f"--house {args.house}: houses are numbered from 1")
    if args.timezone:
        zone(args.timezone)
    pipeline = older_days.pipeline_of(settings, args.jobmanager, args.from_savepoint, args.installed)
    try:
        folder = private_folder(private_folder(settings.stack.home) / "tmp")
        request = _request(args, settings)
        with Spool(folder, args.house) as spool:
            _read(args, request, spool)
            _report_faults(request.faults)
            houses = spool.houses(settings.rules.max_gap_s)
            if not houses:
                raise DatasetError("there is no reading in these files")
            note_doubts(houses)
            print(_summary(houses))
            if not args.check:
                _send(houses, spool.readings, args.archive, pipeline, settings)
    except OSError as error:
        raise UserError(f"{error.filename or settings.stack.home}: {error.strerror}; SMW_HOME needs room for the readings") from None
    return 0


def _send(houses: Sequence[SpooledHouse], readings: int, archive: Path, pipeline: older_days.Pipeline, settings: Settings) -> None:
    """Send what the houses hold: first what is older than what the system has of them, past the topic, then the rest."""
    older, newer = sending.divided(houses, settings.rules.max_jump_s, older_days.newest_ms(settings))
    sending.send_houses(houses, settings)
    taken_in = older_days.take_in(older, archive, pipeline, settings)
    sent = sending.send(newer, readings - taken_in, settings)
    sending.note_repeated(houses)
    print(f"sent {sent + taken_in:,} readings of {len(houses)} houses" + f", {taken_in:,} of them as older days" * bool(taken_in))


def _request(args: argparse.Namespace, settings: Settings) -> Request:
    listed_in = settings.stack.home / "bad_lines.txt" if args.skip_bad else None
    if listed_in:
        listed_in.write_text("")
    newest_ms = local_days.now_ms() + round(settings.rules.max_ahead_s * 1000)
    return Request(Faults(listed_in), settings.rules.oldest_ms, newest_ms, args.timezone, args.unit)


def _read(args: argparse.Namespace, request: Request, spool: Spool) -> None:
    """Read all files into the spool."""
    without = {label.lower() for label in args.without}
    meters = read_meter_file(args.meters)
    with ProgressLine() as line:
        for source, form in _files(args):
            for batch in (found.stated(meters) for found in form.read(source, request)):
                series = batch.series
                if series.label.lower() in without:
                    continue
                if series.quantity in sendable.QUANTITIES:
                    kept, mwh = sendable.mwh(batch, request.faults)
                    spool.add_register(form.name, series, kept.times_ms, mwh)
                else:
                    sendable.refuse(series, batch.place)
                    spool.add(form.name, series, batch.times_ms, sendable.watts(batch))
                if line.is_due():
                    line.show(Progress("readings read", spool.readings, elapsed_s=line.elapsed_s, state=source.name))
    meters.require_used()


def _files(args: argparse.Namespace) -> Sequence[tuple[Source, Format]]:
    """The files with their formats. Raises DatasetError for a given file whose format is unknown; in a folder it is left out."""
    known = _known(args)
    found: list[tuple[Source, Format]] = []
    unknown: list[Source] = []
    for source in sources(args.paths):
        form = known[0] if args.format and source.path in args.paths else format_of(source, known)
        if form:
            found.append((source, form))
        elif not source.filename.startswith("labels.dat"):
            unknown.append(source)
    given = [source for source in unknown if source.path in args.paths and not source.member]
    if given or not found:
        raise DatasetError(_unknown(given or unknown, args))
    if unknown:
        note(f"{unknown[0].name}: not a format that is known, left out; so {len(unknown)} files in all")
    return found


def _known(args: argparse.Namespace) -> list[Format]:
    """The formats that files may have."""
    if args.map:
        return [Tabular("table", read_mapping(args.map))]
    return [named(args.format, formats())] if args.format else formats()


def _unknown(files: Sequence[Source], args: argparse.Namespace) -> str:
    if not files:
        return f"{args.paths[0]}: there is no file in it"
    if args.map:
        return f"{files[0].name}: it has no header with the columns that {args.map} names"
    if args.format:
        return f"{files[0].name}: it does not have the format {args.format}"
    return f"{files[0].name}: its format is not known; give what its columns mean with --map (docs/import.md), or its --format"


def _report_faults(faults: Faults) -> None:
    if faults.count:
        for sentence in faults.first:
            note(f"{sentence}: left out")
        note(f"{faults.count:,} bad lines in all: left out, and listed in {faults.listed_in}")


def _summary(houses: Sequence[SpooledHouse]) -> str:
    """A table of what was read."""
    rows = [
        (
            house.house_id,
            house.source,
            house.timezone,
            len(house.meters),
            sum(meter.readings for meter in house.known.meters.values()),
            str(house.dates[0]),
            str(house.dates[-1]),
        )
        for house in houses[:MOST_HOUSES_SHOWN]
    ]
    shown = table(["house", "source", "time zone", "meters", "readings", "first day", "last day"], rows)
    return shown + (f"\n... and {len(houses) - MOST_HOUSES_SHOWN:,} more houses" if len(houses) > MOST_HOUSES_SHOWN else "")
