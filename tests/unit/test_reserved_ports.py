"""Ports that are chosen before anything listens there: no two processes choose the same."""

import os
import subprocess
import sys

import pytest

from smartmeter import reserved_ports, stack
from smartmeter.errors import UserError
from smartmeter.reserved_ports import reserve

RESERVE = "from smartmeter.reserved_ports import reserve; print(reserve({port}), flush=True); input()"


def elsewhere(port: int) -> tuple[subprocess.Popen, str]:
    """(another process that tries to reserve a port and lives on, what it prints)."""
    process = subprocess.Popen([sys.executable, "-c", RESERVE.format(port=port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    return process, process.stdout.readline()


def test_a_port_is_reserved_once_until_its_process_ends():
    port = os.getpid() % 9000 + 1  # ports to choose from begin at 10000
    first, printed = elsewhere(port)
    assert printed == "True\n" and not reserve(port)
    second, printed = elsewhere(port)
    second.communicate("\n")
    assert printed == "False\n"
    first.kill()
    first.communicate()
    assert reserve(port) and not reserve(port)


def test_a_file_that_cannot_be_used_is_named(monkeypatch, tmp_path):
    link = tmp_path / f"smart-meter-watchdog-{os.getuid()}.ports"
    link.symlink_to(tmp_path / "elsewhere")
    monkeypatch.setattr(reserved_ports.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(reserved_ports, "_file", reserved_ports._file.__wrapped__)
    with pytest.raises(UserError, match=rf"^{link} cannot be opened \(.+\): remove it, or set TMPDIR to a folder of your own$"):
        stack.free_port()
    assert not (tmp_path / "elsewhere").exists()


def test_a_free_port_is_given_once_although_nothing_listens_there_yet(monkeypatch):
    chosen = stack.free_port()
    monkeypatch.setattr(stack.random, "sample", lambda *range_and_count, sample=stack.random.sample: [chosen, *sample(*range_and_count)])
    with stack.listener_near(0) as held:
        assert held.getsockname()[1] != chosen
    with stack.listener_near(chosen) as held:
        assert held.getsockname()[1] == chosen
