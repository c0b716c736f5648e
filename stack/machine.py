"""What Kafka and Flink need on this machine: Java, the jars of pom.xml, and the compiled loops of jobs/."""

from __future__ import annotations

import filecmp
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from smartmeter.errors import UserError
from smartmeter.locks import exclusive
from smartmeter.settings import JARS, RESOURCES, ROOT

JAVA_VERSIONS = ("17", "21")
END_WITHOUT_MEMORY = "-XX:+ExitOnOutOfMemoryError"
"""Without it, a JVM that loses a thread to an OutOfMemoryError hangs, but seems to run."""


def set_up() -> None:
    """Check for Java, and fetch the jars and compile the loops if that has not been done. Raises UserError."""
    if " " in str(ROOT):
        raise UserError(f"Flink cannot run in a folder with a space in its path: move or rename {ROOT}")
    require_java()
    steps = {fetch_jars: jars_are_there, compile_loops: loops_are_compiled}
    if not all(is_done() for is_done in steps.values()):
        with one_at_a_time(), ThreadPoolExecutor() as threads:
            begun = [threads.submit(step) for step, is_done in steps.items() if not is_done()]
            for step in begun:
                step.result()


def java() -> str:
    """The Java program: that of JAVA_HOME, else the first one on the PATH."""
    return os.path.join(home, "bin", "java") if (home := os.environ.get("JAVA_HOME")) else "java"


def require_java() -> None:
    """Raise UserError when Java is missing, or Flink does not run on its version."""
    try:
        printed = subprocess.run([java(), "-version"], capture_output=True, text=True).stderr
    except OSError:
        printed = ""
    found = re.search(r' version "(\d+)', printed)
    if not found or found[1] not in JAVA_VERSIONS:
        raise UserError(
            f"Java {JAVA_VERSIONS[0]} is needed, and {java()} is {f'version {found[1]}' if found else 'missing'}; install it, for "
            "example with: sudo apt install openjdk-17-jre-headless, and set JAVA_HOME to it if there are several"
        )


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Hold the lock for set-up, waiting for other processes. It is on the parent folder of the jars. Raises UserError."""
    try:
        JARS.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{error.filename} cannot be written ({error.strerror}): set XDG_DATA_HOME to a folder that can") from None
    with exclusive(JARS.parent, wait=True):
        yield


def jars_are_there() -> bool:
    """Whether the jars are those of pom.xml."""
    fetched = JARS / "pom.xml"
    return fetched.exists() and filecmp.cmp(fetched, RESOURCES / "pom.xml", shallow=False)


def fetch_jars() -> None:
    """Fetch the jars of pom.xml with Maven. Raises UserError when that fails."""
    if not shutil.which("mvn"):
        raise UserError("Maven is missing; install it, for example with: sudo apt install maven")
    print(f"Fetching the jars of pom.xml into {JARS} ...", file=sys.stderr)
    shutil.rmtree(JARS, ignore_errors=True)
    pom = RESOURCES / "pom.xml"
    options = ["--quiet", "--batch-mode", "-Dstyle.color=never", f"-Djars={JARS}"]
    done = subprocess.run(["mvn", *options, "--file", str(pom), "package"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        print(done.stdout, file=sys.stderr)
        raise UserError("the jars could not be fetched (see above); the next call tries again")
    shutil.copy(pom, JARS)


def loops_are_compiled() -> bool:
    """Whether Numba's cache holds compiled loops. After a change of code, the first job compiles them again."""
    from jobs.core.energy import energies  # Numba takes a third of a second to load

    cache_path = energies.stats.cache_path  # type: ignore[attr-defined]  # of Numba's dispatcher
    return any(Path(cache_path or "").glob("energy.energies-*.nbi"))


def compile_loops() -> None:
    """Compile the loops of jobs/, so that no job has to wait for it. Raises UserError when it fails."""
    print("Compiling the loops of jobs/ ...", file=sys.stderr)
    if subprocess.run([sys.executable, "-P", "-m", "jobs.warm_up"], stdout=sys.stderr).returncode:
        raise UserError("the loops of jobs/ could not be compiled (see above)")
