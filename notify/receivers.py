"""How a message reaches a receiver: by HTTP in Alertmanager's format, by MQTT, or through apprise.

A receiver's send() returns once the receiver has acknowledged the message. It raises DeliveryFault, whose text holds no secret.
"""

from __future__ import annotations

import json
import logging
from email.utils import parsedate_to_datetime
from typing import Protocol
from urllib.parse import unquote, urlsplit

import apprise
import httpx

from notify.addresses import WEBHOOKS, Address
from notify.faults import DeliveryFault
from notify.messages import Message
from notify.mqtt_session import FAULTS, Session
from notify.routes import Route
from smartmeter.errors import UserError
from smartmeter.local_days import now_ms
from smartmeter.mqtt_broker import PORTS, Broker

LONGEST_RETRY_AFTER_S = 3600
ATTEMPT_S = 10.0
"""Longest time that a receiver may take to answer."""
APPRISE_S = 30.0
"""The same through apprise, which waits some seconds between two messages by itself."""
QUIET_LOGGERS = ("httpx", "httpcore", "apprise", "paho", "urllib3", "requests")
"""Loggers of libraries that name addresses, which may contain secrets."""


class Receiver(Protocol):
    """Takes messages."""

    def send(self, message: Message) -> None:
        """Return once the receiver has acknowledged the message. Raises DeliveryFault."""


def receiver(route: Route) -> Receiver:
    """The receiver of a route. Raises UserError for an address of no known kind."""
    if route.address.is_webhook:
        return Webhook(route.address)
    if route.address.is_broker:
        return Mqtt(route.address)
    return Apprise(route.address, route.name)


def keep_quiet() -> None:
    """Turn off the logs of libraries that name addresses. Faults are raised, and their text is cleaned."""
    for name in QUIET_LOGGERS:
        logging.getLogger(name).propagate = False
        logging.getLogger(name).addHandler(logging.NullHandler())


class Webhook:
    """Posts Alertmanager's JSON. A status of 200 to 299 acknowledges it; redirects are not followed, as they may lead anywhere."""

    def __init__(self, address: Address):
        self._address = address
        scheme, _, rest = address.url.partition("://")
        self._url = f"{WEBHOOKS[scheme.lower()]}://{rest}"

    def send(self, message: Message) -> None:
        """See Receiver."""
        body, headers = json.dumps(message.document).encode(), {"Content-Type": "application/json", "Idempotency-Key": message.key}
        try:
            with httpx.stream("POST", self._url, content=body, headers=headers, timeout=ATTEMPT_S) as answer:
                status, retry_after = answer.status_code, answer.headers.get("Retry-After", "")
        except httpx.TimeoutException:
            raise DeliveryFault(f"it did not answer within {ATTEMPT_S:.0f} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError) as error:
            raise DeliveryFault(self._address.hide(f"{type(error).__name__}: {error}")) from None
        if not 200 <= status < 300:
            raise DeliveryFault(f"it answered with HTTP status {status}", seconds_until(retry_after, now_ms()))


def seconds_until(retry_after: str, at_ms: int) -> float:
    """The time in s that the HTTP header Retry-After (RFC 9110, 10.2.3: seconds, or a date) asks for; 0 for any other text.

    It is at most LONGEST_RETRY_AFTER_S, so that no receiver ends a route.

    >>> seconds_until("120", 0), seconds_until("Thu, 01 Jan 1970 00:01:30 GMT", 60_000), seconds_until("soon", 0)
    (120.0, 30.0, 0.0)
    """
    try:
        asked_s = int(retry_after) if retry_after.isdecimal() else parsedate_to_datetime(retry_after).timestamp() - at_ms / 1000
    except (ValueError, OverflowError):
        return 0.0
    return float(min(max(asked_s, 0), LONGEST_RETRY_AFTER_S))


class Mqtt:
    """Publishes the JSON to a topic with QoS 1, which the broker acknowledges."""

    def __init__(self, address: Address):
        self._address = address
        url = urlsplit(address.url)
        port, user, password = url.port or PORTS[url.scheme], unquote(url.username or ""), unquote(url.password or "")
        self._broker = Broker(url.hostname or "", port, url.scheme == "mqtts", user, password, client_id="")
        self._topic = unquote(url.path.strip("/"))

    def send(self, message: Message) -> None:
        """See Receiver."""
        try:
            with Session(self._broker) as session:
                session.publish([(self._topic, json.dumps(message.document))])
        except FAULTS as error:
            raise DeliveryFault(self._address.hide(f"{type(error).__name__}: {error}")) from None


class Apprise:
    """Sends the text through apprise, which knows over a hundred kinds of receivers."""

    def __init__(self, address: Address, name: str):
        self._address = address
        self._apprise = apprise.Apprise()
        if not self._apprise.add(address.url):
            raise UserError(
                f"route {name}: apprise does not accept its url, which begins with {address.scheme}://: docs/notifications.md links to its kinds"
            )

    def send(self, message: Message) -> None:
        """See Receiver."""
        kind = apprise.NotifyType.SUCCESS if message.is_over else KINDS.get(message.severity, apprise.NotifyType.WARNING)
        try:
            result = self._apprise.notify(message.text, message.title, kind, apprise.NotifyFormat.TEXT, timeout=APPRISE_S)
        except Exception as error:  # a plugin may raise anything
            raise DeliveryFault(self._address.hide(f"{type(error).__name__}: {error}")) from None
        if not result:
            reasons = "; ".join(entry.message for entry in result.logs())
            raise DeliveryFault(self._address.hide(reasons) or f"apprise could not deliver it: {result.status.name.lower()}")


KINDS = {"info": apprise.NotifyType.INFO, "warning": apprise.NotifyType.WARNING, "critical": apprise.NotifyType.FAILURE}
