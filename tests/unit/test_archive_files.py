"""The files of an archive: what comes back is what was there, in its order, whatever runs were killed or repeated."""

from __future__ import annotations

import random
from dataclasses import replace

import avro.datafile
import avro.io
import fastavro
import numpy as np
import pytest

from smartmeter.errors import UserError
from smartmeter.messages import archive_files
from smartmeter.messages.archive_files import BURST as BURST_SCHEMA
from smartmeter.messages.archive_files import (
    Files,
    ImportedFiles,
    cut,
    files,
    imported_end_ms,
    imported_files,
    last_day,
    merged,
    path_of,
    read,
)
from smartmeter.messages.codec import Burst, encode_burst
from smartmeter.messages.schemas import FIRST_BURST_HEADER, HEADER_BYTES
from smartmeter.settings import DAY_MS

DAYS = range(20_000, 20_003)
BURST = Burst(
    7,
    "Europe/London",
    DAYS[0] * DAY_MS,
    DAYS[0] * DAY_MS + 9000,
    1000,
    np.array([1, 300], np.int32),
    np.array([2, 1], np.int32),
    np.array([0, 4, 8], np.int32),
    np.array([1.5, 2e5, 0], np.float32),
)
IN_TWO_BLOCKS = encode_burst(BURST).replace(b"\x06\0\x08\x10\0", b"\x02\0\x04\x08\x10\0")  # its deltas
FIRST = FIRST_BURST_HEADER + encode_burst(BURST)[HEADER_BYTES:-3]  # of the release before
NO_BURSTS = [None, b"", b"not Avro", encode_burst(BURST)[:-1], encode_burst(replace(BURST, house_id=-5))]


def topic(seed: int = 4) -> list[tuple]:
    """What two partitions hold: bursts of 40 houses over three days, in disorder, and messages that are none."""
    random.seed(seed)
    values = [encode_burst(replace(BURST, house_id=house)) for house in range(81, 121)] * 5 + [IN_TWO_BLOCKS, FIRST] * 5 + NO_BURSTS
    random.shuffle(values)
    return [
        (i % 2, 50 + i // 2, random.randrange(DAYS[0] * DAY_MS, DAYS[-1] * DAY_MS + DAY_MS), random.choice([b"7", None]), value)
        for i, value in enumerate(values)
    ]


def write(folder, messages) -> list:
    """Archive (partition, offset, timestamp, key, value). Returns the files."""
    archive = Files(folder, DAYS)
    for place in sorted(messages, key=lambda message: message[:2]):
        message, burst = cut(*place)
        archive.add(message, message.timestamp_ms // DAY_MS, burst.house_id if burst else 0)
    return list(archive.complete())


def everything(folder) -> list[tuple]:
    """What an archive holds, as (partition, offset, timestamp, key, value)."""
    return sorted((*message[:4], message.value) for path in folder.rglob("*.avro") for message in read(path))


@pytest.fixture(params=["in large blocks", "in small blocks", "with little memory"])
def blocks(request, monkeypatch):
    if request.param != "in large blocks":
        monkeypatch.setattr(archive_files, "BLOCK_BYTES" if request.param == "in small blocks" else "MOST_WAITING_BYTES", 300)


def test_every_message_comes_back_to_the_byte(tmp_path, blocks):
    messages = topic()
    paths = write(tmp_path, messages)
    assert everything(tmp_path) == sorted(messages)
    assert len(paths) == 3 * 3
    assert {path.parent.name for path in paths} == {"date=2024-10-04", "date=2024-10-05", "date=2024-10-06"}
    assert {path.name for path in paths} == {"houses=000001-000100.avro", "houses=000101-000200.avro", "messages.avro"}
    assert not list(tmp_path.rglob("*.partial"))


def test_a_house_keeps_its_order_over_all_days(tmp_path, blocks):
    messages = topic()
    write(tmp_path, messages)
    found = [message for paths in files(tmp_path, DAYS).values() for message in merged(paths)]
    for partition in (0, 1):
        for house in range(81, 121):
            mine = [
                message[1]
                for message in sorted(messages)
                if message[0] == partition and cut(*message)[1] and cut(*message)[1].house_id == house
            ]
            assert [m.offset for m in found if m.partition == partition and m.rest and cut(*m[:4], m.value)[1].house_id == house] == mine
    assert [path.name for paths in files(tmp_path, DAYS, 120).values() for path in paths] == ["houses=000101-000200.avro"] * 3


@pytest.mark.parametrize(
    "records", [lambda file: list(fastavro.reader(file)), lambda file: list(avro.datafile.DataFileReader(file, avro.io.DatumReader()))]
)
def test_other_tools_read_the_columns(tmp_path, records):
    values = [encode_burst(BURST), IN_TWO_BLOCKS, FIRST]
    write(tmp_path, [(1, 2 + i, DAYS[0] * DAY_MS + 5, b"7", value) for i, value in enumerate(values)])
    with path_of(tmp_path, DAYS[0], 7).open("rb") as file:
        one, two, three = records(file)
    assert (one["partition"], one["offset"], one["key"], one["house_id"], one["timezone"]) == (1, 2, b"7", 7, "Europe/London")
    assert [time.isoformat() for time in (one["timestamp"], one["start"], one["end"])] == [
        "2024-10-04T00:00:00.005000+00:00",
        "2024-10-04T00:00:00+00:00",
        "2024-10-04T00:00:09+00:00",
    ]
    for record in (one, two, three):
        assert (record["meter_ids"], record["counts"], record["deltas"], record["watts"]) == ([1, 300], [2, 1], [0, 4, 8], [1.5, 2e5, 0])


def test_the_files_of_the_release_before_are_read_and_added_to(tmp_path, monkeypatch):
    first = [(1, i, DAYS[0] * DAY_MS, b"7", FIRST) for i in range(3)]
    with monkeypatch.context() as earlier:
        fields = [field for field in BURST_SCHEMA["fields"] if field["name"] not in ("quantities", "holds_s", "energies")]
        earlier.setattr(archive_files, "BURST", BURST_SCHEMA | {"fields": fields})
        earlier.setattr(archive_files.Message, "lacking", b"")
        write(tmp_path, first)
    assert everything(tmp_path) == first
    write(tmp_path, later := [(1, 3, DAYS[0] * DAY_MS, b"7", FIRST), (1, 4, DAYS[0] * DAY_MS, b"7", encode_burst(BURST))])
    assert everything(tmp_path) == first + later


def test_another_run_adds_to_what_is_there(tmp_path):
    messages = topic()
    write(tmp_path, messages[:100])
    write(tmp_path, messages[60:])  # some are gone from the topic, and some are new
    assert everything(tmp_path) == sorted(messages)


def test_what_a_killed_run_left_is_overwritten(tmp_path):
    messages = topic()
    write(tmp_path, messages[:100])
    killed = Files(tmp_path, DAYS)
    for place in messages[:60]:
        killed.add(cut(*place)[0], DAYS[0], 7)
    killed._write_all()
    assert everything(tmp_path) == sorted(messages[:100])
    write(tmp_path, messages)
    assert everything(tmp_path) == sorted(messages) and not list(tmp_path.rglob("*.partial"))


def test_another_topic_is_not_mixed_in(tmp_path):
    write(tmp_path, [(0, 1, DAYS[0] * DAY_MS, b"7", encode_burst(BURST))])
    with pytest.raises(UserError, match="another message at offset 1 of partition 0 than Kafka: .* a folder of its own"):
        write(tmp_path, [(0, 1, DAYS[0] * DAY_MS, b"7", encode_burst(replace(BURST, tick_ms=500)))])
    assert everything(tmp_path) == [(0, 1, DAYS[0] * DAY_MS, b"7", encode_burst(BURST))]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: b"",
        lambda content: b"text",
        lambda content: content.replace(b'{"', b'("', 1),
        lambda content: content[:-100] + bytes([content[-100] ^ 1]) + content[-99:],
    ],
)
def test_damage_is_reported_with_the_file(tmp_path, damage):
    [path] = write(tmp_path, [(0, i, DAYS[0] * DAY_MS, b"7", encode_burst(BURST)) for i in range(9)])
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=f"{path} is damaged"):
        list(read(path))


