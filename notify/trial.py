"""A test message by each route: ./smw notify --test."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from notify.alerts import Entry, Event
from notify.directory import Directory
from notify.faults import DeliveryFault
from notify.home_config import HomeAssistant
from notify.messages import message
from notify.mqtt_session import FAULTS, Session
from notify.receivers import keep_quiet, receiver
from notify.routes import Route, Routes
from smartmeter.errors import UserError
from smartmeter.local_days import now_ms
from smartmeter.messages.records import AlertRecord
from smartmeter.mqtt_broker import why


def each(routes: Routes) -> Iterator[tuple[str, str | None]]:
    """Send a message by each route. Yields (name of the route, why it failed, or None)."""
    keep_quiet()
    for route in routes.routes:
        try:
            receiver(route).send(message(route, [event(route)], Directory(), routes.external_url))
        except (DeliveryFault, UserError) as error:
            yield route.name, str(error)
        else:
            yield route.name, None
    if routes.home:
        yield routes.home.name, fault_of(routes.home)


def fault_of(home: HomeAssistant) -> str | None:
    """Why the broker of a Home Assistant does not take a message; None if it does. The running service stays connected."""
    try:
        with Session(replace(home.broker, client_id="")) as session:
            session.publish([(f"{home.topic}/test", "a test, no state")])
    except DeliveryFault as error:
        return str(error)
    except FAULTS as error:
        return why(error, home.broker.tls)
    return None


def event(route: Route) -> Event:
    """An alert of house 0 that says that it is a test."""
    at_ms = now_ms()
    alert: AlertRecord = {
        "alert_id": f"0/0/{at_ms}",
        "house_id": 0,
        "meter_id": 0,
        "date": 0,
        "start": at_ms,
        "end": at_ms,
        "open": True,
        "retracted": False,
        "readings": 0,
        "peak_watts": 0.0,
        "percentile_watts": 0.0,
        "limit_watts": 0.0,
        "excess_kwh": 0.0,
        "revision": at_ms,
        "kind": "test",
        "severity": "info",
        "reason": f"a test of the route {route.name}, no alert",
        "ends_when": "",
    }
    return Event("opened", Entry(alert))
