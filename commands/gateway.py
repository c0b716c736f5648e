"""./smw gateway: receives the readings of meters by MQTT and HTTP, until Ctrl-C; shows the meters of its file, or writes a first one."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path

import yaml

from gateway import service
from gateway.config import ConfigError, parse, parse_broker, text_of
from gateway.discovery import Discovery, houses_of, numbers_of, timezone_of_machine
from gateway.link import Link
from smartmeter import logs
from smartmeter.errors import UserError
from smartmeter.messages.codec import EXPORT, IMPORT, POWER
from smartmeter.mqtt_broker import Broker
from smartmeter.progress import ProgressLine
from smartmeter.reports import Progress
from smartmeter.settings import Settings
from smartmeter.terminal import printable

QUANTITIES = {POWER: "power", IMPORT: "import", EXPORT: "export"}
DEFAULT_FILE = "meters.yaml"
EDIT = """\
# Edit what follows: time zone and zip of the house, label and kind of each meter (mains, appliance, solar, battery, ev).
# docs/connect.md has the other keys, such as parent, sign and holds_s.
"""
POLL_S, AT_A_TIME, STOP_S = 0.2, 1000, 5.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ./smw gateway."""
    parser.add_argument("--config", metavar="FILE.yaml", help="file of the meters (default: SMW_GATEWAY_CONFIG; docs/connect.md)")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--check", action="store_true", help="show the mistakes in the file, or else its meters, and end")
    instead.add_argument(
        "--discover", type=_seconds, metavar="SECONDS", help="listen to all topics for so long, and write a first file of the devices"
    )
    broker = parser.add_argument_group("broker of --discover", "unless the file has a part `broker` already")
    broker.add_argument("--broker", metavar="URL", help="mqtt://HOST:1883, or mqtts://HOST:8883")
    broker.add_argument("--user", help="name of its user")
    broker.add_argument("--password-file", metavar="FILE", help="file with the password")
    broker.add_argument("--ca", metavar="FILE.pem", help="authorities to trust (default: those of the system)")


def _seconds(text: str) -> float:
    if not 1 <= (seconds := float(text)) <= 86_400:
        raise argparse.ArgumentTypeError("give a number of seconds, from 1 to 86400")
    return seconds


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Receive readings until Ctrl-C; with --check, show the meters; with --discover, write a first file of them. Raises UserError."""
    settings = settings.but(gateway_config=args.config) if args.config else settings
    if args.discover:
        discover(Path(settings.gateway.config or DEFAULT_FILE), args)
        return 0
    if not args.check:
        logs.configure("gateway")
        service.serve(settings, service.on_signals)
        return 0
    config = service.config_of(settings)
    for source in config.sources:
        of = f"house {source.house_id}, meter {source.meter_id}, {source.label}, {QUANTITIES[source.quantity]}"
        print(printable(f"{of}: {source.topic} {source.path}".rstrip()))
    for source in (source for house in config.houses for source in house.by_http.values()):
        print(printable(f"house {source.house_id}, meter {source.meter_id}, {source.label}: by HTTP"))
    ways = [f"MQTT from {config.broker.host}:{config.broker.port}"] if config.broker else []
    ways += [f"HTTP at {config.http.address}:{settings.gateway.http_port}"] if config.http else []
    print(f"{len(config.meters)} meters, by {' and '.join(ways)}")
    return 0


def discover(file: Path, args: argparse.Namespace) -> None:
    """Listen to a broker, and write a file of the devices: a new one, or houses into one with a broker alone. Raises UserError."""
    text = broker_text(file, args)
    broker = parse_broker(text, file)
    discovery = listen(broker, args.discover)
    found = f"{len(discovery.devices)} devices in {discovery.topics} topics of {broker.host}:{broker.port}"
    for device in discovery.devices.values():
        print(printable(f"{device.preset} {device.name}: {device.state}"))
    if discovery.beyond:
        print(f"{discovery.beyond} messages of more topics were left out")
    if not discovery.devices:
        for line in numbers_of(discovery):
            print(line)
        raise UserError(f"found {found}, so there is nothing to write: listen for longer, or write {file} by hand (docs/connect.md)")
    houses = f"\n{EDIT}{houses_of(discovery, timezone_of_machine())}"
    parse(text + houses, file)
    try:
        with file.open("x" if args.broker else "a") as opened:
            opened.write(text + houses if args.broker else houses)
    except OSError as error:
        raise UserError(f"{file} cannot be written ({error.strerror}): give --config another file") from None
    print(f"found {found}, and wrote {file}: edit its time zone, zip, labels and kinds, then run ./smw gateway --config {file} --check")


def broker_text(file: Path, args: argparse.Namespace) -> str:
    """The part `broker` of a file: of one that is there, or of a new one, by the options. Raises UserError."""
    if not args.broker:
        if not file.exists():
            raise UserError(f"there is no {file}: give the address of your broker, such as --broker mqtt://HOST:1883")
        return text_of(file)
    if file.exists():
        raise UserError(f"{file} exists: give --config a new file, or leave out --broker, so that its own is taken")
    if not os.access(file.parent, os.W_OK):
        raise UserError(f"{file} cannot be written: give --config a file in a folder of yours")
    files = {key: os.path.relpath(name, file.parent) for key, name in (("password_file", args.password_file), ("ca", args.ca)) if name}
    text: str = yaml.safe_dump({"broker": {"url": args.broker} | ({"user": args.user} if args.user else {}) | files}, sort_keys=False)
    try:
        parse_broker(text, file)
    except ConfigError as error:
        raise UserError("\n".join(mistake.partition(": ")[2] for mistake in str(error).splitlines())) from None
    return text


def listen(broker: Broker, seconds: float) -> Discovery:
    """What a broker delivers in some seconds, or until Ctrl-C. Raises UserError if there is no connection."""
    logs.configure("gateway")
    discovery, link = Discovery(), Link(replace(broker, client_id=""), ["#"], keeps_session=False)
    link.start()
    was_up = False
    try:
        with ProgressLine() as line:
            while line.elapsed_s < seconds:
                messages = link.take(POLL_S, AT_A_TIME)
                link.acknowledge(messages)
                for message in messages:
                    discovery.see(message.topic, message.payload, message.is_retained)
                was_up |= link.is_up
                if line.is_due():
                    state = f"{len(discovery.devices)} devices recognised"
                    line.show(Progress("topics", discovery.topics, elapsed_s=line.elapsed_s, state=state))
    except KeyboardInterrupt:
        pass
    finally:
        link.stop()
        link.join(STOP_S)
    if not was_up:
        raise UserError(f"no connection to the broker at {broker.host}:{broker.port}: the lines above have the reason")
    return discovery
