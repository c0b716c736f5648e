"""./smw demo and ./smw stack as a user runs, interrupts and kills them."""

import json
import os
import re
import signal
import subprocess
from itertools import takewhile
from pathlib import Path

import pytest

from smartmeter.settings import ROOT
from stack import services
from stack.processes import end, marked
from tests.ports import on_free_ports
from tests.waiting import STILL_S, until


@pytest.fixture
def smw(tmp_path):
    """Starts ./smw with free ports and tmp_path as its home."""
    started = []

    def start(*arguments):
        started.append(
            subprocess.Popen(
                [ROOT / "smw", *arguments],
                cwd=tmp_path,
                env=os.environ | on_free_ports(tmp_path).environ(),
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()
    for pid_file in tmp_path.glob("**/run/*.pid"):
        end(pid_file, patience_s=0)


def running(home) -> dict[str, int]:
    """Processes behind each pid file."""
    return {pid_file.stem: len(marked(pid_file)) for pid_file in (home / "run").glob("*.pid")}


def test_a_second_demo_starts_after_a_killed_one(smw, tmp_path):
    home = tmp_path / "demo"
    first = smw("demo", "--houses", "1", "--days", "1")
    until(lambda: running(home).get("pipeline"))
    first.kill()
    first.wait()
    for name in ("kafka", "clickhouse", "savepoints", "archive"):
        (home / name).mkdir(exist_ok=True)
        (home / name / "leftover").touch()
    second = smw("demo", "--houses", "2", "--days", "2", "--seed", "5", "--start", "2013-04-12")
    lines = []
    for line in second.stdout:
        lines.append(line)
        if line == "Ctrl-C stops it.\n":
            break
    output = "".join(lines)
    readings_in, used, duplicate, refused, late, dead = re.search(
        r"^([\d,]+) readings in = ([\d,]+) used \+ (\d+) duplicate \+ (\d+) refused \+ (\d+) late; (\d+) messages in dead_letter$",
        output,
        re.MULTILINE,
    ).groups()
    assert readings_in == used and (duplicate, refused, late, dead) == ("0", "0", "0", "0")
    assert int(used.replace(",", "")) > 2 * 2 * 86400  # two houses, two days, a mains reading a second
    assert [line.split()[0] for line in lines if re.match(r" +\d+  \w+.* 2  ", line)] == ["1", "2"]
    rows = [line.split() for line in lines]
    table = rows[rows.index(["kind", "alerts", "true", "precision", "faults", "judged", "found", "recall"]) + 2 :]
    of_kind = {kind: int(alerts) for kind, alerts, *_ in takewhile(lambda row: len(row) == 8, table)}
    assert of_kind.pop("all") == sum(of_kind.values())
    assert running(home).keys() == {"kafka", "endpoint", "sink", "metrics", "pipeline", "flink_page", "generator", "dashboard"}
    assert not list(home.glob("*/leftover"))
    assert services.answers(re.search(r"^Dashboard: +(\S+)$", output, re.MULTILINE)[1])
    addresses = {
        f"SMW_{name}": re.search(pattern, output)[1]
        for name, pattern in (
            ("CLICKHOUSE_URL", r"SMW_CLICKHOUSE_URL=(\S+)"),
            ("KAFKA", r"Kafka: +(\S+)"),
            ("FLINK_UI_PORT", r"Flink: .*:(\d+)"),
        )
    }

    def printed(*arguments):
        return subprocess.run(
            [ROOT / "smw", *arguments], env=os.environ | {"SMW_HOME": str(tmp_path)} | addresses, capture_output=True, text=True
        ).stdout

    days = printed("sql", "--format", "csv", "SELECT DISTINCT date FROM daily_energy ORDER BY 1")
    assert days.split() == ['"date"', '"2013-04-12"', '"2013-04-13"']
    assert json.loads(printed("status", "--json"))["disk"]["kafka_bytes"] > 1e6
    assert Path(printed("savepoint").strip()).parent == home / "savepoints" / "pipeline"
    assert printed("archive", "--from", "2013-04-12", "--to", "2013-04-12").startswith(f"{home}/archive: 1 files of ")
    pid_files = list((home / "run").glob("*.pid"))
    second.send_signal(signal.SIGINT)
    assert second.wait(timeout=STILL_S) == 130
    assert [marked(pid_file) for pid_file in pid_files] == [[]] * len(pid_files)
    assert running(home) == {}


def test_a_terminated_stack_leaves_nothing(smw, tmp_path):
    process = smw("stack")
    until(lambda: running(tmp_path).get("endpoint"))
    pid_files = list((tmp_path / "run").glob("*.pid"))
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=STILL_S) == 130
    assert [marked(pid_file) for pid_file in pid_files] == [[]] * len(pid_files)
