"""The spool keeps what was written until it is delivered, in order, through any end of its process."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from gateway.disk_spool import BY_ARRIVAL, ENTRY, Spool
from smartmeter.errors import UserError


def entries(*numbers, house_id=1):
    return np.array([(house_id, 1000 + n, BY_ARRIVAL, n, 2, n % 65535 + 1, n / 2, n % 3, 2**53 + n, 0) for n in numbers], ENTRY)


def numbers(found):
    return found["digest"].tolist()


def test_what_is_not_delivered_is_read_again(tmp_path):
    with Spool(tmp_path, 10**6) as spool:
        spool.append(entries(0, 1, 2))
        assert numbers(spool.read(2)) == [0, 1] and spool.waiting == 3
        spool.mark_delivered(2)
    with Spool(tmp_path, 10**6) as spool:
        assert (spool.waiting, numbers(spool.read(9)), numbers(spool.newest())) == (1, [2], [0, 1, 2])
        assert spool.read(9)[["watts", "quantity", "mwh"]].tolist() == [(1.0, 2, 2**53 + 2)]


def test_files_that_are_delivered_are_deleted_but_for_the_newest(tmp_path):
    with Spool(tmp_path, 10**6, file_entries=10) as spool:
        for n in range(0, 100, 4):
            spool.append(entries(*range(n, n + 4)))
        assert len(list(tmp_path.glob("*.entries"))) == 9
        assert numbers(spool.read(50)) == list(range(50))
        spool.mark_delivered(50)
        assert numbers(spool.read(100)) == list(range(50, 100))
        spool.mark_delivered(50)
        assert len(list(tmp_path.glob("*.entries"))) == 2
    with Spool(tmp_path, 10**6, file_entries=10) as spool:
        assert spool.waiting == 0
        spool.append(entries(100))
        assert numbers(spool.read(9)) == [100]


@pytest.mark.parametrize("cut", [1, 59, 60, 61, 119])
def test_an_entry_that_was_cut_off_is_no_entry(tmp_path, cut):
    with Spool(tmp_path, 10**6) as spool:
        spool.append(entries(0, 1, 2))
    [file] = tmp_path.glob("*.entries")
    file.write_bytes(file.read_bytes()[:-cut])
    with Spool(tmp_path, 10**6) as spool:
        kept = 3 - -(-cut // 60)
        assert spool.waiting == kept
        spool.append(entries(7))
        assert numbers(spool.read(9)) == [*range(kept), 7]


def test_pages_that_the_disk_never_wrote_are_no_entries(tmp_path):
    with Spool(tmp_path, 10**6) as spool:
        spool.append(entries(0, 1))
    [file] = tmp_path.glob("*.entries")
    file.write_bytes(file.read_bytes()[:60] + bytes(600))
    with Spool(tmp_path, 10**6) as spool:
        assert numbers(spool.read(9)) == [0]


POWER_ENTRIES = bytes.fromhex(
    "070000000000000000505c18a3010000184c5c18a3010000000000000000008003000000000000000000cec1624b60ee"
    "070000000000000001505c18a3010000000000000000008001000000000000800300000001000000000000008465cf5b"
    "070000000000000002505c18a30100000000000000000080020000000000008003000000020000000000ce4195dfab4a"
)
"""Three entries as gateways wrote them before they took registers."""


@pytest.mark.parametrize("cut, after", [(0, 3), (5, 2)])
def test_a_folder_from_before_registers_is_read(tmp_path, cut, after):
    (tmp_path / f"{0:020d}.readings").write_bytes(POWER_ENTRIES[: len(POWER_ENTRIES) - cut])
    (tmp_path / "delivered").write_text("1")
    for _ in range(2):
        with Spool(tmp_path, 10**6) as spool:
            found = spool.read(9)
            assert found["arrived_ms"].tolist() == [1_800_000_000_000 + n for n in range(1, after)]
            assert found["digest"].tolist() == [2**63 + n for n in range(1, after)]
            assert found[["house_id", "device_ms", "meter_id", "message_id", "watts", "quantity", "mwh"]].tolist() == [
                (7, BY_ARRIVAL, 3, n, 25.75 * (n - 1), 0, 0) for n in range(1, after)
            ]
            assert spool.newest()[0]["device_ms"] == 1_799_999_999_000 and spool.floor_ms(7) == 1_800_000_000_000 + after
    assert sorted(file.name for file in tmp_path.glob("0*")) == [f"{0:020d}.entries"]


def test_room(tmp_path):
    with Spool(tmp_path, 5 * ENTRY.itemsize) as spool:
        assert spool.room() == 5
        spool.append(entries(0, 1, 2))
        assert spool.room() == 2
        spool.mark_delivered(3)
        assert spool.room() == 5


def test_readings_of_a_house_arrive_after_those_that_were_read(tmp_path):
    with Spool(tmp_path, 10**6) as spool:
        spool.append(entries(5))
        spool.append(entries(9, house_id=2))
        assert spool.floor_ms(1) == 0
        spool.read(1)
        assert (spool.floor_ms(1), spool.floor_ms(2)) == (1006, 0)
    with Spool(tmp_path, 10**6) as spool:
        assert (spool.floor_ms(1), spool.floor_ms(2)) == (1006, 1010)


def test_a_folder_has_one_gateway(tmp_path):
    with Spool(tmp_path, 10**6), pytest.raises(UserError, match="another gateway uses"), Spool(tmp_path, 10**6):
        pass


def test_a_disk_that_fails_is_one_sentence(tmp_path):
    with Spool(tmp_path, 10**6) as spool:
        spool._file.close()
        spool._file = Path("/dev/full").open("wb", buffering=0)  # noqa: SIM115
        with pytest.raises(UserError, match="cannot be written .No space left"):
            spool.append(entries(0))
        assert spool.waiting == 0


def test_nothing_is_read_while_readings_are_stamped_and_appended(tmp_path):
    with Spool(tmp_path, 10**6) as spool, ThreadPoolExecutor(1) as pool:
        spool.append(entries(5))
        with spool.moving:
            read = pool.submit(spool.read, 9)
            assert spool.floor_ms(1) == 0
            spool.append(entries(5))
        assert numbers(read.result()) == [5, 5]
