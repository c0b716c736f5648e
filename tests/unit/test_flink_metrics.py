"""The jobs' counters among Flink's metrics."""

from jobs.flink.metrics import Counts, own_group
from tests.unit.flink_stand_in import FlinkStandIn


def test_all_counters_exist_from_the_first_report_on_and_a_report_adds_what_is_new():
    flink = FlinkStandIn()
    counts = Counts(own_group(flink.get_metrics_group()), ("used", "late"), ("alerts",))
    counts.report()
    assert flink.counted == {"used": 0, "late": 0, ("results", "topic", "alerts"): 0} and len(flink.counted) == 3
    counts.add("used", 5)
    counts.add(("results", "alerts"))
    assert flink.counted.total() == 0
    counts.report()
    counts.add("used", 2)
    counts.report()
    assert flink.counted == {"used": 7, "late": 0, ("results", "topic", "alerts"): 1}


def test_what_failed_work_counted_is_taken_back():
    flink = FlinkStandIn()
    counts = Counts(own_group(flink.get_metrics_group()), ("used",))
    counts.add("used", 5)
    before = counts.unreported()
    counts.add("used", 100)
    counts.restore(before)
    counts.report()
    assert flink.counted == {"used": 5}
