"""Precision and recall, on numbers worked by hand."""

from __future__ import annotations

from generator.faults import Fault, write_ground_truth
from generator.scoring import Score, report, score
from store.sink import COLUMNS, USUAL

MINUTE_MS = 60_000
T_MS = 1_700_000_000_000


def alert(house_id, meter_id, first, last, *, retracted=False, revision=1, kind="level"):
    """An alert from minute `first` to minute `last`."""
    start_ms = T_MS + first * MINUTE_MS
    return (
        f"{house_id}/{meter_id}/{start_ms}",
        house_id,
        meter_id,
        19_675,
        start_ms,
        T_MS + last * MINUTE_MS,
        False,
        retracted,
        1,
        900.0,
        100.0,
        200.0,
        0.1,
        revision,
        kind,
        "warning",
        "900 W, over its limit of 200 W",
        "it falls to 200 W or less",
        "",
    )


def threshold(house_id, meter_id, first, last, limit_watts):
    return (
        house_id,
        meter_id,
        19_675 + first,
        T_MS + first * MINUTE_MS,
        T_MS + last * MINUTE_MS,
        0.97,
        7,
        100.0,
        10,
        86_400.0,
        limit_watts is None,
        limit_watts,
        1,
        *USUAL.values(),
        None,
    )


def fault(house_id, meter_id, first, last, kind="level"):
    return Fault(house_id, meter_id, kind, T_MS + first * MINUTE_MS, T_MS + last * MINUTE_MS, 900.0)


def test_score(writer, tmp_path):
    write_ground_truth(
        tmp_path / "truth.csv",
        [
            fault(1, 3, 10, 20),  # found by two alerts, as it flickered
            fault(1, 4, 10, 20),  # in force, not found
            fault(1, 5, 10, 20),  # warming up: not judged
            fault(2, 1, 10, 20),  # mains, found
            fault(2, 3, 40, 50),  # its limit ends as it begins: not judged
            fault(3, 3, 90, 95, "run"),  # found after HISTORY_DAYS versions
            fault(3, 4, 95, 100, "off"),  # goes on after the data: not judged
            fault(3, 5, 60, 65, "silent"),  # too early: not judged
        ],
    )
    versions = [threshold(3, meter_id, 10 * day, 10 * day + 10, 200.0) for meter_id in (3, 4, 5) for day in range(10)]
    versions = [(*row[:4], min(row[4], T_MS + 99 * MINUTE_MS), *row[5:]) for row in versions]
    writer.insert(
        "thresholds",
        [
            threshold(1, 3, 0, 99, 200.0),
            threshold(1, 4, 0, 99, 200.0),
            threshold(1, 5, 0, 99, None),
            threshold(2, 1, 0, 15, 200.0),
            threshold(2, 3, 0, 40, 200.0),
            *versions,
        ],
        column_names=COLUMNS["thresholds"],
    )
    writer.insert(
        "alerts",
        [
            alert(1, 3, 9, 11),
            alert(1, 3, 15, 21),
            alert(1, 3, 34, 36),  # begins 14 minutes after the fault: true
            alert(1, 3, 35, 36, kind="band"),  # 15 minutes: false
            alert(1, 2, 19, 25),  # mains while an appliance has a fault: true
            alert(1, 6, 10, 20),  # another appliance: false
            alert(2, 2, 12, 13),  # the other mains: false
            alert(2, 1, 12, 13),
            alert(3, 1, 60, 61, kind="dead"),  # mains while a meter is silent: false
            alert(3, 3, 93, 99, kind="run"),
            alert(1, 4, 10, 20),
            alert(1, 4, 10, 20, retracted=True, revision=2),  # taken back: none
        ],
        column_names=COLUMNS["alerts"],
    )
    scores = {found.kind: found for found in score(writer, tmp_path / "truth.csv")}
    assert scores["level"] == Score("level", alerts=7, true_alerts=5, faults=5, judged=3, found=2)
    assert scores["run"] == Score("run", 1, 1, 1, 1, 1) and scores["off"] == Score("off", 0, 0, 1, 0, 0)
    assert scores["band"] == Score("band", 1, 0, 0, 0, 0) and scores["dead"] == Score("dead", 1, 0, 0, 0, 0)
    assert scores["silent"] == Score("silent", 0, 0, 1, 0, 0)
    assert scores["all"] == Score("all", 10, 6, 8, 4, 3)
    lines = [line.split() for line in report(scores.values()).splitlines()]
    assert lines[2] == ["level", "7", "5", "0.714", "5", "3", "2", "0.667"]
    assert ["off", "0", "0", "-", "1", "0", "0", "-"] in lines


def test_score_of_nothing(writer, tmp_path):
    write_ground_truth(tmp_path / "truth.csv", [])
    assert score(writer, tmp_path / "truth.csv")[-1] == Score("all", 0, 0, 0, 0, 0)
