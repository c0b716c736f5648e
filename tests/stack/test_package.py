"""What `pip install .` gives: a command smw that needs no checkout. Its demo and its stack, as a user runs, interrupts and kills them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sysconfig
import venv
from itertools import takewhile
from pathlib import Path

import pytest

import smartmeter
from smartmeter.settings import ROOT
from stack import services
from stack.processes import end, marked
from tests.ports import on_free_ports
from tests.stack.compiled import copy_compiled
from tests.waiting import STILL_S, until

PACKAGES = ("smartmeter", "jobs", "generator", "importer", "store", "notify", "gateway", "dashboard", "stack", "commands")
OF_STACK = {"kafka", "endpoint", "sink", "metrics", "pipeline", "flink_page"}
"""The processes of ./smw stack."""


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


class Installed:
    """The installed smw, as a user starts it who has no checkout and only these settings: free ports, and a folder for data."""

    def __init__(self, program: Path, data: Path):
        self.home = data / "smart-meter-watchdog"
        self.program, self._data = program, data
        environ = os.environ | on_free_ports(self.home).environ() | {"XDG_DATA_HOME": str(data)}
        self.environ = {name: value for name, value in environ.items() if name not in ("PYTHONPATH", "SMW_HOME")}
        self.started: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str, **environ: str) -> subprocess.Popen[str]:
        """Start it; environ: more settings."""
        command = [self.program, *arguments]
        self.started.append(
            subprocess.Popen(
                command, cwd=self._data, env=self.environ | environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
        )
        return self.started[-1]

    def run(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """What it prints until it ends."""
        command = [self.program, *arguments]
        return subprocess.run(command, cwd=self._data, env=self.environ | environ, capture_output=True, text=True, timeout=STILL_S)


@pytest.fixture(scope="module")
def installed(site_packages, tmp_path_factory):
    installed = Installed(site_packages.parents[2] / "bin" / "smw", tmp_path_factory.mktemp("data"))
    yield installed
    for process in installed.started:
        process.kill()
        process.wait()
        process.stdout.close()
    for pid_file in installed.home.glob("**/run/*.pid"):
        end(pid_file, patience_s=0)


def running(home: Path) -> dict[str, int]:
    """Processes behind each pid file."""
    return {pid_file.stem: len(marked(pid_file)) for pid_file in (home / "run").glob("*.pid")}


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
def test_output_and_exit_code(installed, arguments, code, out, sentence):
    done = installed.run(*arguments)
    assert (done.returncode, done.stdout) == (code, out)
    assert re.fullmatch(sentence, done.stderr)


def test_a_demo_after_a_killed_one(installed):
    home = installed.home / "demo"
    first = installed.start("demo", "--houses", "1", "--days", "1")
    until(lambda: running(home).get("pipeline"))
    first.kill()
    set_up = first.communicate()[0]
    assert (
        set_up.startswith(f"Fetching the jars of pom.xml into {installed.home}/jars ...\n")
        and "Compiling the loops of jobs/ ...\n" in set_up
    )
    for name in ("kafka", "clickhouse", "savepoints", "archive"):
        (home / name).mkdir(exist_ok=True)
        (home / name / "leftover").touch()
    second = installed.start("demo", "--houses", "2", "--days", "2", "--seed", "5", "--start", "2013-04-12")
    lines = []
    for line in second.stdout:
        lines.append(line)
        if line == "Ctrl-C stops it.\n":
            break
    output = "".join(lines)
    used = judge_report(output, [line.split() for line in lines])
    assert running(home).keys() == OF_STACK | {"generator", "dashboard"}
    assert not list(home.glob("*/leftover"))
    assert services.answers(re.search(r"^Dashboard: +(\S+)$", output, re.MULTILINE)[1])
    judge_commands(installed, home, used, addresses_in(output))
    pid_files = list((home / "run").glob("*.pid"))
    second.send_signal(signal.SIGINT)
    assert second.wait(timeout=STILL_S) == 130
    assert [marked(pid_file) for pid_file in pid_files] == [[]] * len(pid_files)
    assert running(home) == {}


def judge_report(output: str, rows: list[list[str]]) -> int:
    """Fail when the demo's report is not one of two houses and days, all of whose readings were used. Returns their number."""
    sums = re.search(
        r"^([\d,]+) readings in = ([\d,]+) used \+ (\d+) duplicate \+ (\d+) refused \+ (\d+) late; (\d+) messages in dead_letter$",
        output,
        re.MULTILINE,
    )
    assert sums, output
    readings_in, used, duplicate, refused, late, dead = sums.groups()
    assert readings_in == used and (duplicate, refused, late, dead) == ("0", "0", "0", "0")
    assert number(used) > 2 * 2 * 86400  # two houses, two days, a mains reading a second
    assert re.findall(r"^ +(\d+)  \w+.* 2  ", output, re.MULTILINE) == ["1", "2"]
    table = rows[rows.index(["kind", "alerts", "true", "precision", "faults", "judged", "found", "recall"]) + 2 :]
    of_kind = {kind: int(alerts) for kind, alerts, *_ in takewhile(lambda row: len(row) == 8, table)}
    assert of_kind.pop("all") == sum(of_kind.values())
    return number(used)


def number(text: str) -> int:
    """12,345 as the number that it stands for."""
    return int(text.replace(",", ""))


def addresses_in(output: str) -> dict[str, str]:
    """The settings of a running demo that its output names."""
    patterns = {"CLICKHOUSE_URL": r"SMW_CLICKHOUSE_URL=(\S+)", "KAFKA": r"Kafka: +(\S+)", "FLINK_UI_PORT": r"Flink: .*:(\d+)"}
    return {f"SMW_{name}": re.search(pattern, output)[1] for name, pattern in patterns.items()}


def judge_commands(installed: Installed, home: Path, used: int, addresses: dict[str, str]) -> None:
    """Fail when a command beside a running demo does something else than it should."""

    def printed(*arguments: str) -> str:
        return installed.run(*arguments, **addresses).stdout

    days = printed("sql", "--format", "csv", "SELECT DISTINCT date FROM daily_energy ORDER BY 1")
    assert days.split() == ['"date"', '"2013-04-12"', '"2013-04-13"']
    assert json.loads(printed("status", "--json"))["disk"]["kafka_bytes"] > 1e6
    assert Path(printed("savepoint").strip()).parent == home / "savepoints" / "pipeline"
    assert printed("archive", "--from", "2013-04-12", "--to", "2013-04-12").startswith(f"{home}/archive: 1 files of ")
    generated = printed("generate", "--houses", "1", "--days", "1")
    produced = re.findall(r"^produced ([\d,]+) readings", generated, re.MULTILINE)[-1]
    query = "SELECT sum(readings) FROM daily_energy FINAL"
    until(lambda: printed("sql", "--format", "csv", query).endswith(f"\n{used + number(produced)}\n"))


def test_a_terminated_stack_leaves_nothing(installed):
    process = installed.start("stack")
    until(lambda: running(installed.home).keys() == OF_STACK)
    pid_files = list((installed.home / "run").glob("*.pid"))
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=STILL_S) == 130
    assert [marked(pid_file) for pid_file in pid_files] == [[]] * len(pid_files)
