"""The metrics of notify."""

import re

from prometheus_client import generate_latest

from notify.metrics import FAILING_SINCE, PENDING, UP, NotifyMetrics
from smartmeter.settings import ROOT


def test_the_document_lists_each_metric():
    served = re.findall(r"^# TYPE (smw_\w+) (?:counter|gauge)$", generate_latest(NotifyMetrics(["mail"]).registry).decode(), re.MULTILINE)
    documented = re.findall(r"`(smw_notify_\w+)` \|", (ROOT / "docs" / "observability.md").read_text())
    assert {name for name in served if not name.endswith("_created")} == set(documented)


def test_every_route_has_all_metrics_from_the_start():
    text = generate_latest(NotifyMetrics(["mail"]).registry).decode()
    for line in (
        f'{UP}{{route="mail"}} 1.0',
        f'{PENDING}{{route="mail"}} 0.0',
        f'{FAILING_SINCE}{{route="mail"}} 0.0',
        'smw_notify_messages_total{route="mail"} 0.0',
        'smw_notify_alerts_total{event="opened",route="mail"} 0.0',
        'smw_notify_alerts_total{event="withdrawn",route="mail"} 0.0',
        'smw_notify_failures_total{route="mail"} 0.0',
        'smw_notify_dropped_alerts_total{route="mail"} 0.0',
        'smw_notify_last_delivery_timestamp_seconds{route="mail"} 0.0',
        "smw_notify_unreadable_messages_total 0.0",
    ):
        assert f"{line}\n" in text
