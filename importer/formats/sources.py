"""The files that are imported: plain, gzipped, or in a zip."""

from __future__ import annotations

import gzip
import io
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath
from typing import BinaryIO, cast

from generator.channels import DatasetError

GZIP, ZIP, BYTE_ORDER_MARK = b"\x1f\x8b", b"PK\x03\x04", b"\xef\xbb\xbf"
HEAD_BYTES = 65_536
HIDDEN = (".", "__MACOSX")
"""Beginnings of the names of files and folders that hold no data."""
UNREADABLE = (OSError, EOFError, zlib.error, zipfile.BadZipFile)
"""What the packers raise."""


@dataclass(frozen=True)
class Source:
    """A file to import. member: its name in the zip `path`; empty: the file is `path` itself."""

    path: Path
    member: str = ""

    @property
    def name(self) -> str:
        """As the user is shown it."""
        return f"{self.path}/{self.member}" if self.member else str(self.path)

    @property
    def filename(self) -> str:
        """Its last name, without .gz."""
        return PurePath(self.member or self.path).name.removesuffix(".gz")

    def exists(self) -> bool:
        """Whether there is such a file."""
        if not self.member:
            return self.path.is_file()
        with zipfile.ZipFile(self.path) as archive:
            return self.member in archive.namelist()

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Its bytes, unpacked, without a byte order mark. Raises DatasetError if they cannot be read, also while they are."""
        try:
            if not self.member:
                with open(self.path, "rb") as stream:
                    yield _unpacked(stream)
            else:
                with zipfile.ZipFile(self.path) as archive, self._opened(archive) as member:
                    yield _unpacked(member)
        except UNREADABLE as error:
            raise DatasetError(f"{self.name}: it cannot be read ({error}); fetch the file again") from None

    def _opened(self, archive: zipfile.ZipFile) -> BinaryIO:
        try:
            return cast(BinaryIO, archive.open(self.member))
        except (RuntimeError, NotImplementedError) as error:  # a password is needed, or a packer that Python lacks
            raise DatasetError(f"{self.name}: it cannot be unpacked ({error}); unpack {self.path} yourself") from None

    @cached_property
    def head(self) -> bytes:
        """Its first bytes, unpacked."""
        with self.open() as stream:
            return stream.read(HEAD_BYTES)

    @property
    def head_lines(self) -> list[str]:
        """Its first lines."""
        lines = self.head.decode("utf-8", errors="replace").splitlines()
        return lines if len(self.head) < HEAD_BYTES else lines[:-1]

    @contextmanager
    def local(self) -> Iterator[Path]:
        """A plain file with its bytes, for formats that need to seek."""
        with self.open() as stream:
            if not self.member and not _starts_with(self.path, GZIP):
                yield self.path
                return
            with tempfile.NamedTemporaryFile() as plain:
                shutil.copyfileobj(stream, plain)
                plain.flush()
                yield Path(plain.name)


def _unpacked(stream: BinaryIO) -> BinaryIO:
    buffered = io.BufferedReader(cast(io.RawIOBase, stream))
    if buffered.peek(2)[:2] == GZIP:
        buffered = io.BufferedReader(cast(io.RawIOBase, gzip.GzipFile(fileobj=buffered)))
    if buffered.peek(3)[:3] == BYTE_ORDER_MARK:
        buffered.read(3)
    return buffered


def sources(paths: Iterable[Path]) -> Iterator[Source]:
    """The files of paths, of all that is in folders and zips, in the order of their names. Raises DatasetError."""
    for path in paths:
        if path.is_dir():
            yield from sources(each for each in sorted(path.iterdir()) if not each.name.startswith(HIDDEN))
        elif not path.exists():
            raise DatasetError(f"{path}: there is no such file; give a file or a folder")
        elif _starts_with(path, ZIP):
            yield from _members(path)
        else:
            yield Source(path)


def _starts_with(path: Path, mark: bytes) -> bool:
    try:
        with path.open("rb") as stream:
            return stream.read(len(mark)) == mark
    except OSError as error:
        raise DatasetError(f"{path}: it cannot be read ({error.strerror})") from None


def _members(path: Path) -> Iterator[Source]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted(member.filename for member in archive.infolist() if not member.is_dir())
    except UNREADABLE as error:
        raise DatasetError(f"{path}: it cannot be read ({error}); fetch the file again") from None
    yield from (Source(path, name) for name in names if not any(part.startswith(HIDDEN) for part in PurePath(name).parts))
