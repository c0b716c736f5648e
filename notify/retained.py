"""Which retained messages an MQTT broker lacks, or has in excess, as those of houses change and connections begin."""

from __future__ import annotations

import re

from notify.entities import QUANTITIES, Topics
from notify.home import Payloads


class Retained:
    """What is retained, and what is due to be published."""

    def __init__(self, topics: Topics):
        names = "|".join(sorted({quantity.name for of_kind in QUANTITIES.values() for quantity in of_kind}))
        base, prefix = re.escape(topics.base), re.escape(topics.prefix)
        described = rf"{prefix}/sensor/{base}/(\d+)_\d+_({names})/config|{prefix}/binary_sensor/{base}/(\d+)_alerts/config"
        self.patterns = (topics.config("+", "+"), f"{topics.base}/+/+/energy", f"{topics.base}/+/alerts")
        """The topics to subscribe to, so as to find what earlier runs have left."""
        self._own = re.compile(rf"{base}/(\d+)/(\d+/energy|alerts)|{described}", re.ASCII)
        self._wanted: dict[int, Payloads] = {}
        self.due: dict[str, str] = {}

    def want(self, house_id: int, payloads: Payloads) -> None:
        """These are the topics of a house from now on, and no others."""
        before = self._wanted.pop(house_id, {})
        if payloads:
            self._wanted[house_id] = payloads
        self.due |= {topic: payload for topic, payload in payloads.items() if payload is not None and payload != before.get(topic)}
        self.due |= dict.fromkeys(before.keys() - payloads.keys(), "")

    def connected(self) -> None:
        """A connection has begun, maybe to a broker that has lost what it had: all is due again."""
        for payloads in self._wanted.values():
            self.due |= {topic: payload for topic, payload in payloads.items() if payload is not None}

    def found(self, topic: str) -> None:
        """The broker has a retained message. If it is of this service, and of a house or meter that is gone, its deletion is due."""
        if not (own := self._own.fullmatch(topic)):
            return
        house_id = int(own[1] or own[3] or own[5])
        if topic not in self._wanted.get(house_id, {}):
            self.due.setdefault(topic, "")

    def published(self) -> None:
        """All that was due has been published."""
        self.due.clear()
