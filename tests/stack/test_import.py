"""./smw import on a real broker: what is in the topics afterwards, also after a second time."""

import argparse
import zipfile

import numpy as np

from commands import import_
from smartmeter.messages.codec import decode_burst
from smartmeter.messages.framing import framing
from tests.topics import messages, records
from tests.unit.test_refit import HEADER

BEGIN, SECONDS = 1_381_323_977, 100_000


def run(settings, *words):
    parser = argparse.ArgumentParser()
    import_.add_arguments(parser)
    return import_.run(parser.parse_args([str(word) for word in words]), settings)


def readings(settings):
    """(house, meter) -> [(time in s, watts)] of all bursts, in their order."""
    found = {}
    for message in messages(settings, "readings"):
        burst = decode_burst(framing(settings).received(message.value()))
        ends = np.cumsum(burst.counts)
        for meter_id, begin, end in zip(burst.meter_ids.tolist(), ends - burst.counts, ends):
            times = burst.start_ms // 1000 + np.cumsum(burst.deltas[begin:end], dtype=np.int64) * burst.tick_ms // 1000
            found.setdefault((burst.house_id, meter_id), []).extend(zip(times.tolist(), burst.watts[begin:end].tolist()))
    return found


def test_files_in_a_zip_are_in_the_topics_in_order(with_topics, tmp_path):
    settings, rng = with_topics.but(home=tmp_path / "home"), np.random.default_rng(1)
    expected = {}
    with zipfile.ZipFile(tmp_path / "refit.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for house in (2, 3):
            seconds = BEGIN + np.cumsum(rng.integers(6, 9, SECONDS // 8))
            watts = rng.integers(0, 5000, (len(seconds), 10))
            lines = [f"x,{second},{','.join(map(str, row))},0" for second, row in zip(seconds.tolist(), watts.tolist())]
            archive.writestr(f"CLEAN_House{house}.csv", "\r\n".join([HEADER, *rng.permutation(lines)]))
            expected |= {(house, meter): list(zip(seconds.tolist(), watts[:, meter - 1].tolist())) for meter in range(1, 11)}
    assert run(settings, tmp_path / "refit.zip") == 0
    assert readings(settings) == expected
    houses = {record["house_id"]: record for record in records(settings, "houses")}
    assert [houses[house]["timezone"] for house in (2, 3)] == ["Europe/London"] * 2
    assert [meter["kind"] for meter in houses[2]["meters"]] == ["mains"] + ["appliance"] * 9
    spans = [
        (burst.house_id, burst.start_ms, burst.end_ms)
        for burst in (decode_burst(framing(settings).received(message.value())) for message in messages(settings, "readings"))
    ]
    assert run(settings, tmp_path / "refit.zip") == 0
    again = messages(settings, "readings")
    assert len(again) == 2 * len(spans) and len(set(spans)) == len(spans)
