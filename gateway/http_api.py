"""The gateway's HTTP API: readings and bursts in, a token for each house. gateway.http_openapi describes it.

A request is answered with 202, or 204 at InfluxDB's own paths, once Kafka has acknowledged all that it brings. Whatever is wrong with it,
nothing of it is sent.
"""

from __future__ import annotations

import asyncio
import zlib
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from hmac import compare_digest

from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.config import Config, House
from gateway.http_delivery import LONGEST_WAIT_S, Delivery, KafkaAway, Parcel
from gateway.http_openapi import AVRO, JSON, LINES, MOST_BYTES, MOST_IN_FLIGHT, MOST_IN_FLIGHT_OF_HOUSE, MOST_MISTAKES, document
from gateway.http_readings import ForeignHouse, Mistakes, Reader, Reading
from gateway.metrics import GatewayMetrics
from gateway.source import LONGEST_AHEAD_MS
from jobs.core import readings as jobs_readings
from smartmeter import http_bodies
from smartmeter.hosts import Gate, OwnHost
from smartmeter.local_days import now_ms
from smartmeter.messages.codec import Burst, decode_burst
from smartmeter.messages.framing import framing
from smartmeter.messages.schemas import CodecError
from smartmeter.messages.single_object import RegistryFault
from smartmeter.settings import Settings

SILENCE_S, WHOLE_S = 30, 120
"""Longest time without progress of a body, and for all of it, in s."""
AGAIN_S = 1
NAME = "smart-meter-watchdog"

Read = Callable[[House, bytes], Parcel]


class Refusal(Exception):
    """Why a request is refused: the status, a sentence, and the mistakes in its readings by their position."""

    def __init__(self, status: int, sentence: str, mistakes: Mapping[int, str] | None = None, headers: dict[str, str] | None = None):
        super().__init__(sentence)
        self.status, self.mistakes, self.headers = status, mistakes or {}, headers

    def answer(self) -> JSONResponse:
        """The answer to the request."""
        body: dict[str, object] = {"message": str(self)}
        if self.mistakes:
            first = list(self.mistakes.items())[:MOST_MISTAKES]
            body["mistakes"] = [{"position": position, "mistake": mistake} for position, mistake in first]
        return JSONResponse(body, self.status, self.headers)


class Api:
    """The API for the houses of a configuration that have a token. app: its ASGI application."""

    def __init__(self, config: Config, settings: Settings, delivery: Delivery, metrics: GatewayMetrics, address: str):
        self._settings, self._delivery = settings, delivery
        self._in_flight: Counter[int] = Counter()
        self.use(config)
        self.app = Starlette(
            routes=[
                Route("/readings", self._post_readings, methods=["POST"]),
                Route("/write", self._post_lines, methods=["POST"]),
                Route("/api/v2/write", self._post_lines, methods=["POST"]),
                Route("/bursts", self._post_burst, methods=["POST"]),
                Route("/health", self._health),
                Route("/openapi.json", lambda _: JSONResponse(document())),
            ],
            middleware=[Middleware(_Counted, metrics=metrics), Middleware(OwnHost, gate=Gate(settings, address))],
            exception_handlers={Refusal: lambda _, refusal: refusal.answer()},
        )

    def use(self, config: Config) -> None:
        """Take the readings of these houses from now on."""
        self._houses = [house for house in config.houses if house.token]

    async def _post_readings(self, request: Request) -> Response:
        """Take readings in JSON or line protocol."""
        house = self._house(request)
        read = self._in_lines(request) if _kind(request, (JSON, LINES)) == LINES else self._readings(Reader.in_json)
        return _accepted(await self._taken(request, house, read))

    async def _post_lines(self, request: Request) -> Response:
        """Take readings in line protocol as InfluxDB does: whatever the content type, and with its answer, which some clients insist on."""
        await self._taken(request, self._house(request), self._in_lines(request))
        return Response(status_code=204)

    async def _post_burst(self, request: Request) -> Response:
        """Take a burst in Avro."""
        house = self._house(request)
        _kind(request, AVRO)
        return _accepted(await self._taken(request, house, self._burst))

    async def _health(self, _: Request) -> Response:
        """Whether readings are taken, in the words of InfluxDB's /health."""
        if not self._delivery.is_up:
            return JSONResponse({"name": NAME, "status": "fail", "message": "Kafka takes no readings"}, 503)
        return JSONResponse({"name": NAME, "status": "pass"})

    def _house(self, request: Request) -> House:
        """The house whose token the request has. The time that this takes shows nothing of a token."""
        token = _token(request.headers.get("Authorization", ""))
        found = [house for house in self._houses if compare_digest(house.token.encode(), token.encode())]
        if not found:
            sentence = "send the token of a house: Authorization: Bearer TOKEN, or Token TOKEN, or as the password of a user"
            raise Refusal(401, sentence, headers={"WWW-Authenticate": "Bearer"})
        return found[0]

    async def _taken(self, request: Request, house: House, read: Read) -> int:
        """The number of readings that the request brings, once Kafka has them. Raises Refusal."""
        with self._counted(house):
            parcel = await self._parcel(house, await _body(request), read)
            try:
                self._delivery.send(parcel)
                await asyncio.wrap_future(parcel.taken)
            except KafkaAway:
                raise _try_again(
                    "Kafka has not acknowledged the readings: send them again; those that it has count as duplicates"
                ) from None
        return parcel.size

    @contextmanager
    def _counted(self, house: House) -> Iterator[None]:
        """Count a request in flight. Raises Refusal if there are too many."""
        if self._in_flight.total() >= MOST_IN_FLIGHT or self._in_flight[house.house_id] >= MOST_IN_FLIGHT_OF_HOUSE:
            raise Refusal(429, "too many requests at once: wait for their answers", headers={"Retry-After": str(AGAIN_S)})
        self._in_flight[house.house_id] += 1
        try:
            yield
        finally:
            self._in_flight[house.house_id] -= 1

    async def _parcel(self, house: House, body: bytes, read: Read) -> Parcel:
        """What a body brings. Raises Refusal."""
        try:
            return await run_sync(read, house, body)
        except Mistakes as error:
            raise Refusal(422, str(error), error.by_position) from None
        except ForeignHouse:
            raise Refusal(403, f"the token is for house {house.house_id} alone, so nothing was taken") from None

    def _in_lines(self, request: Request) -> Read:
        """What reads the readings in lines, of the precision that the request names."""
        precision = request.query_params.get("precision") or "ns"
        return self._readings(lambda reader, body: reader.in_lines(body, precision))

    def _readings(self, read: Callable[[Reader, bytes], list[Reading]]) -> Read:
        """What reads the readings in a body."""

        def parcel(house: House, body: bytes) -> Parcel:
            arrived_ms = now_ms()
            return Parcel(house, arrived_ms, read(Reader(house, self._settings.rules.oldest_ms, arrived_ms), body))

        return parcel

    def _burst(self, house: House, body: bytes) -> Parcel:
        """The burst in a body, checked as the jobs do. Raises Mistakes or ForeignHouse."""
        arrived_ms = now_ms()
        try:
            message = framing(self._settings).received(body, lambda: True)
        except CodecError as error:
            raise Mistakes(str(error)) from None
        except RegistryFault:
            raise _try_again("the schema registry does not answer: send the burst again") from None
        found, reasons = jobs_readings.read([message], arrived_ms + LONGEST_AHEAD_MS, oldest_ms=self._settings.rules.oldest_ms)
        if reasons:
            raise Mistakes(reasons[0])
        burst = decode_burst(message)
        if burst.house_id != house.house_id:
            raise ForeignHouse
        if mistake := _wrong_for(house, burst):
            raise Mistakes(mistake)
        if refused := int(found.columns.refused["readings"].sum() + found.registers.refused["readings"].sum()):
            raise Mistakes(f"{refused} readings of the burst have an impossible time or value")
        return Parcel(house, arrived_ms, burst=burst)


