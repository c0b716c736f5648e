"""Which requests the project's HTTP servers answer: those sent to one of their own host names, and not from another site's page.

A web page in a user's browser can send requests to this machine. It cannot read the answers unless its own host name
resolves to this machine (DNS rebinding): then the Host header holds that name. A page's other requests carry an Origin or, where
browsers send none (an image, a script), Sec-Fetch-Site. Programs send neither.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Mapping
from urllib.parse import SplitResult, urlsplit
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from smartmeter.settings import Settings

FOREIGN_SITES = {"cross-site", "same-site"}


class Gate:
    """Checks requests to a server that listens at `address`, a host name or an IP address.

    pages: whether the server has pages that other sites may link to.
    """

    def __init__(self, settings: Settings, address: str, pages: bool = False):
        self._further = set(listed(settings.stack.allowed_hosts.lower()))
        self._names = {"localhost", socket.gethostname().lower(), address.lower()} | self._further
        self._any_address = (ip := _ip(address)) is not None and ip.is_unspecified  # an IP address cannot be rebound
        self._origins = set(listed(settings.stack.allowed_origins))
        self._pages = pages

    def refusal(self, headers: Mapping[str, str]) -> str | None:
        """Why a request is refused, in one sentence; None if it is accepted. Header names are in lower case."""
        host, origin = headers.get("host"), headers.get("origin")
        if host is not None and not self._is_own(_host_name(host)):
            return f"The host name {host[:100]!r} is not one of this server: add it to SMW_ALLOWED_HOSTS to allow it"
        if "*" in self._origins:
            return None
        if origin is not None:
            url = _split(origin)
            if origin in self._origins or _same_origin(url, host) or _host_name(url.netloc) in self._further:
                return None
            return f"Pages of {origin[:100]!r} may not send requests to this server: add it to SMW_ALLOWED_ORIGINS to allow them"
        if headers.get("sec-fetch-site") in FOREIGN_SITES and not (self._pages and headers.get("sec-fetch-dest") == "document"):
            return "Pages of other sites may not send requests to this server"
        return None

    def _is_own(self, name: str) -> bool:
        ip = _ip(name)
        return name in self._names or (ip is not None and (ip.is_loopback or self._any_address))


class OwnHost:
    """ASGI middleware that answers requests refused by the gate with 403 and the reason."""

    def __init__(self, app: ASGIApp, gate: Gate):
        self._app, self._gate = app, gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on to the application, or refuse it."""
        reason = self._gate.refusal(Headers(scope=scope)) if scope["type"] in ("http", "websocket") else None
        if reason is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": reason})
        else:
            await PlainTextResponse(reason + "\n", 403)(scope, receive, send)


def wsgi_own_host(app: WSGIApplication, gate: Gate) -> WSGIApplication:
    """A WSGI application that answers requests refused by the gate with 403 and the reason."""

    def checked(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        headers = {name[5:].replace("_", "-").lower(): value for name, value in environ.items() if name.startswith("HTTP_")}
        if reason := gate.refusal(headers):
            start_response("403 Forbidden", [("Content-Type", "text/plain; charset=utf-8")])
            return [f"{reason}\n".encode()]
        return app(environ, start_response)

    return checked


def listed(names: str) -> list[str]:
    """The items of a comma-separated list, without blanks around them."""
    return [name for item in names.split(",") if (name := item.strip())]


def _host_name(host: str) -> str:
    """The name in host:port, in lower case; empty for any other text."""
    try:
        url = urlsplit(f"//{host}")
        plain = url.username is None and not url.path and not url.query and not url.fragment
        return (url.hostname or "").rstrip(".") if plain else ""
    except ValueError:
        return ""


def _same_origin(url: SplitResult, host: str | None) -> bool:
    return url.scheme in ("http", "https") and bool(url.netloc) and url.netloc.lower() == (host or "").lower()


def _split(origin: str) -> SplitResult:
    """An origin as a URL; an empty one if it is malformed."""
    try:
        return urlsplit(origin)
    except ValueError:
        return urlsplit("")


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches an address: localhost, or a loopback IP address."""
    return address == "localhost" or ((ip := _ip(address)) is not None and ip.is_loopback)


def _ip(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None
