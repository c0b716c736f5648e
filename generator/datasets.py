"""Loaders of REDD (low_freq), UK-DALE and data sets in their layout: a folder house_N for each house, with labels.dat and channel_M.dat.

    labels.dat      channel label               1 mains
    channel_1.dat   unix-seconds watts          1303132929 222.20

Files may be gzipped (.dat.gz). All channels of a house are read side by side in chunks, so memory is bounded by one day of the house.
The loader logs what it guesses, changes or leaves out in lines that begin with "note:".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np

from generator.channels import AS_WATTS, Channel, DatasetError, ReadingOptions, lines_of, note, read_channel
from generator.houses import House, HouseDay, Kind, Meter, Readings, hold_s
from generator.meter_file import sign_of, with_parents
from smartmeter.local_days import day_bounds_ms, local_date
from smartmeter.settings import Rules

TIMEZONE_OF_MAINS_LABEL = {"mains": "America/New_York", "aggregate": "Europe/London"}
"""Label of the mains -> time zone of the data set: REDD, UK-DALE."""

MAINS = re.compile(
    r"(the )?(mains?|aggregated?|(site|main|smart|utility) ?meter|whole ?(house|home)|total|grid|whe|electric(ity)? (mains|combined))"
    r"( ?(power|load|consumption|supply|meter|phase))*( ?(\d+|[a-c]|l[1-3]))?"
)
"""Labels of the whole house, in lower case with blanks between words. REDD: mains, UK-DALE and REFIT: aggregate, NILMTK: site
meter, ENERTALK: total, AMPds: WHE, IDEAL: electric-mains and electric-combined, DRED: main, Dataport: grid."""

SPECIAL: dict[Kind, re.Pattern[str]] = {
    "solar": re.compile(r"(solar|pv|photovoltaics?)( ?(power|panels?|pv|inverter|production|generation|meter))*( ?\d+)?"),
    "battery": re.compile(r"((home|house|solar) )?battery( ?(storage|inverter|meter))*( ?\d+)?"),
    "ev": re.compile(r"(ev|electric vehicle|electric car|car)( ?(charger|charging|meter))*( ?\d+)?|wallbox( ?\d+)?"),
}
"""Kind of a meter that is no appliance of a kitchen or the like -> its labels, as with MAINS."""

HOUSE_FOLDER = re.compile(r"(?:house|home|building)[ _-]?(\d+)", re.IGNORECASE)
MOST_KILOWATTS = 30
"""A home's mains exceed this many watts at some time, and never this many kilowatts."""
DRAWING_SOLAR = (
    "a solar meter draws more than it feeds; if the files count production as negative, state sign = 1 of it with --meters, or kind = "
    '"appliance" if it is none'
)
LABEL_HEADS = {"channel", "meter", "id", "no", "number", "#"}
"""First words of a header line of labels.dat."""


def measured_houses(
    folder: Path, timezone: str | None = None, options: ReadingOptions = AS_WATTS, max_gap_s: float = Rules.max_gap_s
) -> list[MeasuredHouse]:
    """The houses of a data set, each in the data set's time zone unless another one is given.

    max_gap_s: longest time that a reading holds in the jobs; the readings of a file with a longer sample period have a hold of their own.
    Raises DatasetError when there is no house, or one of them cannot be read.
    """
    houses = [_load_house(number, path, timezone, options, max_gap_s) for number, path in _house_folders(folder)]
    options.meters.require_used()
    return houses


def _house_folders(folder: Path) -> list[tuple[int, Path]]:
    """(house id, folder) of the houses of a data set, in ascending order. Raises DatasetError if there are none, or two with one number."""
    if not folder.is_dir():
        raise DatasetError(f"{folder}: there is no such folder; give the folder that holds house_1, house_2, ...")
    if _data_file(folder, "labels"):
        raise DatasetError(f"{folder}: this is the folder of one house; give the folder that holds it, {folder.resolve().parent}")
    numbered: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        match = HOUSE_FOLDER.fullmatch(path.name)
        if not match or not path.is_dir():
            continue
        number = int(match[1])
        if not 0 < number < 2**53:
            raise DatasetError(
                f"{path}: houses are numbered from 1; rename the folder to a number that is free, such as "
                f"house_{max([0, *numbered, *_numbers(folder)]) + 1}"
            )
        if number in numbered:
            raise DatasetError(f"{numbered[number]} and {path} are both house {number}; rename one of them")
        if not re.fullmatch(r"house_\d+", path.name):
            note(f"{path}: read as house {number}")
        numbered[number] = path
    if not numbered:
        raise DatasetError(f"{folder}: no folder house_1, house_2, ... in it; give the folder that holds them")
    return sorted(numbered.items())


