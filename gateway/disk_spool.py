"""Readings on disk, from before their MQTT message is acknowledged until Kafka has them.

Files of fixed-size entries, each named by the number of its first one, as in 00000000000000065536.entries; the file `delivered` has the
number of the first entry that Kafka may lack. An entry is written and synced before its message is acknowledged, and is sent before it
counts as delivered. So a process that is killed at any moment repeats some readings, at the same times, and loses none. An entry that was cut
off by a crash of the machine was not acknowledged: its checksum shows it, and it is cut off the file.
"""

from __future__ import annotations

import os
import threading
import zlib
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from smartmeter.arrays import Rows
from smartmeter.errors import UserError
from smartmeter.folders import private_folder
from smartmeter.locks import exclusive

ENTRY = np.dtype(
    [
        ("house_id", "<i8"),
        ("arrived_ms", "<i8"),
        ("device_ms", "<i8"),  # the device's own time, or BY_ARRIVAL
        ("digest", "<u8"),  # of the message
        ("meter_id", "<i4"),
        ("message_id", "<i4"),  # MQTT's packet identifier; 0: none
        ("watts", "<f4"),  # of power; 0 of a register
        ("quantity", "<i4"),  # as in avro/reading_burst.avsc
        ("mwh", "<i8"),  # of a register; 0 of power
        ("checksum", "<u4"),  # CRC-32 of the bytes before it
    ]
)
"""A reading, and the message that it came with."""
POWER_ENTRY = np.dtype([(name, ENTRY[name]) for name in ENTRY.names or () if name not in ("quantity", "mwh")])
"""An entry of *.readings, which gateways wrote before they took registers: all of them are of power."""
BY_ARRIVAL = -(2**63)
FILE_ENTRIES = 2**16
FILES_KEPT = 2
"""Files that stay although all of them is delivered: their entries show which messages come again."""
SMALLEST = 2


