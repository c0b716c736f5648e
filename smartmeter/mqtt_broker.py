"""An MQTT broker: how to connect to it, and the sentence that explains a failed connection."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field

PORTS = {"mqtt": 1883, "mqtts": 8883}
"""The port of each scheme, unless an address names another."""
CONNECT_S = 10.0
"""How long a connection may take."""


@dataclass(frozen=True)
class Broker:
    """An MQTT broker, and how to connect to it. ca: PEM file of the authorities to trust; empty: the system's."""

    host: str
    port: int
    tls: bool
    user: str = ""
    password: str = field(default="", repr=False)
    ca: str = ""
    client_id: str = "smart-meter-watchdog"


def why(error: OSError | ValueError, tls: bool) -> str:
    """Why there is no connection, with or without TLS, and what to do."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message}): set ca to the PEM file of its authority, or renew the certificate"
    if isinstance(error, ssl.SSLError) or (tls and isinstance(error, ConnectionResetError)):
        return "it takes no TLS at this port: write mqtt:// in place of mqtts://, or its port for TLS"
    if isinstance(error, TimeoutError):
        return f"it does not answer within {CONNECT_S:.0f} s: check host and port"
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"no connection ({reason}): check that it runs, and its host and port"
