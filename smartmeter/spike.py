"""The spike of ./smw demo --live, which a button of the dashboard makes: a message to the simulated devices."""

from __future__ import annotations

from paho.mqtt import MQTTException, publish

from smartmeter.errors import UserError

SPIKE_TOPIC = "demo/spike"


def make_spike(address: str) -> None:
    """Have a simulated device at the MQTT broker of an address (host:port) draw far more than usual. Raises UserError.

    The message is retained until the device takes it, which may not listen yet.
    """
    host, _, port = address.rpartition(":")
    try:
        publish.single(SPIKE_TOPIC, b"spike", qos=1, retain=True, hostname=host, port=int(port))
    except (OSError, MQTTException) as error:
        raise UserError(
            f"there is no spike: the MQTT broker at {address} does not take it ({error}): start ./smw demo --live again"
        ) from None
