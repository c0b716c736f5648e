"""The metrics of the gateway."""

import re
from dataclasses import replace

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
    other = replace(CLAMP, meter_id=9)
    metrics.show(CLAMP, 5.0, True)
    metrics.show(other, 6.0, False)
    assert f'{SILENT}{{house="1",label="solar",meter="2"}} 1.0\n' in shown(metrics)
    assert f'{SILENT}{{house="1",label="solar",meter="9"}} 0.0\n' in shown(metrics), "two meters may have one label"
    metrics.forget(other)
    assert 'meter="2"' in shown(metrics) and 'meter="9"' not in shown(metrics)
