"""Past days: until when they go, and the progress line."""

from datetime import UTC, date, datetime

import pytest

from generator import history
from generator.history import Totals, first_today
from generator.synthetic import synthetic_houses
from smartmeter import local_days
from smartmeter.messages.codec import Burst


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


def test_the_progress_line():
    first_end_ms, hour_ms = 1_709_251_200_000, 3_600_000  # 2024-03-01T00:00Z
    burst = Burst(1, "UTC", first_end_ms, first_end_ms + 6 * hour_ms, 1000, None, None, None, None)
    houses, totals = synthetic_houses(1, seed=1, timezone="UTC"), Totals(bursts=9, readings=12_345, seconds=10.0)
    line = "produced 12,345 readings, 1,234 readings/s"
    assert history._progress(totals, burst, first_end_ms, date(2024, 3, 2), houses) == f"{line}, 30 s left"
    assert history._progress(totals, burst, first_end_ms, date.max, houses) == line
    assert history._progress(totals, burst, burst.end_ms, date(2024, 3, 2), houses) == line
