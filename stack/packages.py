"""Packs the code and the Python packages of the jobs for the nodes of a Flink cluster.

On the nodes, the code is unpacked on PYTHONPATH, and the packages are a virtual environment for the nodes' own Python.
"""

from __future__ import annotations

import hashlib
import io
import os
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from importlib import metadata
from importlib.util import cache_from_source
from pathlib import Path, PurePosixPath

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from smartmeter.progress import ProgressLine
from smartmeter.reports import Progress
from smartmeter.settings import INSTALLED, ROOT

CODE_FOLDERS = ("jobs", "smartmeter", *(() if INSTALLED else ("avro",)))

PACKAGES = ("apache-flink", "attrs", "authlib", "avro", "cachetools", "confluent-kafka", "fastavro", "httpx", "httpx2", "lz4", "numba")
"""The packages that the jobs import. Their dependencies are added."""

FLINK_ITSELF = "apache-flink-libraries"
"""This package is left out, as a cluster already has it."""

LEFT_OUT = {"..", "tests", "__pycache__"}
"""Folders of a package that are left out: scripts in this environment's bin, tests, and Python's own cache, which files_of adds file by file."""

SITE_PACKAGES = PurePosixPath("lib", f"python{sys.version_info.major}.{sys.version_info.minor}", "site-packages")


def packed(kept: Path, folder: Path) -> list[str]:
    """The options of flink run that send code and packages with a job."""
    packages, code = packed_packages(kept, folder), packed_code(folder)
    print(f"Code and packages sent with it: {(packages.stat().st_size + code.stat().st_size) >> 20} MB", file=sys.stderr)
    return ["--pyFiles", str(code), "--pyArchives", f"{packages}#packages", "--pyExecutable", "packages/bin/python"]


def packed_code(folder: Path) -> Path:
    """A zip file, in `folder`, of the code and its compiled loops."""
    packed = folder / "code.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for file in (file for name in CODE_FOLDERS for file in (ROOT / name).rglob("*")):
            if file.is_file() and file.suffix != ".pyc":
                archive.write(file, file.relative_to(ROOT))
    return packed


def packed_packages(kept: Path, folder: Path) -> Path:
    """An archive of the packages: the one in `kept` if it has these versions, else a new one, made in `folder`.

    A tar file keeps times, so what Python keeps of a source still counts. A little compression makes it faster to send.
    """
    python = os.path.realpath(sys.executable)
    packages = required(PACKAGES)
    versions = sorted(f"{package.name}=={package.version}" for package in packages)
    packed = kept / f"packages-{hashlib.sha256(repr((python, versions)).encode()).hexdigest()[:16]}.tar.gz"
    if packed.exists():
        return packed
    unfinished = folder / packed.name
    with tarfile.open(unfinished, "w:gz", compresslevel=1) as archive, ProgressLine() as line:
        for i, package in enumerate(packages, 1):
            for path, name in files_of(package):
                archive.add(path, name)
            if line.is_due() or i == len(packages):
                line.show(
                    Progress(
                        "Python packages of the jobs packed, once", i, len(packages), line.elapsed_s, state=f"{archive.offset >> 20} MB"
                    )
                )
        add_interpreter(archive, python)
    for old in kept.glob("packages-*"):
        old.unlink()
    return unfinished.rename(packed)


def add_interpreter(archive: tarfile.TarFile, python: str) -> None:
    """Add the files that turn a folder of packages into a virtual environment of an interpreter."""
    link = tarfile.TarInfo("bin/python")
    link.type, link.linkname = tarfile.SYMTYPE, python
    archive.addfile(link)
    text = f"home = {os.path.dirname(python)}\n".encode()
    configuration = tarfile.TarInfo("pyvenv.cfg")
    configuration.size = len(text)
    archive.addfile(configuration, io.BytesIO(text))


def files_of(package: metadata.Distribution) -> Iterator[tuple[str, str]]:
    """(path here, path in the archive) of a package's files. Sources that have been imported here go with what Python keeps of them."""
    for file in package.files or ():
        if LEFT_OUT.isdisjoint(file.parts):
            for name in (str(file), cache_from_source(file) if file.suffix == ".py" else ""):
                if os.path.isfile(path := str(package.locate_file(name))):
                    yield path, str(SITE_PACKAGES / name)


def required(names: tuple[str, ...]) -> list[metadata.Distribution]:
    """The installed packages with these names, and their dependencies."""
    found: dict[str, metadata.Distribution] = {}
    open_names = list(names)
    while open_names:
        if (name := canonicalize_name(open_names.pop())) not in found and name != FLINK_ITSELF:
            found[name] = metadata.distribution(name)
            open_names += requirements(found[name])
    return list(found.values())


def requirements(package: metadata.Distribution) -> Iterator[str]:
    """The names of the packages that a package requires in this environment, without extras."""
    for requirement in map(Requirement, package.requires or []):
        if not requirement.marker or requirement.marker.evaluate({"extra": ""}):
            yield requirement.name
