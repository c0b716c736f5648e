"""./smw import on a real broker: what is in the topics afterwards, and what a replay reads of days that were imported past them."""

import argparse
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from confluent_kafka import TopicPartition

from commands import archive, import_, older_days
from smartmeter.errors import UserError
from smartmeter.kafka import archived, connection
from smartmeter.kafka.offsets import Offsets
from smartmeter.kafka.producer import Producer
from smartmeter.messages.codec import Burst, decode_burst
from smartmeter.messages.framing import framing
from smartmeter.run import Run
from stack.ports import with_free_flink_port
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
    settings, rng = with_free_flink_port(with_topics.but(home=tmp_path / "home")), np.random.default_rng(1)
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
    assert len(set(spans)) == len(spans)
    with pytest.raises(
        UserError, match="^some of these days are older than what their house has sent, and need "
    ):  # all of it is older now
        run(settings, tmp_path / "refit.zip")
    assert len(messages(settings, "readings")) == len(spans) and not (settings.stack.home / "archive").exists()


HOUR_MS, FIRST_MS = 3_600_000, 1_365_724_800_000
FIRST = Burst(7, "UTC", 0, 0, 1000, np.array([1], np.int32), np.array([1], np.int32), np.array([0], np.int32), np.array([5], np.float32))


def hours(house: int, *starts: float) -> list[Burst]:
    """A burst of each hour."""
    return [
        replace(FIRST, house_id=house, start_ms=FIRST_MS + round(start * HOUR_MS), end_ms=FIRST_MS + round((start + 1) * HOUR_MS))
        for start in starts
    ]


def replayed(settings, folder, run, **only) -> dict[int, list[float]]:
    """House -> the hours of what a replay reads, in its order; those that were imported as negative numbers less 1000. 0: no burst."""
    found: dict[int, list[float]] = {}
    partitions: dict[int, set[int]] = {}
    for message, partition in archived.with_imported(settings, run, folder, folder, **only):
        burst = decode_burst(message.value) if message.rest else replace(FIRST, start_ms=FIRST_MS)
        hour = (burst.start_ms - FIRST_MS) / HOUR_MS
        found.setdefault(burst.house_id * bool(message.rest), []).append(hour if message.partition >= 0 else -1000 - hour)
        partitions.setdefault(burst.house_id, set()).add(partition)
    assert all(len(of_house) == 1 for of_house in partitions.values())
    return found


def test_a_replay_reads_what_was_imported_between_what_the_topic_has(with_topics, tmp_path):
    settings, folder = with_topics.but(home=tmp_path / "home", limit_days=1, window_days=1), tmp_path / "archive"
    with Producer(settings) as producer:
        for burst in [*hours(1, 50, 51, 53), *hours(2, 50, 400, 51), *hours(3, 50), *hours(1, 52)]:
            producer.send_burst(burst)
        producer.send("readings", b"7", b"no burst", FIRST_MS)
    older_days.keep([*hours(1, -400, 10, 50.5, 52, 60), *hours(2, 51.5, 399), *hours(4, 20)], folder)
    run = Run(replay_from="2013-04-12", replay_to="2013-04-14", archived=True)
    assert settings.stack.home not in tmp_path.iterdir() and older_days.newest_ms(settings) == {
        0: FIRST_MS,
        1: FIRST_MS + 54 * HOUR_MS,
        2: FIRST_MS + 401 * HOUR_MS,
        3: FIRST_MS + 51 * HOUR_MS,
    }
    of_1 = [-1010, 50, 51, -1050.5, -1052, 53, 52, -1060]  # what comes before 11 days ago is not needed
    of_2 = [50, 400, 51, -1051.5, -1399]  # the clock of one burst was wrong
    assert replayed(settings, folder, run) == {0: [0], 1: of_1, 2: of_2, 3: [50], 4: [-1020]}
    assert replayed(settings, folder, run, houses=[1, 3]) == {1: of_1, 3: [50]}
    assert replayed(settings, folder, replace(run, house=2)) == {2: of_2}
    with Offsets(settings, ("readings",), "none") as offsets:
        ends = {place[1]: end for place, (_, end) in offsets.bounds().items()}
        [partition] = {m.partition() for m in messages(settings, "readings") if m.key() == b"3"}
        assert 3 not in replayed(settings, folder, run, ends=ends | {partition: 0})
        archive_files_of(settings, folder)
        client = connection.admin(settings)  # its futures end with it
        for deleted in client.delete_records([TopicPartition(*place, end) for place, (_, end) in offsets.bounds().items()]).values():
            deleted.result()
    assert replayed(settings, folder, run, houses=[1, 2, 3]) == {1: of_1, 2: of_2, 3: [50]}


def archive_files_of(settings, folder) -> None:
    """Copy the topic into an archive."""
    parser = argparse.ArgumentParser()
    archive.add_arguments(parser)
    assert archive.run(parser.parse_args(["--from", "2013-04-01", "--to", "2013-05-30", "--into", str(folder)]), settings) == 0
