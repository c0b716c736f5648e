"""Precision and recall, on numbers worked by hand."""

from __future__ import annotations

from generator.scoring import Score, score
from generator.synthetic import Spike, write_ground_truth
from store.sink import COLUMNS, USUAL

MINUTE_MS = 60_000
T_MS = 1_700_000_000_000


def alert(house_id, meter_id, first, last, *, retracted=False, revision=1):
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
        "level",
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


def spike(house_id, meter_id, first, last):
    return Spike(house_id, meter_id, T_MS + first * MINUTE_MS, T_MS + last * MINUTE_MS, 900.0)


def test_score(writer, tmp_path):
    write_ground_truth(
        tmp_path / "truth.csv",
        [
            spike(1, 3, 10, 20),  # found by two alerts, as it flickered
            spike(1, 4, 10, 20),  # in force, not found
            spike(1, 5, 10, 20),  # warming up, not found
            spike(2, 1, 10, 20),  # mains, found
            spike(2, 3, 40, 50),  # warming up, but found
        ],
    )
    writer.insert(
        "thresholds",
        [
            threshold(1, 3, 0, 99, 200.0),
            threshold(1, 4, 0, 99, 200.0),
            threshold(1, 5, 0, 99, None),
            threshold(2, 1, 0, 15, 200.0),
            threshold(2, 3, 0, 40, 200.0),
        ],
        column_names=COLUMNS["thresholds"],
    )  # the last ends as its spike begins
    writer.insert(
        "alerts",
        [
            alert(1, 3, 9, 11),
            alert(1, 3, 15, 21),  # true
            alert(1, 3, 20, 22),  # begins as the spike ends: false
            alert(1, 2, 19, 25),  # mains while an appliance spikes: true
            alert(1, 6, 10, 20),  # another appliance: false
            alert(2, 1, 12, 13),
            alert(2, 3, 45, 46),  # true
            alert(1, 4, 10, 20),
            alert(1, 4, 10, 20, retracted=True, revision=2),  # taken back: none
        ],
        column_names=COLUMNS["alerts"],
    )
    found = score(writer, tmp_path / "truth.csv")
    assert found == Score(alerts=7, true_alerts=5, spikes=5, found=3, judged=3, judged_found=2)
    assert str(found) == (
        "7 alerts of kind level, 5 of them on one of the 5 spikes put in: precision 0.714\n"
        "recall 0.667 (2 of 3), leaving out 2 spikes on meters that were still warming up; 0.600 of all"
    )


def test_score_of_nothing(writer, tmp_path):
    write_ground_truth(tmp_path / "truth.csv", [])
    assert "precision undefined\nrecall undefined (0 of 0)" in str(score(writer, tmp_path / "truth.csv"))
