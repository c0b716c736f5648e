"""Progress lines: one each 2 s."""

from smartmeter import pace
from smartmeter.pace import Pace


def test_a_line_each_two_seconds_with_speed_and_time_left(monkeypatch, capsys):
    now = iter([100.0, 101.0, 102.0, 103.5, 104.0, 109.0])
    monkeypatch.setattr(pace.time, "monotonic", lambda: next(now))
    progress = Pace("files read", 10_000)
    for done in (1000, 1000, 500, 500, 8000):
        progress.add(done)
    assert capsys.readouterr().err.splitlines() == [
        "2,000 of 10,000 files read, 1,000 a second, about 8 s left",
        "3,000 of 10,000 files read, 750 a second, about 9 s left",
        "11,000 of 10,000 files read, 1,222 a second, about 0 s left"]