def _numbers(folder: Path) -> list[int]:
    return [int(match[1]) for path in folder.iterdir() if (match := HOUSE_FOLDER.fullmatch(path.name)) and int(match[1]) < 2**52]


def _load_house(house_id: int, folder: Path, timezone: str | None, options: ReadingOptions, max_gap_s: float) -> MeasuredHouse:
    labels_file = _data_file(folder, "labels")
    if labels_file is None:
        raise DatasetError(f"{folder}: no labels.dat in it; each house needs one with a line 'channel label' for each channel")
    meters, channels, absent, parents = [], [], [], {}
    for number, label in read_labels(labels_file).items():
        path = _data_file(folder, f"channel_{number}")
        if path is None:
            absent.append(f"{number} {label}")
            continue
        stated = options.meters.of(str(house_id), number, label)
        kind = stated.kind or kind_of(label)
        parents[number] = stated.parent
        meters.append(Meter(number, label, kind))
        channels.append(Channel(path, options, sign_of(kind, stated.sign) * stated.scale))
    meters = with_parents(str(folder), meters, parents)
    if absent:
        note(f"{labels_file} names {len(absent)} channels without a file, left out: {', '.join(absent)}")
    if not channels:
        raise DatasetError(f"{folder}: none of the channels in labels.dat has a file channel_M.dat")
    timezone = timezone or _default_timezone(meters, folder)
    _note_mains(folder, meters)
    _note_forms(folder, channels)
    _note_kilowatts(folder, meters, channels)
    _note_solar(folder, meters, channels)
    holds_s = {meter.meter_id: hold for meter, channel in zip(meters, channels) if (hold := hold_s(channel.period_s, max_gap_s))}
    _note_holds(folder, channels, max_gap_s)
    return MeasuredHouse(house_id, f"{folder.resolve().parent.name}/{folder.name}", timezone, meters, channels, holds_s)


def _data_file(folder: Path, stem: str) -> Path | None:
    candidates = (folder / f"{stem}{suffix}" for suffix in (".dat", ".dat.gz"))
    return next((path for path in candidates if path.exists()), None)


def plain(label: str) -> str:
    """A label in lower case, with one blank between words."""
    return " ".join(re.split(r"[\W_]+", label.lower())).strip()


def is_mains(label: str) -> bool:
    """Whether a label means the whole house."""
    return MAINS.fullmatch(plain(label)) is not None


def kind_of(label: str) -> Kind:
    """The kind of a meter by its label."""
    if is_mains(label):
        return "mains"
    return next((kind for kind, labels in SPECIAL.items() if labels.fullmatch(plain(label))), "appliance")


def _default_timezone(meters: list[Meter], folder: Path) -> str:
    labels = [meter.label for meter in meters if meter.kind == "mains"]
    for label in labels:
        if zone := TIMEZONE_OF_MAINS_LABEL.get(plain(label)):
            if label not in TIMEZONE_OF_MAINS_LABEL:
                note(f"{folder}: the time zone is taken to be {zone}, as its mains are labelled {label}; --timezone sets another one")
            return zone
    if labels:
        raise DatasetError(
            f"{folder}: the time zone is unknown, as the mains are labelled neither mains (REDD) nor aggregate (UK-DALE) but "
            f"{labels[0]}; give it with --timezone"
        )
    raise DatasetError(
        f"{folder}: no channel is labelled mains (REDD), aggregate (UK-DALE) or the like. If one of them measures the whole house, "
        "label it mains in labels.dat, or its energy counts twice. The time zone is unknown too; give it with --timezone"
    )


def _note_mains(folder: Path, meters: list[Meter]) -> None:
    """Note which channels make up the house's energy, if that may surprise."""
    mains = [f"{meter.meter_id} {meter.label}" for meter in meters if meter.kind == "mains"]
    if not mains:
        note(
            f"{folder}: no channel is labelled mains, so the house's energy is the sum of its {len(meters)} channels; label one mains in "
            "labels.dat if it measures the whole house"
        )
    elif len({re.sub(r"[\d ]+", "", plain(meter.label)) for meter in meters if meter.kind == "mains"}) > 1:
        note(
            f"{folder}: these channels are all taken as mains, and added up: {', '.join(mains)}; if one contains another, label it otherwise"
        )


def _note_forms(folder: Path, channels: list[Channel]) -> None:
    """Note files with header lines, or with times in another unit than s."""
    headed = [channel for channel in channels if channel.header_lines]
    if headed:
        lines = sum(channel.header_lines for channel in headed)
        note(f"{headed[0].path}:1: header lines left out: {lines} in {len(headed)} files of {folder.name}")
    finer = [channel for channel in channels if channel.ticks_per_s != 1]
    if finer:
        note(f"{finer[0].path}: times are read as Unix {finer[0].time_unit}, by their magnitude; so in {len(finer)} files of {folder.name}")


