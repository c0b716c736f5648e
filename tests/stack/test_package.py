"""What `pip install .` gives: a command smw that needs no checkout, and set-up by its own means."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sysconfig
import venv
from pathlib import Path

import pytest

import smartmeter
from smartmeter.settings import ROOT
from stack.processes import marked
from tests.ports import on_free_ports
from tests.stack.compiled import copy_compiled
from tests.waiting import STILL_S, until

PACKAGES = ("smartmeter", "jobs", "generator", "store", "notify", "dashboard", "stack", "commands")


@pytest.fixture(scope="module")
def site_packages(tmp_path_factory):
    """Where pip has installed this checkout, in a fresh environment; the other packages are links to those of this one.

    The compiled loops are this checkout's, but for one that set-up misses.
    """
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, symlinks=True)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    for package in Path(sysconfig.get_path("purelib")).iterdir():
        (packages / package.name).symlink_to(package)
    subprocess.run(
        [
            folder / "bin" / "python",
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--no-build-isolation",
            ROOT,
        ],
        check=True,
    )
    copy_compiled(packages, leave_out="energy.energies")
    return packages


@pytest.fixture(scope="module")
def smw(site_packages, tmp_path_factory):
    """Starts the installed smw, with free ports, as a user who has no checkout and only these settings."""
    data = tmp_path_factory.mktemp("data")
    settings = on_free_ports(data / "smart-meter-watchdog")
    environ = {name: value for name, value in (os.environ | settings.environ()).items() if name not in ("PYTHONPATH", "SMW_HOME")} | {
        "XDG_DATA_HOME": str(data)
    }
    program = site_packages.parents[2] / "bin" / "smw"
    started = []

    def start(*arguments):
        started.append(
            subprocess.Popen([program, *arguments], cwd=data, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        )
        return started[-1]

    start.home = settings.stack.home
    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_every_file_is_installed(site_packages):
    expected = {
        path.relative_to(ROOT): path
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.name != "secrets.toml"
    }
    expected |= {Path("smartmeter", path.relative_to(ROOT)): path for path in [ROOT / "pom.xml", *(ROOT / "avro").rglob("*.avsc")]}
    installed = {
        path.relative_to(site_packages)
        for package in PACKAGES
        for path in (site_packages / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert installed == set(expected)
    assert all((site_packages / name).read_bytes() == path.read_bytes() for name, path in expected.items())


@pytest.mark.parametrize(
    "arguments, code, out, sentence",
    [
        (["--version"], 0, f"smw {smartmeter.__version__}\n", ""),
        (
            ["topics"],
            1,
            "",
            r"smw: no Kafka broker answers at 127\.0\.0\.1:\d+: start one with smw stack, or set SMW_KAFKA to its address\n",
        ),
        (
            ["sql", "SELECT 1"],
            1,
            "",
            r"smw: ClickHouse does not answer at \S+; start the local one with smw stack, or set SMW_CLICKHOUSE_URL\n",
        ),
        (["test"], 2, "", r"(?s)usage: .*invalid choice: 'test'.*"),
    ],
)
def test_output_and_exit_code(smw, arguments, code, out, sentence):
    process = smw(*arguments)
    printed, errors = process.communicate(timeout=STILL_S)
    assert (process.returncode, printed) == (code, out)
    assert re.fullmatch(sentence, errors)


def test_a_stack_sets_itself_up_and_counts_every_reading(smw):
    process = smw("stack")
    assert any(line == "Ctrl-C stops it.\n" for line in process.stdout)
    pid_files = list((smw.home / "run").glob("*.pid"))
    assert {pid_file.stem for pid_file in pid_files} == {"kafka", "endpoint", "sink", "metrics", "pipeline", "flink_page"}
    printed, _ = smw("generate", "--houses", "1", "--days", "1").communicate()
    produced = re.findall(r"^produced ([\d,]+) readings", printed, re.MULTILINE)[-1]
    query = "SELECT sum(readings) FROM daily_energy FINAL"
    until(lambda: smw("sql", "--format", "csv", query).communicate()[0].endswith(f"\n{produced.replace(',', '')}\n"))
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=STILL_S)
    assert process.returncode == 130
    assert errors.startswith(f"Fetching the jars of pom.xml into {smw.home}/jars ...\n") and "Compiling the loops of jobs/ ...\n" in errors
    assert [marked(pid_file) for pid_file in pid_files] == [[]] * len(pid_files)
