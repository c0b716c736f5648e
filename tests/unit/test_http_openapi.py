"""The OpenAPI document: its schemas are valid, and it describes what is served."""

from __future__ import annotations

import ast
import json
import re

import pytest
from jsonschema import Draft202012Validator, ValidationError, validate

from gateway import http_api
from gateway.config import Config
from gateway.http_delivery import Delivery
from gateway.http_openapi import REFUSALS, document
from gateway.http_readings import KEYS, Reader
from gateway.metrics import GatewayMetrics
from smartmeter.settings import ROOT, Settings
from tests.unit.test_http_readings import HOUSE, NOW

READING = document()["components"]["schemas"]["Reading"]


def found(node, key):
    """All values of a key, anywhere in a document."""
    items = node.items() if isinstance(node, dict) else list(enumerate(node)) if isinstance(node, list) else ()
    return [value for name, value in items if name == key] + [value for _, inner in items for value in found(inner, key)]


def test_schemas_and_references_are_valid():
    for schema in [*found(document(), "schema"), *document()["components"]["schemas"].values()]:
        Draft202012Validator.check_schema(schema)
    assert {name.removeprefix("#/components/schemas/") for name in found(document(), "$ref")} == document()["components"]["schemas"].keys()


def test_it_has_the_paths_that_are_served():
    settings, metrics = Settings(), GatewayMetrics()
    app = http_api.Api(Config(None, ()), settings, Delivery(settings, metrics), metrics, "127.0.0.1").app
    served = {(route.path, method.lower()) for route in app.routes for method in route.methods - {"HEAD"}}
    assert served == {(path, method) for path, methods in document()["paths"].items() for method in methods}


def test_it_has_each_status_that_requests_are_refused_with():
    source = (ROOT / "gateway" / "http_api.py").read_text()
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Refusal"]
    assert {str(call.args[0].value) for call in calls} == REFUSALS.keys()


def test_a_reading_has_the_keys_that_are_read():
    assert tuple(READING["properties"]) == KEYS
    [example] = READING["examples"]
    validate(example, READING)
    assert Reader(HOUSE, 0, NOW).in_json(json.dumps(example | {"meter": 2}).encode())
    for wrong in ({"watts": 1}, {"meter": 2, "volts": 1}, {"meter": "2"}):
        with pytest.raises(ValidationError):
            validate(wrong, READING)


def test_the_page_on_connecting_names_each_value_and_limit():
    page = (ROOT / "docs" / "connect.md").read_text()
    for name in KEYS:
        assert f"`{name}`" in page
    assert {status for status in REFUSALS if re.search(rf"^\| {status} \|", page, re.MULTILINE)} == REFUSALS.keys() - {"400"}