def _note_kilowatts(folder: Path, meters: list[Meter], channels: list[Channel]) -> None:
    """Warn if power looks like kW: no reading of the mains, or of any channel if there are no mains, reaches MOST_KILOWATTS."""
    mains = [channel for meter, channel in zip(meters, channels) if meter.kind == "mains"]
    power = np.concatenate([channel.sample[1] for channel in mains or channels])
    used = power[power > 0]
    if len(used) and used.max() < MOST_KILOWATTS and (used % 1 != 0).any() and channels[0].watts_per_unit == 1:
        note(
            f"{folder}: the power looks like kW, not W: the highest of the first {len(used):,} readings is {used.max():g}; "
            "if it is kW, give --unit kW"
        )


def _note_solar(folder: Path, meters: list[Meter], channels: list[Channel]) -> None:
    """Note solar meters whose first readings are drawn power."""
    if any(meter.kind == "solar" and channel.sample[1].sum() * channel.watts_per_unit > 0 for meter, channel in zip(meters, channels)):
        note(f"{folder}: {DRAWING_SOLAR}")


def _note_holds(folder: Path, channels: list[Channel], max_gap_s: float) -> None:
    """Note readings that are further apart than readings usually hold, and how long they hold instead."""
    sparse = [channel for channel in channels if channel.period_s > max_gap_s]
    if sparse:
        note(
            f"{sparse[0].path}: its readings are {sparse[0].period_s:,.0f} s apart, so each holds for up to "
            f"{hold_s(sparse[0].period_s, max_gap_s):,} s; so in {len(sparse)} files of {folder.name}"
        )


def read_labels(path: Path) -> dict[int, str]:
    """Channel -> label. Raises DatasetError for a line that is not 'channel label', or a channel named twice."""
    labels: dict[int, str] = {}
    for number, line in lines_of(path):
        match = re.fullmatch(r"""['"]?(\d+)['"]?(?:\s*[,;:]\s*|\s+)(.+)""", line.strip(), re.ASCII)
        channel, label = (int(match[1]), " ".join(match[2].split()).strip("'\" ")) if match else (0, "")
        if not labels and re.split(r"[\s,;:]", line.strip().lower().strip("'\""))[0] in LABEL_HEADS:
            note(f"{path}:{number}: a header line, left out")
            continue
        if not (0 < channel < 2**31 and label):
            raise DatasetError(
                f"{path}:{number}: {line.strip()!r} is not a channel number and a label, such as '3 refrigerator'; correct the line"
            )
        if channel in labels:
            raise DatasetError(f"{path}:{number}: channel {channel} is named a second time; remove one of the lines")
        labels[channel] = label
    if not labels:
        raise DatasetError(f"{path}: it is empty; it needs a line 'channel label' for each channel")
    return labels


class MeasuredHouse(House):
    """A house as it was measured: channels[i] is the file of meters[i]."""

    def __init__(self, house_id: int, source: str, timezone: str, meters: list[Meter], channels: list[Channel], holds_s: dict[int, int]):
        super().__init__(house_id, source, timezone, meters, holds_s=holds_s)
        self.channels = channels

    def days(self, first: date = date.min, end: date = date.max) -> Iterator[HouseDay]:
        """The local days in [first, end) that have readings, in order; by default all."""
        channels = [_Forwards(channel) for channel in self.channels]
        while times := [channel.next_ms for channel in channels if channel.next_ms is not None]:
            day = local_date(min(times), self.timezone)
            if day >= end:
                return
            start_ms, end_ms = day_bounds_ms(day, self.timezone)
            readings = [channel.take_until(end_ms) for channel in channels]
            if day >= first:
                yield HouseDay(day, start_ms, end_ms, readings)


class _Forwards:
    """Reads a channel file forwards."""

    def __init__(self, channel: Channel):
        self._chunks = read_channel(channel)
        self._times, self._watts = np.empty(0, np.int64), np.empty(0, np.float32)
        self._refill()

    def _refill(self) -> None:
        while not self._times.size and (chunk := next(self._chunks, None)) is not None:
            self._times, self._watts = chunk

    @property
    def next_ms(self) -> int | None:
        """Time of the next reading; None at the end of the file."""
        return int(self._times[0]) if self._times.size else None

    def take_until(self, end_ms: int) -> Readings:
        """The readings before end_ms that have not been taken yet."""
        times, watts = [self._times[:0]], [self._watts[:0]]
        while self._times.size and self._times[0] < end_ms:
            cut = np.searchsorted(self._times, end_ms)
            times.append(self._times[:cut])
            watts.append(self._watts[:cut])
            self._times, self._watts = self._times[cut:], self._watts[cut:]
            self._refill()
        return np.concatenate(times), np.concatenate(watts)
