"""./smw demo --live: simulated devices publish by MQTT, and what they measure shows in the dashboard as it happens."""

from __future__ import annotations

import sys

from gateway.discovery import timezone_of_machine
from generator.devices import PluggedHouse
from smartmeter.settings import SMW, Settings
from stack import lifecycle, mosquitto, services
from stack.ports import LOOPBACK, free_port
from stack.processes import Processes

WHERE_TO_LOOK = """\
Dashboard:   {dashboard}
House:       {dashboard}/home?house={house}&span=hour (within a minute)
Alerts:      {dashboard}/alerts (then its button "Make a spike" makes one)
MQTT:        {broker} ({devices} devices publish every 3 s: mosquitto_sub -p {port} -v -t '#')
Meters:      {file} ({smw} gateway --config FILE --check shows them)"""


def run(processes: Processes, settings: Settings) -> None:
    """Run the stack with simulated devices until Ctrl-C. Raises UserError when a part of it fails."""
    house, port = PluggedHouse(timezone_of_machine()), free_port()
    file, broker = settings.stack.home / "meters.yaml", f"{LOOPBACK}:{port}"
    file.write_text(house.meters_yaml(f"mqtt://{broker}"))
    settings = settings.but(live_demo=broker, gateway_config=str(file), gateway_spool="", notify_routes="")
    print("Starting Mosquitto, Kafka, ClickHouse, the sink, the gateway, Flink and the dashboard ...", file=sys.stderr)
    mosquitto.start_mosquitto(processes, settings)
    lifecycle.start(processes, settings)
    processes.start("devices", [sys.executable, "-P", "-m", "generator.simulator", house.timezone], settings.environ())
    services.start_dashboard(processes, settings)
    url = services.dashboard_url(settings)
    where = WHERE_TO_LOOK.format(
        dashboard=url, house=house.house_id, broker=broker, port=port, devices=len(house.devices), file=file, smw=SMW
    )
    print(f"{where}{lifecycle.addresses(settings)}\nCtrl-C stops it.")
    lifecycle.stay(processes, settings)
