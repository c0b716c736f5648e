"""Clients in Go and Node themselves, from their registries: ./smw test clients."""

from __future__ import annotations

import os
import shutil
import subprocess
from urllib.parse import urlsplit

import pytest

from smartmeter.settings import ROOT
from tests.clients.conftest import SUM

CLIENTS = ROOT / "tests" / "clients"


def needs(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            pytest.fail(
                f"{program} is missing, in which a client of ClickHouse runs; install it, such as by: sudo apt install golang nodejs npm",
                pytrace=False,
            )


def output(command, **others) -> str:
    run = subprocess.run(command, capture_output=True, text=True, timeout=400, **others)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@pytest.fixture(scope="module")
def go_client(tmp_path_factory):
    needs("go")
    program = tmp_path_factory.mktemp("go") / "client"
    output(["go", "build", "-mod=readonly", "-o", str(program), "."], cwd=CLIENTS / "go")
    return program


@pytest.mark.parametrize("compression", ["none", "gzip", "lz4"])
def test_clickhouse_go(late, columns, go_client, compression):
    printed = output(
        [go_client, urlsplit(late.clickhouse.url).netloc, late.clickhouse.database, compression, late.clickhouse.reader_password]
    )
    assert printed.startswith(f"1 9|{SUM}|1|{columns}|") and "60" in printed.rpartition("|")[2]


def test_clickhouse_client_for_node(late, columns, tmp_path):
    needs("node", "npm")
    for name in ("package.json", "package-lock.json", "main.js"):
        shutil.copy(CLIENTS / "node" / name, tmp_path)
    output(["npm", "ci", "--no-audit", "--no-fund"], cwd=tmp_path, env=os.environ)
    assert (
        output(["node", "main.js", late.clickhouse.url, late.clickhouse.database, late.clickhouse.reader_password], cwd=tmp_path)
        == f"1 9|{SUM}|1|{columns}|60\n"
    )
