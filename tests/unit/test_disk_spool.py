"""The spool keeps what was written until it is delivered, in order, through any end of its process."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from gateway.disk_spool import BY_ARRIVAL, ENTRY, Spool
from smartmeter.errors import UserError


def entries(*numbers, house_id=1):
    return np.array([(house_id, 1000 + n, BY_ARRIVAL, n, 2, n % 65535 + 1, n / 2, 0) for n in numbers], ENTRY)


def numbers(found):
    return found["digest"].tolist()


def test_what_is_not_delivered_is_read_again(tmp_path):
    with Spool(tmp_path, 10**6) as spool:
        spool.append(entries(0, 1, 2))
        assert numbers(spool.read(2)) == [0, 1] and spool.waiting == 3
        spool.mark_delivered(2)
    with Spool(tmp_path, 10**6) as spool:
        assert (spool.waiting, numbers(spool.read(9)), numbers(spool.newest())) == (1, [2], [0, 1, 2])
        assert spool.read(9)["watts"].tolist() == [1.0]


def test_files_that_are_delivered_are_deleted_but_for_the_newest(tmp_path):
    with Spool(tmp_path, 10**6, file_entries=10) as spool:
        for n in range(0, 100, 4):
            spool.append(entries(*range(n, n + 4)))
        assert len(list(tmp_path.glob("*.readings"))) == 9
        assert numbers(spool.read(50)) == list(range(50))
        spool.mark_delivered(50)
        assert numbers(spool.read(100)) == list(range(50, 100))
        spool.mark_delivered(50)
        assert len(list(tmp_path.glob("*.readings"))) == 2
    with Spool(tmp_path, 10**6, file_entries=10) as spool:
        assert spool.waiting == 0
        spool.append(entries(100))
        assert numbers(spool.read(9)) == [100]


@pytest.mark.parametrize("cut", [1, 47, 48, 49, 95])
def test_an_entry_that_was_cut_off_is_no_entry(tmp_path, cut):
    with Spool(tmp_path, 10**6) as spool:
        spool.append(entries(0, 1, 2))
    [file] = tmp_path.glob("*.readings")
    file.write_bytes(file.read_bytes()[:-cut])
    with Spool(tmp_path, 10**6) as spool:
        kept = 3 - -(-cut // 48)
        assert spool.waiting == kept
        spool.append(entries(7))
        assert numbers(spool.read(9)) == [*range(kept), 7]


def test_pages_that_the_disk_never_wrote_are_no_entries(tmp_path):
    with Spool(tmp_path, 10**6) as spool:
        spool.append(entries(0, 1))
    [file] = tmp_path.glob("*.readings")
    file.write_bytes(file.read_bytes()[:48] + bytes(480))
    with Spool(tmp_path, 10**6) as spool:
        assert numbers(spool.read(9)) == [0]


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
