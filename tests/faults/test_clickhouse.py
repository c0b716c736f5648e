"""ClickHouse slow, its connections broken, its disk full: the sink waits, and afterwards the tables are what the oracle finds."""

from __future__ import annotations

import subprocess
import sys
from itertools import cycle
from pathlib import Path
from urllib.parse import urlsplit

from stack import ports, services
from stack.processes import Processes
from store import client as clickhouse_client
from store.client import reader
from store.sink import Sink
from tests.faults.proxy import FAULTS, Proxy
from tests.pipeline.conftest import all_stored, judge_tables, values
from tests.pipeline.flow import dead_letters
from tests.sinks import running
from tests.waiting import until

INSERTED_ONCE = ("thresholds", "power_profile", "late", "dead_letter")
"""Tables whose rows, once stored, do not change in a log that has ended."""


def test_a_clickhouse_that_is_slow_and_breaks_connections(unread, clickhouse, log, expected, monkeypatch, caplog):
    caplog.set_level("INFO", "sink")
    monkeypatch.setattr(clickhouse_client, "ANSWER_S", 2)
    address = urlsplit(clickhouse.clickhouse.url)
    turns = cycle([fault for wrong in FAULTS for fault in (wrong, None)])
    with Proxy((address.hostname, address.port), turns) as proxy:
        settings = unread.but(clickhouse_url=f"http://127.0.0.1:{proxy.port}", clickhouse_database="slow", sink_batch_rows=20_000)
        with running(Sink(settings)):
            until(lambda: all_stored(settings))
    assert min(proxy.done[fault] for fault in FAULTS) >= 1
    client = reader(settings.but(clickhouse_url=clickhouse.clickhouse.url))
    judge_tables(client, expected, ended=True)
    assert dead_letters(client) == sorted(log.dead)
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings and set(warnings) == {
        f"waiting: ClickHouse does not answer at {settings.clickhouse.url}; start the local one with ./smw stack, or set SMW_CLICKHOUSE_URL"
    }
    assert f"ClickHouse at {settings.clickhouse.url} is back" in caplog.text


class SmallDisk:
    """A file system in memory at a folder, which only one process and its children see."""

    def __init__(self, folder: Path, size: str):
        folder.mkdir(parents=True)
        self.folder, self.size = folder, size

    def command(self, *command: str) -> list[str]:
        """The command, run with the disk in place."""
        mount = f'mount -t tmpfs -o size={self.size} none "$0" && exec "$@"'
        return ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, str(self.folder), *command]

    def grow(self, pid: int, size: str) -> None:
        """Give the disk of a process another size."""
        subprocess.run(
            [
                "nsenter",
                "--user",
                "--preserve-credentials",
                "--mount",
                f"--target={pid}",
                "mount",
                "-o",
                f"remount,size={size}",
                str(self.folder),
            ],
            check=True,
        )


def test_a_disk_that_is_full(unread, clickhouse, log, expected, tmp_path):
    settings = ports.with_free_ports(unread.but(clickhouse_url="http://127.0.0.1:0")).but(
        home=tmp_path, kafka=unread.kafka.address, sink_batch_rows=20_000
    )
    disk = SmallDisk(tmp_path / "clickhouse", "5m")
    with Processes(tmp_path) as processes:
        processes.start("endpoint", disk.command(sys.executable, "-P", "-m", "store.endpoint"), settings.environ())
        processes.wait_until(lambda: services.endpoint_answers(settings), "no endpoint answers")
        services.start_sink(processes, settings)
        sink_log = processes.log("sink")
        until(lambda: "waiting: " in sink_log.read_text())
        client = reader(settings)
        served = {table: set(values(client, table)) for table in INSERTED_ONCE}
        assert not all_stored(settings)
        disk.grow(processes.children["endpoint"].pid, "200m")
        until(lambda: all_stored(settings))
        processes.check()
        judge_tables(client, expected, ended=True)
        assert dead_letters(client) == sorted(log.dead)
        for table, rows in served.items():
            assert rows <= set(values(client, table)), table
    [waiting] = [line for line in sink_log.read_text().splitlines() if "waiting: " in line]
    assert "waiting: ClickHouse reports: Cannot reserve" in waiting and "not enough space" in waiting
    assert f"ClickHouse at {settings.clickhouse.url} is back" in sink_log.read_text()