def _token(authorization: str) -> str:
    """The token in a header Authorization: of this API, or as clients of InfluxDB 2 and 1 send it; empty if there is none."""
    scheme, _, text = authorization.partition(" ")
    match scheme.lower():
        case "bearer" | "token":
            return text.strip()
        case "basic":
            with suppress(ValueError):
                return b64decode(text, validate=True).decode().partition(":")[2]
    return ""


def _wrong_for(house: House, burst: Burst) -> str | None:
    """Why a burst does not fit its house, in words; None if it does."""
    if burst.timezone != house.timezone:
        return f"timezone {burst.timezone}: the house has {house.timezone}"
    if others := sorted(set(burst.meter_ids.tolist()) - house.by_http.keys()):
        return f"meter {others[0]}: no meter of the house has this number and sends by HTTP"
    return None


def _accepted(readings: int) -> Response:
    return JSONResponse({"readings": readings}, 202)


def _try_again(sentence: str) -> Refusal:
    return Refusal(503, sentence, headers={"Retry-After": f"{LONGEST_WAIT_S:.0f}"})


def _kind(request: Request, kinds: tuple[str, ...]) -> str:
    """The content type of a request, one of some. Raises Refusal."""
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind not in kinds:
        raise Refusal(415, f"Content-Type {kind[:100] or 'is missing'}: it is one of {', '.join(kinds)}")
    return kind


async def _body(request: Request) -> bytes:
    """The body of a request, unpacked. Raises Refusal."""
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip"):
        raise Refusal(415, f"Content-Encoding {encoding[:100]}: it is gzip or identity", headers={"Accept-Encoding": "gzip"})
    try:
        body = await http_bodies.read(request, MOST_BYTES, SILENCE_S, WHOLE_S)
        if encoding == "gzip":
            body = await run_sync(partial(http_bodies.unpack_frames, body, http_bodies.gzip_unpacker, MOST_BYTES))
    except http_bodies.TooLong:
        raise Refusal(413, f"the body has more than {MOST_BYTES:,} bytes, unpacked: send it in parts") from None
    except http_bodies.Stalled:
        raise Refusal(408, f"the body did not arrive within {WHOLE_S} s, or stopped for {SILENCE_S} s") from None
    except (EOFError, zlib.error) as error:
        raise Refusal(422, f"the body is no gzip: {error}") from None
    except ClientDisconnect:
        raise Refusal(400, "the client has gone") from None
    return body


class _Counted:
    """ASGI middleware that counts the answers by their status."""

    def __init__(self, app: ASGIApp, metrics: GatewayMetrics):
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.http_requests.labels(str(message["status"])).inc()
            await send(message)

        await self._app(scope, receive, counted)
