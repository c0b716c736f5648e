"""./smw gateway: receives the readings of meters by MQTT, until Ctrl-C."""

from __future__ import annotations

import argparse

from gateway import service
from smartmeter import logs
from smartmeter.messages.codec import EXPORT, IMPORT, POWER
from smartmeter.settings import Settings

QUANTITIES = {POWER: "power", IMPORT: "import", EXPORT: "export"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ./smw gateway."""
    parser.add_argument("--config", metavar="FILE.yaml", help="file of the meters (default: SMW_GATEWAY_CONFIG; docs/connect.md)")
    parser.add_argument("--check", action="store_true", help="show the mistakes in the file, or else its meters, and end")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Receive readings until Ctrl-C; with --check, show the meters. Raises UserError."""
    settings = settings.but(gateway_config=args.config) if args.config else settings
    if not args.check:
        logs.configure("gateway")
        service.serve(settings, service.on_signals)
        return 0
    config = service.config_of(settings)
    for source in config.sources:
        of = f"house {source.house_id}, meter {source.meter_id}, {source.label}, {QUANTITIES[source.quantity]}"
        print(f"{of}: {source.topic} {source.path}".rstrip())
    print(f"{len(config.meters)} meters, by {config.broker.host}:{config.broker.port}")
    return 0
