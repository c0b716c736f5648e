"""./smw dashboard as a user starts, interrupts and starts it twice."""

import os
import signal
import subprocess

import pytest

from smartmeter.settings import ROOT
from stack import ports, services
from stack.processes import marked
from tests.ports import on_free_ports
from tests.waiting import STILL_S


@pytest.fixture
def settings(tmp_path):
    return on_free_ports(tmp_path)


def start(settings) -> subprocess.Popen:
    return subprocess.Popen(
        [ROOT / "smw", "dashboard"], env=os.environ | settings.environ(), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def test_it_prints_its_address_and_leaves_nothing_behind(settings, tmp_path):
    dashboard = start(settings)
    url = f"http://127.0.0.1:{settings.dashboard.port}"
    assert dashboard.stdout.readline() == f"Dashboard: {url}\n"
    assert services.answers(url)
    [pid_file] = tmp_path.glob("dashboard/run/*.pid")
    assert marked(pid_file)
    dashboard.send_signal(signal.SIGINT)
    assert dashboard.wait(timeout=STILL_S) == 130
    assert not marked(pid_file) and not services.answers(url)


def test_a_taken_port_is_reported_in_one_sentence(settings):
    with ports.listener_near(settings.dashboard.port):
        dashboard = start(settings)
        output, _ = dashboard.communicate(timeout=STILL_S)
    assert dashboard.returncode == 1
    assert output == (
        f"smw: port {settings.dashboard.port} at 127.0.0.1 is not free (Address already in use): "
        "end the program that uses it, or set SMW_DASHBOARD_PORT to another\n"
    )
