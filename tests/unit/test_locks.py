"""A lock between processes: each opening of a file holds a lock of its own, as another process would."""

import os
import threading

import pytest

from smartmeter.locks import exclusive


@pytest.mark.parametrize("kind", ["folder", "new file"])
def test_only_one_holds_it_until_it_is_released(tmp_path, kind):
    path = tmp_path if kind == "folder" else tmp_path / "lock"
    with exclusive(path), pytest.raises(BlockingIOError), exclusive(path):
        pass
    with exclusive(path):
        pass
    assert kind == "folder" or oct(os.stat(path).st_mode & 0o777) == "0o600"


def test_another_waits_for_it(tmp_path):
    order, waiting = [], threading.Event()

    def second():
        waiting.set()
        with exclusive(tmp_path, wait=True):
            order.append("second")

    thread = threading.Thread(target=second)
    with exclusive(tmp_path):
        thread.start()
        waiting.wait()
        thread.join(timeout=0.1)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_a_path_that_cannot_be_used(tmp_path):
    with pytest.raises(FileNotFoundError), exclusive(tmp_path / "none" / "lock"):
        pass
    with pytest.raises(FileNotFoundError), exclusive(tmp_path / "file", create=False):
        pass
    assert not (tmp_path / "file").exists()
