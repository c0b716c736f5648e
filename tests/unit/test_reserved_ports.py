"""Ports that are chosen before anything listens there: no two processes choose the same."""

import os
import subprocess
import sys

from smartmeter import stack
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


def test_a_free_port_is_given_once_although_nothing_listens_there_yet(monkeypatch):
    with stack.listener_near(0) as held:
        chosen = held.getsockname()[1]
    monkeypatch.setattr(stack.random, "sample", lambda *range_and_count, sample=stack.random.sample: [chosen, *sample(*range_and_count)])
    with stack.listener_near(0) as held:
        assert held.getsockname()[1] != chosen
    with stack.listener_near(chosen) as held:
        assert held.getsockname()[1] == chosen
