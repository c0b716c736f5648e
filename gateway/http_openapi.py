"""What the gateway takes by HTTP, as an OpenAPI document, and its limits."""

from __future__ import annotations

from typing import Any

from gateway.http_readings import MS_PER, VALUES
from smartmeter import __version__

JSON, LINES, AVRO = "application/json", "text/plain", ("avro/binary", "application/octet-stream")
"""Content types of readings, and of bursts."""
MOST_BYTES = 900_000
"""Of a body, unpacked. What it brings fits into one message of Kafka."""
MOST_IN_FLIGHT, MOST_IN_FLIGHT_OF_HOUSE = 64, 16
"""Requests that wait for their answer, of all houses and of one."""
MOST_MISTAKES = 20
"""In an answer."""

Json = dict[str, Any]

VALUE_TEXT = {
    "watts": "Power, in W. What is fed in is negative.",
    "power": "The same as watts.",
    "import_wh": "Register of imported energy, in Wh.",
    "import_kwh": "Register of imported energy, in kWh.",
    "export_wh": "Register of exported energy, in Wh.",
    "export_kwh": "Register of exported energy, in kWh.",
}
REFUSALS = {
    "400": "The client went before its body had arrived.",
    "401": "The request has no token of a house.",
    "403": "A reading is of another house than the token; or the request is for another host name, or from a page of another site.",
    "408": "The body stopped arriving.",
    "413": f"The body has more than {MOST_BYTES:,} bytes, unpacked.",
    "415": "The body has another content type or encoding.",
    "422": f"The body cannot be used. The answer lists the mistakes in its readings, {MOST_MISTAKES} at most. Nothing was taken.",
    "429": f"{MOST_IN_FLIGHT_OF_HOUSE} requests of this house, or {MOST_IN_FLIGHT} of all, wait for their answers.",
    "503": "Kafka has not acknowledged the readings. Send them again: those that it has count as duplicates.",
}
"""Status -> when a request is refused."""
WAITING = ("429", "503")
"""Those with Retry-After."""
COUNT: Json = {"type": "object", "properties": {"readings": {"type": "integer"}}, "required": ["readings"]}
ACCEPTED: Json = {"202": {"description": "Kafka has acknowledged all of it.", "content": {JSON: {"schema": COUNT}}}}
NO_CONTENT: Json = {"204": {"description": "Kafka has acknowledged all of it."}}
"""The answers to what was taken: the project's own, and InfluxDB's."""


def document() -> Json:
    """The OpenAPI document, version 3.1."""
    lines: Json = {"schema": {"type": "string"}, "example": "energy,house=7,meter=3 watts=42.5 1764489600\n"}
    readings: Json = {"schema": {"oneOf": [_ref("Reading"), {"type": "array", "items": _ref("Reading"), "minItems": 1}]}}
    influx = _post("The path of InfluxDB, for clients that send line protocol to it.", {LINES: lines}, [_precision()], NO_CONTENT)
    bursts: Json = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in AVRO}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Smart Meter Watchdog: readings by HTTP",
            "version": __version__,
            "description": "Readings of one house a request, answered once Kafka has acknowledged them.",
        },
        "security": [{"token": []}, {"password": []}],
        "paths": {
            "/readings": {"post": _post("Take readings.", {JSON: readings, LINES: lines}, [_precision()])},
            "/write": {"post": influx},
            "/api/v2/write": {"post": influx},
            "/bursts": {"post": _post("Take a burst of the topic readings, in Avro's single-object encoding.", bursts, [])},
            "/health": {"get": _health()},
            "/openapi.json": {
                "get": {"summary": "This document.", "security": [], "responses": {"200": {"description": "This document."}}}
            },
        },
        "components": {
            "schemas": {"Reading": _reading(), "Refusal": _refusal(), "Health": _status_of_health()},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "The token of a house, from meters.yaml."},
                "password": {"type": "http", "scheme": "basic", "description": "The token as the password of any user."},
            },
        },
    }


def _post(summary: str, content: Json, parameters: list[Json], taken: Json = ACCEPTED) -> Json:
    return {
        "summary": summary,
        "parameters": [_encoding(), *parameters],
        "requestBody": {"required": True, "content": content},
        "responses": {**taken, **{status: _answer(status, text) for status, text in REFUSALS.items()}},
    }


def _answer(status: str, text: str) -> Json:
    answer: Json = {"description": text, "content": {JSON: {"schema": _ref("Refusal")}}}
    if status in WAITING:
        answer["headers"] = {"Retry-After": {"description": "Time to wait, in s.", "schema": {"type": "integer"}}}
    return answer


def _reading() -> Json:
    values: Json = {name: {"type": "number", "description": VALUE_TEXT[name]} for name in VALUES}
    return {
        "type": "object",
        "properties": {
            "house": {"type": "integer", "description": "Its house; without it, that of the token."},
            "meter": {"type": "integer", "description": "Its meter, by the number in meters.yaml."},
            "time": {
                "type": ["string", "number", "null"],
                "description": "ISO 8601, local to the house if it names no zone, or Unix time in s or ms. Without it, the time of arrival.",
            },
            **values,
        },
        "required": ["meter"],
        "additionalProperties": False,
        "examples": [{"house": 7, "meter": 3, "time": "2026-11-30T08:00:00Z", "watts": 42.5}],
    }


def _refusal() -> Json:
    mistake = {
        "type": "object",
        "properties": {"position": {"type": "integer", "minimum": 1}, "mistake": {"type": "string"}},
        "required": ["position", "mistake"],
    }
    return {
        "type": "object",
        "properties": {
            "message": {"type": "string"},
            "mistakes": {"type": "array", "items": mistake, "maxItems": MOST_MISTAKES, "description": "Readings, or lines, from 1."},
        },
        "required": ["message"],
    }


def _status_of_health() -> Json:
    properties = {"name": {"type": "string"}, "status": {"enum": ["pass", "fail"]}, "message": {"type": "string"}}
    return {"type": "object", "properties": properties, "required": ["name", "status"]}


def _health() -> Json:
    content = {JSON: {"schema": _ref("Health")}}
    responses = {"200": "Readings are taken.", "503": "Kafka takes no readings."}
    return {
        "summary": "Whether readings are taken.",
        "security": [],
        "responses": {status: {"description": text, "content": content} for status, text in responses.items()},
    }


def _encoding() -> Json:
    return {"name": "Content-Encoding", "in": "header", "schema": {"enum": ["identity", "gzip"], "default": "identity"}}


def _precision() -> Json:
    text = "Unit of the times in line protocol."
    return {"name": "precision", "in": "query", "description": text, "schema": {"enum": [*MS_PER], "default": "ns"}}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}
