"""The address of a receiver: what may be shown of it, and what no log and no message may hold."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

HIDDEN = "***"
SHORTEST_SECRET = 3
"""A shorter part of an address is no secret: to hide it would garble the sentence."""
WEBHOOKS = {"webhook+http": "http", "webhook+https": "https"}
BROKERS = ("mqtt", "mqtts")


@dataclass(frozen=True)
class Address:
    """The address of a receiver. Its text may contain passwords and tokens, so neither repr nor str shows it."""

    url: str = field(repr=False)

    @property
    def scheme(self) -> str:
        """The part before ://, in lower case; empty without one."""
        return self.url.partition("://")[0].lower() if "://" in self.url else ""

    @property
    def is_webhook(self) -> bool:
        """Whether it takes Alertmanager's JSON by HTTP."""
        return self.scheme in WEBHOOKS

    @property
    def is_broker(self) -> bool:
        """Whether it is a topic of an MQTT broker."""
        return self.scheme in BROKERS

    def __str__(self) -> str:
        """The scheme, and the host where that cannot be a token: tgram://TOKEN/CHAT has its token there."""
        if not (self.is_webhook or self.is_broker):
            return f"{self.scheme}://{HIDDEN}"
        return f"{self.scheme}://{urlsplit(self.url).netloc.rpartition('@')[2]}"

    def hide(self, text: str) -> str:
        """The text without any part of this address that may be a secret."""
        for part in sorted(self._parts(), key=len, reverse=True):
            text = text.replace(part, HIDDEN)
        return text

    def _parts(self) -> set[str]:
        """The address, and all its parts that may be secrets, also as they are without escapes."""
        authority, _, rest = self.url.partition("://")[2].partition("/")
        user, _, host = authority.rpartition("@")
        path, _, query = rest.partition("?")
        found = {self.url, self.url.partition("://")[2], user, *user.split(":"), *path.split("/"), *re.split("[&=]", query)}
        found |= {value for _, value in parse_qsl(query)}
        if not (self.is_webhook or self.is_broker):
            found |= {host, *host.split(":")}
        found |= set(map(unquote, found))
        return {part for part in found if len(part) >= SHORTEST_SECRET}
