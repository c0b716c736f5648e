"""Past days: until when they go, and the progress."""

from datetime import UTC, date, datetime

import pytest

from generator import history
from generator.history import Totals, first_today
from generator.synthetic import synthetic_houses
from smartmeter import local_days, reports
from smartmeter.messages.codec import Burst
from smartmeter.reports import Progress


@pytest.mark.parametrize(
    "now, zones, today",
    [
        ("2026-11-28T12:00", ["UTC"], date(2026, 11, 28)),
        ("2026-11-28T04:00", ["UTC", "America/New_York"], date(2026, 11, 27)),
        ("2026-11-28T12:00", ["Pacific/Kiritimati"], date(2026, 11, 29)),
        ("2026-11-28T12:00", ["Pacific/Kiritimati", "Pacific/Pago_Pago"], date(2026, 11, 28)),
    ],
)
def test_today_is_the_earliest_day_of_the_houses(monkeypatch, now, zones, today):
    monkeypatch.setattr(local_days, "now_ms", lambda: round(datetime.fromisoformat(now).replace(tzinfo=UTC).timestamp() * 1000))
    assert first_today([synthetic_houses(1, seed=1, timezone=zone)[0] for zone in zones]) == today


def test_the_progress_has_the_time_that_the_days_left_take():
    first_end_ms, hour_ms = 1_709_251_200_000, 3_600_000  # 2024-03-01T00:00Z
    burst = Burst(1, "UTC", first_end_ms, first_end_ms + 6 * hour_ms, 1000, None, None, None, None)
    houses, totals = synthetic_houses(1, seed=1, timezone="UTC"), Totals(bursts=9, readings=12_345, seconds=10.0)
    for first_ms, end, left_s in (
        (first_end_ms, date(2024, 3, 2), 30.0),
        (first_end_ms, date.max, None),
        (burst.end_ms, date(2024, 3, 2), None),
    ):
        expected = Progress("readings produced", 12_345, None, 10.0, 1234.5, left_s)
        assert history._progress(totals, burst, first_ms, end, houses) == expected


def test_the_generators_last_record_has_all_readings_and_houses_are_sent_before_them(tmp_path, monkeypatch):
    sent = []

    class Discarding:
        def __init__(self, settings):
            self.send_houses = lambda records: sent.append([record["house_id"] for record in records])
            self.send_burst = lambda burst: sent.append("burst")

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(history, "Producer", Discarding)
    monkeypatch.setenv(reports.FILE, str(tmp_path / "report"))
    totals = history.produce(synthetic_houses(2, seed=1, timezone="UTC"), date(2026, 11, 1), date(2026, 11, 2), 300, float("inf"), None)
    found = reports.read(tmp_path / "report").progress
    assert totals.readings > 2 * 86_400
    assert sent == [[1, 2], *["burst"] * totals.bursts]
    assert found == Progress("readings produced", totals.readings, totals.readings, found.elapsed_s, found.per_s, 0.0)
