"""The MQTT broker of ./smw demo --live: Mosquitto, at the loopback address."""

from __future__ import annotations

import os
import shutil

from smartmeter.errors import UserError
from smartmeter.settings import Settings
from stack.ports import host_and_port, is_listening
from stack.processes import Processes


def program() -> str:
    """The path of Mosquitto, which Debian installs outside the PATH of most users. Raises UserError if it is missing."""
    if not (found := shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")):
        raise UserError("Mosquitto is missing; install it, for example with: sudo apt install mosquitto")
    return found


def start_mosquitto(processes: Processes, settings: Settings) -> None:
    """Start a broker at SMW_LIVE_DEMO. It takes any program of this machine, as the local Kafka does, and keeps nothing on disk."""
    address = settings.dashboard.live_demo
    host, port = host_and_port(address, "SMW_LIVE_DEMO")
    config = settings.stack.home / "mosquitto.conf"
    config.write_text(f"listener {port} {host}\nallow_anonymous true\nuser root\n")  # the user matters only if root starts it
    processes.start("mosquitto", [program(), "-c", str(config)], {})
    processes.wait_until(lambda: is_listening(address), f"no MQTT broker answers at {address}")
