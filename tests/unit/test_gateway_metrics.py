"""The metrics of the gateway."""

import re

from prometheus_client import generate_latest

from gateway.metrics import KAFKA_UP, MQTT_UP, SILENT, WAITING, GatewayMetrics
from smartmeter.settings import ROOT
from tests.unit.test_source import CLAMP


def shown(metrics):
    return generate_latest(metrics.registry).decode()


def test_the_document_lists_each_metric():
    served = re.findall(r"^# TYPE (smw_\w+) (?:counter|gauge)$", shown(GatewayMetrics()), re.MULTILINE)
    documented = re.findall(r"`(smw_gateway_\w+)` \|", (ROOT / "docs" / "observability.md").read_text())
    assert {name for name in served if not name.endswith("_created")} == set(documented)
    assert {MQTT_UP, KAFKA_UP, WAITING, SILENT} <= set(documented)


def test_a_meter_that_is_no_more_is_not_shown():
    metrics = GatewayMetrics()
    metrics.show(CLAMP, 5.0, True)
    assert f'{SILENT}{{house="1",meter="solar"}} 1.0\n' in shown(metrics)
    metrics.forget(CLAMP)
    assert "solar" not in shown(metrics)
