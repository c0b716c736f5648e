"""Metrics that Flink pushes."""

from stack import metrics_gateway
from stack.metrics_gateway import STALE_S, Pushed


def test_the_last_metrics_of_each_sender_until_they_are_stale(monkeypatch):
    now_s = 100.0
    monkeypatch.setattr(metrics_gateway.time, "monotonic", lambda: now_s)
    pushed = Pushed()
    pushed.put("/metrics/job/a", b"a 1\n")
    pushed.put("/metrics/job/a", b"a 2\n")
    now_s += STALE_S - 1
    pushed.put("/metrics/job/b", b"b 1\n")
    assert pushed.text() == b"a 2\nb 1\n"
    now_s += 1
    assert pushed.text() == b"b 1\n"
    pushed.remove("/metrics/job/b")
    pushed.remove("/metrics/job/none")
    assert pushed.text() == b""
