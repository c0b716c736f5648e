"""./smw demo --live as a newcomer starts it: devices publish by MQTT, and a spike becomes an alert."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager

from generator.devices import REFRIGERATOR, SPIKE_WATTS, PluggedHouse
from smartmeter.settings import ROOT
from smartmeter.spike import make_spike
from stack.processes import end, marked
from store.client import reader
from tests.ports import on_free_ports
from tests.waiting import STILL_S, until

FRIDGE = PluggedHouse("UTC").meters[REFRIGERATOR].meter_id
ALERTS = f"SELECT count() FROM alert_list WHERE meter_id = {FRIDGE} AND alert_kind = 'level' AND peak_watts > {SPIKE_WATTS}"


@contextmanager
def demo(settings):
    """The live demo. It gives the lines that it has printed up to the last one."""
    command = [sys.executable, "-P", "-m", "commands", "demo", "--live"]
    environ = os.environ | settings.environ() | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True) as process:
        try:
            lines = []
            for line in process.stdout:
                lines.append(line)
                if line == "Ctrl-C stops it.\n":
                    break
            yield process, lines
        finally:
            process.kill()
            for pid_file in settings.stack.home.glob("**/run/*.pid"):
                end(pid_file, patience_s=0)


def test_a_spike_of_a_device_becomes_an_alert_and_ctrl_c_ends_it_all(tmp_path):
    settings = on_free_ports(tmp_path)
    with demo(settings) as (process, lines):
        broker = next(line.split()[1] for line in lines if line.startswith("MQTT:"))
        make_spike(broker)  # before the devices have sent their history, and listen
        client = until(lambda: reader(settings))
        until(lambda: client.command(ALERTS))
        pid_files = list((tmp_path / "demo" / "run").glob("*.pid"))
        assert {"mosquitto", "devices", "gateway", "dashboard", "pipeline"} <= {file.stem for file in pid_files}
        process.send_signal(signal.SIGINT)
        assert process.wait(STILL_S) == 130
        assert [marked(file) for file in pid_files] == [[]] * len(pid_files)
