"""./smw submit: a job on a Flink cluster, which takes its code and the Python packages that it needs to the nodes by itself.

The code is unpacked on PYTHONPATH there, the packages are a virtual environment for the nodes' own Python.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import re
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from smartmeter import machine, savepoints
from smartmeter.errors import UserError
from smartmeter.flink import JOBS, POLL_S, Flink, Standstill, reason
from smartmeter.folders import private_folder
from smartmeter.framing import framing
from smartmeter.settings import INSTALLED, ROOT, SMW, Settings
from smartmeter.stack import FLINK, flink_environ

CODE_FOLDERS = ("jobs", "smartmeter", *(() if INSTALLED else ("avro",)))
PACKAGES = ("apache-flink", "attrs", "authlib", "avro", "cachetools", "confluent-kafka", "fastavro", "httpx", "httpx2", "lz4", "numba")
"""What the jobs import, beside what these bring with them."""

FLINK_ITSELF = "apache-flink-libraries"
"""The package that is left out, as a cluster has it already."""

LEFT_OUT = {"..", "tests"}
"""Folders of a package: scripts for this environment's own bin, and its tests."""

SITE_PACKAGES = PurePosixPath("lib", f"python{sys.version_info.major}.{sys.version_info.minor}", "site-packages")
PATIENCE_S = 600
STAY_POLL_S = 5
SUBMITTED = r"submitted with JobID (\w+)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ./smw submit."""
    parser.add_argument("job", choices=JOBS, help="pipeline is all of the others in one")
    parser.add_argument("--jobmanager", metavar="HOST:PORT", required=True, help="where the cluster's JobManager answers REST")
    savepoints.add_from_savepoint(parser)
    parser.add_argument("--installed", action="store_true", help="send neither code nor packages: the nodes have them, as in the project's image")
    parser.add_argument("--stay", action="store_true", help="stay until the job ends, or watch the one that runs already; for a supervisor, "
                        "which calls this again when it fails")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Submit a job, and return once it is at work, or has ended; it goes on by itself. Raises UserError."""
    flink = Flink(args.jobmanager)
    running = [job_id for job_id, name in flink.jobs().items() if name == args.job] if args.stay else []
    job_id = running[0] if running else start(flink, args, settings)
    print(f"{args.job} runs: {flink.url}/#/job/running/{job_id}", flush=True)
    while args.stay and stands_still(flink, job_id, settings):
        tell(f"{args.job} has stood still for {settings.standstill_s:.0f} s: it is started again.")
        job_id = start_again(flink, job_id, args, settings)
    return 0


def start_again(flink: Flink, job_id: str, args: argparse.Namespace, settings: Settings) -> str:
    """End a job that stands still, and submit it again from its newest checkpoint. Returns its new id. Raises UserError."""
    state = flink.newest_checkpoint(job_id)
    flink.cancel(job_id)
    deadline = time.monotonic() + PATIENCE_S
    while job_id in flink.jobs():
        if time.monotonic() > deadline:
            raise UserError(f"the job cannot be ended in the Flink at {flink.url}: end the TaskManagers that it runs on")
        time.sleep(STAY_POLL_S)
    return start(flink, args, settings, state)


def start(flink: Flink, args: argparse.Namespace, settings: Settings, state: str | None = None) -> str:
    """Submit a job, and wait until it is at work; state: the address of what it goes on from, if not its newest. Returns its id. Raises UserError."""
    if args.installed:
        machine.require_java()
    else:
        machine.set_up()
    framing(settings)
    require_room(flink, args.job, settings)
    state = state or savepoints.state_to_start_from(settings, args.job, args.from_savepoint)
    job_id = submit(flink, args.job, settings, state, args.installed)
    tell(f"Starting it as job {job_id} from {state or 'the beginning of its topic'} ...")
    wait_until_at_work(flink, job_id)
    return job_id


def require_room(flink: Flink, job: str, settings: Settings) -> None:
    """Raise UserError when a job cannot run in a Flink, or runs there already."""
    mine, its = metadata.version("apache-flink"), flink.version()
    if mine != its:
        raise UserError(f"the Flink at {flink.url} is of version {its}, and the jobs need {mine}")
    savepoints.require_shared(settings)
    if job in flink.jobs().values():
        raise UserError(f"{job} runs already in the Flink at {flink.url}: stop it by {SMW} savepoint --stop --job {job}")
    free, slots = flink.slots()
    if free < settings.parallelism:
        raise UserError(f"the Flink at {flink.url} has {free} free slots of {slots}, and SMW_PARALLELISM={settings.parallelism} takes as many: "
                        "start more TaskManagers, stop a job, or set it lower")


def submit(flink: Flink, job: str, settings: Settings, state: str | None, installed: bool) -> str:
    """Have Flink's client submit a job, with all that it needs unless the nodes have that installed. Returns its id. Raises UserError.

    Settings, secrets among them, are in the client's environment alone.
    """
    kept, logs = settings.home.resolve() / "submit", settings.home.resolve() / "logs"
    private_folder(kept)
    private_folder(logs)
    with TemporaryDirectory(dir=kept) as folder:
        sent = ["--pyExecutable", "python"] if installed else packed(kept, Path(folder))
        tell(f"Sending {job} to the Flink at {flink.url} ...")
        with open(logs / f"submit_{job}.log", "w+") as log:
            ended = subprocess.run([
                str(FLINK / "bin" / "flink"), "run", "--jobmanager", flink.address, "--detached", *savepoints.restore_options(state),
                *sent, "--pyClientExecutable", sys.executable, "--python", str(ROOT / "jobs" / f"{job}.py"),
            ], env=os.environ | flink_environ(settings, f"submit_{job}"), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            log.seek(0)
            said = log.read()
    if ended.returncode:
        raise UserError(f"{job} could not be submitted: {reason(said)}; all that Flink's client says is in {log.name}")
    submitted = re.search(SUBMITTED, said)
    assert submitted, f"Flink's client names no job; all that it says is in {log.name}"
    return submitted[1]


def wait_until_at_work(flink: Flink, job_id: str) -> None:
    """Wait until all tasks of a job run. Raises UserError, and cancels it, when one fails or it takes too long."""
    deadline = time.monotonic() + PATIENCE_S
    try:
        while not flink.is_at_work(job_id):
            if time.monotonic() > deadline:
                raise UserError(f"the job has not started in {PATIENCE_S} s; its logs are at {flink.url}")
            time.sleep(POLL_S)
    except UserError:
        if job_id in flink.jobs():
            flink.cancel(job_id)
        raise


def stands_still(flink: Flink, job_id: str, settings: Settings) -> bool:
    """Wait until a job stands still (true), or is stopped, such as with a savepoint (false).

    Raises UserError when it ends otherwise, or Flink knows of it no more.
    """
    standstill = Standstill(flink, settings.standstill_s, job_id)
    while job_id in flink.jobs():
        if standstill.is_found():
            return True
        time.sleep(STAY_POLL_S)
    if (state := flink.state(job_id)) != "FINISHED":
        raise UserError(f"the job is {state} in the Flink at {flink.url}")
    return False


def packed(kept: Path, folder: Path) -> list[str]:
    """The options of flink run by which code and packages go with a job."""
    packages, code = packed_packages(kept, folder), packed_code(folder)
    tell(f"Code and packages that go with it: {(packages.stat().st_size + code.stat().st_size) >> 20} MB")
    return ["--pyFiles", str(code), "--pyArchives", f"{packages}#packages", "--pyExecutable", "packages/bin/python"]


def packed_code(folder: Path) -> Path:
    """A zip file, in a folder, of the code with the loops that are compiled."""
    packed = folder / "code.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for file in (file for name in CODE_FOLDERS for file in (ROOT / name).rglob("*")):
            if file.is_file() and file.suffix != ".pyc":
                archive.write(file, file.relative_to(ROOT))
    return packed


def packed_packages(kept: Path, folder: Path) -> Path:
    """An archive of the packages: the one that is kept of these requirements, else a new one, made in a folder.

    A tar file keeps times, so that Python has nothing to compile anew; a little compression makes it fast to send.
    """
    python = os.path.realpath(sys.executable)
    packages = required(PACKAGES)
    versions = sorted(f"{package.name}=={package.version}" for package in packages)
    packed = kept / f"packages-{hashlib.sha256(repr((python, versions)).encode()).hexdigest()[:16]}.tar.gz"
    if packed.exists():
        return packed
    unfinished = folder / packed.name
    with tarfile.open(unfinished, "w:gz", compresslevel=1) as archive:
        for i, package in enumerate(packages, 1):
            for file in package.files or ():
                if not LEFT_OUT & set(file.parts) and (path := Path(str(file.locate()))).is_file():
                    archive.add(path, str(SITE_PACKAGES / file))
            tell(f"Packing the Python packages that the jobs need, once: {i} of {len(packages)}, {archive.offset >> 20} MB", i == len(packages))
        add_interpreter(archive, python)
    for old in kept.glob("packages-*"):
        old.unlink()
    return unfinished.rename(packed)


def add_interpreter(archive: tarfile.TarFile, python: str) -> None:
    """What makes a folder of packages a virtual environment of an interpreter."""
    link = tarfile.TarInfo("bin/python")
    link.type, link.linkname = tarfile.SYMTYPE, python
    archive.addfile(link)
    text = f"home = {os.path.dirname(python)}\n".encode()
    configuration = tarfile.TarInfo("pyvenv.cfg")
    configuration.size = len(text)
    archive.addfile(configuration, io.BytesIO(text))


def required(names: tuple[str, ...]) -> list[metadata.Distribution]:
    """The installed packages of these names, and those that they require."""
    found: dict[str, metadata.Distribution] = {}
    open_names = list(names)
    while open_names:
        if (name := canonicalize_name(open_names.pop())) not in found and name != FLINK_ITSELF:
            found[name] = metadata.distribution(name)
            open_names += requirements(found[name])
    return list(found.values())


def requirements(package: metadata.Distribution) -> Iterator[str]:
    """The names of the packages that one requires here, without its extras."""
    for requirement in map(Requirement, package.requires or []):
        if not requirement.marker or requirement.marker.evaluate({"extra": ""}):
            yield requirement.name


def tell(line: str, last: bool = True) -> None:
    """A line of progress; on a terminal it takes the place of the one before, unless that was a last one."""
    terminal = sys.stderr.isatty()
    if terminal or last:
        print(f"\r\033[K{line}" if terminal else line, end="\n" if last else "", file=sys.stderr, flush=True)
