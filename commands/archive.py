"""./smw archive: copies days of the topic readings into Avro files, which ./smw replay --archive reads."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from smartmeter.errors import UserError
from smartmeter.folders import PRIVATE
from smartmeter.kafka import archived
from smartmeter.kafka.consumers import ARCHIVE, group_of
from smartmeter.locks import exclusive
from smartmeter.messages import archive_files
from smartmeter.messages.archive_files import EPOCH, USUAL, Files, folder_of
from smartmeter.progress import Pace
from smartmeter.settings import DAY_MS, SMW, Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ./smw archive."""
    parser.add_argument("--from", dest="first", type=_date, required=True, metavar="DATE", help="first day (UTC), such as 2026-11-01")
    parser.add_argument("--to", dest="last", type=_date, required=True, metavar="DATE", help="last day (UTC)")
    parser.add_argument("--houses", type=_houses, metavar="FIRST-LAST", help="these houses only (default: all)")
    parser.add_argument("--into", type=Path, default=USUAL, metavar="DIR", help=f"folder of the archive (default: {USUAL})")


@dataclass
class Counts:
    """The contents of some files."""

    files: int = 0
    messages: int = 0
    bursts: int = 0
    readings: int = 0
    bytes: int = 0


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Archive some days of the topic's present messages. Raises UserError when that fails, or the files do not hold all of them."""
    if args.last < args.first:
        raise UserError(f"--from {args.first} --to {args.last}: give the last day not before the first")
    days = range((args.first - EPOCH).days, (args.last - EPOCH).days + 1)
    folder = folder_of(settings, args.into)
    with alone(folder):
        files = Files(folder, days)
        copied = copy(settings, files, days, args.houses)
        if not copied.messages:
            raise UserError(
                f"Kafka at {settings.kafka.address} keeps no readings of {args.first} to {args.last}"
                + (f" of the houses {args.houses[0]} to {args.houses[-1]}" if args.houses else "")
            )
        found = check(files)
    print(
        f"{folder}: {found.files:,} files of {found.bytes:,} bytes, {found.bursts:,} bursts with {found.readings:,} readings"
        f" and {found.messages - found.bursts:,} messages that are not bursts; all were read back"
    )
    if found.messages < copied.messages or found.readings < copied.readings:
        raise UserError(
            f"{copied.messages:,} messages with {copied.readings:,} readings came from Kafka, but the files have "
            f"{found.messages:,} with {found.readings:,}: archive these days again"
        )
    return 0


def copy(settings: Settings, files: Files, days: range, houses: range | None) -> Counts:
    """Copy the messages of some days (UTC, days since 1970-01-01) and houses from the topic into files. Returns their counts."""
    copied = Counts()
    for start_ms, message, burst in archived.in_topic(settings, group_of(settings, ARCHIVE), days[0] * DAY_MS):
        day = start_ms // DAY_MS
        if day in days and not (burst and houses and burst.house_id not in houses):
            files.add(message, day, burst.house_id if burst else 0)
            copied.messages += 1
            copied.readings += int(burst.counts.sum()) if burst else 0
    return copied


def check(files: Files) -> Counts:
    """Complete the files, and read each of them. Returns their counts."""
    found = Counts()
    with Pace("files completed and read back", len(files)) as pace:
        for path in files.complete():
            found.files += 1
            found.bytes += path.stat().st_size
            for message in archive_files.read(path):
                found.messages += 1
                found.bursts += bool(message.rest)
                found.readings += message.readings
            pace.add(1)
    return found


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Create the folder of an archive, and lock it against other runs. Raises UserError."""
    try:
        folder.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
        with exclusive(folder / "lock"):
            yield
    except BlockingIOError:
        raise UserError(f"another {SMW} archive writes into {folder}: wait until it ends") from None
    except OSError as error:
        raise UserError(f"{error.filename or folder}: {error.strerror}; the archive needs a writable folder with free space") from None


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date such as 2026-11-01") from None


def _houses(text: str) -> range:
    first, _, last = text.partition("-")
    if not (first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a range of houses such as 1-100")
    return range(int(first), int(last) + 1)
