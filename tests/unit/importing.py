"""Files as formats read them in tests."""

from collections import defaultdict

from importer.formats.series import Faults, Request
from importer.formats.sources import Source

OLDEST_MS, NEWEST_MS = 978_307_200_000, 1_893_456_000_000  # 2001, 2030


def written(folder, name, text):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return Source(path)


def request(timezone="", listed_in=None, unit="W"):
    return Request(Faults(listed_in), OLDEST_MS, NEWEST_MS, timezone, unit)


def batches(form, source, asked=None):
    assert form.recognizes(source)
    return list(form.read(source, asked or request()))


def values(form, source, asked=None):
    """(house, meter, label, kind, quantity, unit) -> [(time in s, value drawn)]"""
    found = defaultdict(list)
    for batch in batches(form, source, asked):
        series = batch.series
        key = series.house, series.meter_id, series.label, series.kind, series.quantity, series.unit
        found[key] += zip((batch.times_ms / 1000).tolist(), (series.factor * batch.values).tolist())
    return dict(found)