def test_a_changed_reading_is_found_where_avro_finds_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(archive_files, "CODEC", "null")
    [path] = write(tmp_path, [(0, 1, DAYS[0] * DAY_MS, b"7", encode_burst(BURST))])
    path.write_bytes(path.read_bytes().replace(np.float32(1.5).tobytes(), np.float32(1.625).tobytes()))
    with path.open("rb") as file:
        assert next(fastavro.reader(file))["watts"][0] == 1.625
    with pytest.raises(UserError, match="offset 1 of partition 0 is not as it was written"):
        list(read(path))


def hours(house: int, *starts: int) -> list[Burst]:
    """An imported burst of each hour."""
    starts_ms = [DAYS[0] * DAY_MS + hour * 3_600_000 for hour in starts]
    return [replace(BURST, house_id=house, start_ms=start_ms, end_ms=start_ms + 3_600_000) for start_ms in starts_ms]


def keep(folder, *bursts: Burst) -> None:
    kept = ImportedFiles(folder)
    for burst in bursts:
        kept.add(burst)
    assert len(list(kept.complete())) == len({burst.house_id for burst in bursts})


def test_imported_bursts_are_kept_by_house_in_the_order_of_their_ends_each_once(tmp_path, blocks):
    keep(tmp_path, *hours(7, 5, 6), *hours(10**9, 5))
    keep(tmp_path, *hours(7, 0, 1, 5, 6, 9))
    found = {house: [(m.key, m.value) for m in read(path)] for house, path in imported_files(tmp_path).items()}
    assert found == {
        house: [(b"%d" % house, encode_burst(burst)) for burst in hours(house, *starts)]
        for house, starts in ((7, (0, 1, 5, 6, 9)), (10**9, (5,)))
    }
    messages = list(read(imported_files(tmp_path, 7)[7]))
    assert [imported_end_ms(message) for message in messages] == [burst.end_ms for burst in hours(7, 0, 1, 5, 6, 9)]
    assert {message.partition for message in messages} == {-7} and imported_files(tmp_path, 8) == {}
    assert files(tmp_path, DAYS) == {} and last_day(tmp_path) == -1


def test_the_last_day_of_an_archive(tmp_path):
    write(tmp_path, topic())
    assert last_day(tmp_path) == DAYS[-1]