class Spool:
    """Use it in a with statement, which locks the folder. One thread appends; another reads, and marks what is delivered.

    Raises UserError if another process uses the folder, or the disk fails.
    """

    def __init__(self, folder: Path, most_bytes: int, file_entries: int = FILE_ENTRIES):
        self._folder, self._file_entries = folder, file_entries
        self._most = max(most_bytes // ENTRY.itemsize, SMALLEST)
        self.moving = threading.RLock()
        """Over end, delivered and floor_ms. Hold it while entries are stamped and appended, so that none is read in between."""
        self._floor_ms: dict[int, int] = {}

    def __enter__(self) -> Self:
        private_folder(self._folder)
        self._lock = exclusive(self._folder)
        try:
            self._lock.__enter__()
        except BlockingIOError:
            raise UserError(f"another gateway uses {self._folder}: end it, or set SMW_GATEWAY_SPOOL to another folder") from None
        self._convert()
        firsts = self._firsts()
        self._first = firsts[-1] if firsts else self._read_delivered()
        self.end = self._first + self._mend(self._path(self._first))
        self.delivered = min(max(self._read_delivered(), firsts[0] if firsts else 0), self.end)
        self._file = self._path(self._first).open("ab", buffering=0)
        self._raise_floor(self.newest())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()
        self._lock.__exit__(kind, error, trace)

    @property
    def waiting(self) -> int:
        """How many entries are not delivered."""
        return self.end - self.delivered

    def room(self) -> int:
        """How many entries still fit."""
        return max(self._most - self.waiting, 0)

    def floor_ms(self, house_id: int) -> int:
        """The time at which a house's next reading arrives at the earliest: its burst may cover all before."""
        with self.moving:
            return self._floor_ms.get(house_id, 0)

    def append(self, entries: Rows) -> None:
        """Write entries, whose checksums are filled in. Returns once they are on disk. Raises UserError if the disk fails."""
        entries["checksum"] = [_checksum(entry) for entry in entries]
        try:
            body = memoryview(entries.tobytes())
            while body:
                body = body[self._file.write(body) or 0 :]
            os.fsync(self._file.fileno())
            with self.moving:
                self.end += len(entries)
            if self.end - self._first >= self._file_entries:
                self._begin_file()
        except OSError as error:
            raise self._failed(error) from None

    def read(self, most: int) -> Rows:
        """The oldest entries that are not delivered, `most` at most. What is appended from now on is stamped by floor_ms."""
        with self.moving:
            found = self._between(self.delivered, min(self.delivered + most, self.end))
            self._raise_floor(found)
        return found

    def newest(self) -> Rows:
        """The entries of the files that are kept in any case."""
        return self._between(self._firsts()[-FILES_KEPT:][0], self.end)

    def mark_delivered(self, entries: int) -> None:
        """Note that Kafka has the oldest entries. Files that are delivered are deleted. Raises UserError if the disk fails."""
        if not entries:
            return
        with self.moving:
            self.delivered += entries
        try:
            self._replace(self._folder / "delivered", str(self.delivered).encode())
        except OSError as error:
            raise self._failed(error) from None
        firsts = self._firsts()
        for first, after in list(pairwise(firsts))[: -(FILES_KEPT - 1)]:
            if after <= self.delivered:
                self._path(first).unlink()

    def _raise_floor(self, entries: Rows) -> None:
        houses, last = np.unique(entries["house_id"][::-1], return_index=True)
        with self.moving:
            self._floor_ms |= dict(zip(houses.tolist(), (entries["arrived_ms"][::-1][last] + 1).tolist()))

    def _failed(self, error: OSError) -> UserError:
        return UserError(f"{self._folder} cannot be written ({error.strerror}): make room, or set SMW_GATEWAY_SPOOL to another folder")

    def _between(self, begin: int, end: int) -> Rows:
        pieces, firsts = [np.empty(0, ENTRY)], self._firsts()
        for first, after in zip(firsts, [*firsts[1:], end]):
            here, there = max(begin, first), min(end, after)
            if here < there:
                pieces.append(np.fromfile(self._path(first), ENTRY, there - here, offset=(here - first) * ENTRY.itemsize))
        return np.concatenate(pieces)

    def _begin_file(self) -> None:
        self._file.close()
        self._first = self.end
        self._file = self._path(self._first).open("ab", buffering=0)
        folder = os.open(self._folder, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)

    def _mend(self, file: Path) -> int:
        """Cut off what follows the last whole entry. Returns the number of entries."""
        whole = len(_whole(file, ENTRY)) if file.exists() else 0
        with open(file, "ab") as opened:
            opened.truncate(whole * ENTRY.itemsize)
        return whole

    def _convert(self) -> None:
        """Write files of POWER_ENTRY anew, under the same numbers."""
        for file in self._folder.glob("*.readings"):
            known = _whole(file, POWER_ENTRY)
            entries = np.zeros(len(known), ENTRY)
            for name in POWER_ENTRY.names or ():
                entries[name] = known[name]
            entries["checksum"] = [_checksum(entry) for entry in entries]
            try:
                self._replace(self._path(int(file.stem)), entries.tobytes())
                file.unlink()
            except OSError as error:
                raise self._failed(error) from None

    def _replace(self, file: Path, body: bytes) -> None:
        """Give a file other contents, all or none of them."""
        new = file.with_suffix(".new")
        with open(new, "wb") as opened:
            opened.write(body)
            opened.flush()
            os.fsync(opened.fileno())
        new.replace(file)

    def _firsts(self) -> list[int]:
        return sorted(int(file.stem) for file in self._folder.glob("*.entries"))

    def _path(self, first: int) -> Path:
        return self._folder / f"{first:020d}.entries"

    def _read_delivered(self) -> int:
        try:
            return int((self._folder / "delivered").read_text())
        except (FileNotFoundError, ValueError):
            return 0


def _whole(file: Path, dtype: np.dtype[np.void]) -> Rows:
    """The entries of a file up to the first one that was cut off or never written."""
    body = file.read_bytes()
    entries = np.frombuffer(body, dtype, len(body) // dtype.itemsize)
    return entries[: next((i for i, entry in enumerate(entries) if entry["checksum"] != _checksum(entry)), len(entries))]


def _checksum(entry: np.void) -> int:
    return zlib.crc32(entry.tobytes()[: -ENTRY["checksum"].itemsize])
