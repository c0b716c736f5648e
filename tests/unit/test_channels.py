"""Channel files: every form of one is read, and a bad line is named."""

import gzip

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from generator import channels
from generator.channels import AS_WATTS, Channel, DatasetError, ReadingOptions, read_channel
from smartmeter import reports
from tests.unit.channel_files import NOON, house

STRICT = ReadingOptions(strict=True)


def read(path, options=AS_WATTS):
    times, watts = zip(*read_channel(Channel(path, options)))
    return np.concatenate(times).tolist(), np.concatenate(watts).tolist()


MISSING = st.sampled_from(["nan", "?", "NULL", "-"])


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 10**6) | MISSING), min_size=1, max_size=40),
    st.sampled_from([" ", "\t", ",", ";", " , "]),
    st.sampled_from(["", "unix watts\n", "\ufeff", "\n\n"]),
    st.sampled_from(["", "000"]),
    st.integers(1, 50),
)
def test_whatever_the_form_the_readings_are_those_that_a_plain_reader_finds(tmp_path_factory, rows, separator, head, finer, chunk_rows):
    path = tmp_path_factory.mktemp("form") / "channel_1.dat"
    path.write_text(head + "".join(f"{NOON + second}{finer}{separator}{power}\n" for second, power in rows))
    expected: dict[int, int] = {}
    for second, power in rows:
        if isinstance(power, int):
            expected.setdefault((NOON + second) * 1000, power)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(channels, "CHUNK_ROWS", chunk_rows)
        try:
            found = [reading for times, watts in read_channel(Channel(path)) for reading in zip(times.tolist(), watts.tolist())]
        except DatasetError as error:
            assert "the time goes back over more than" in str(error) and len(rows) > chunk_rows
            return
    assert found == sorted(expected.items())


def test_repeated_time_keeps_the_first_reading(tmp_path, caplog):
    folder = house(tmp_path, c1="5 1\n5 2\n6 3\n")
    assert read(folder / "channel_1.dat") == ([5000, 6000], [1.0, 3.0])
    assert "channel_1.dat:2: 1 readings at the same time" in caplog.text


@pytest.mark.parametrize(
    "text, line, fault",
    [
        ("1 1\nwatts\n", 2, "'watts': not two numbers"),
        ("1 1\n\n2 x\n", 3, "'2 x': not two numbers"),
        ("1 1\n2 2 2\n", 2, "not two numbers"),
        ("1 1\n2\n", 2, "not two numbers"),
        ("1 1\n3,\n", 2, "not two numbers"),
        ("1,1\n2,,\n", 2, "not two numbers"),
        ("1 1\nnan 1\n", 2, "the time is not in Unix seconds"),
        ("1 1\n-2 1\n", 2, "the time is not in Unix seconds"),
        ("1 1\n1303132929000 1\n", 2, "the time is not in Unix seconds"),
        ("1303132929000 1\n1303132930 1\n", 2, "the time is not in Unix milliseconds"),
        ("7" * 24 + " 1\n", 1, "the time is not in Unix seconds"),
    ],
)
@pytest.mark.parametrize("options", [AS_WATTS, STRICT])
def test_bad_line_is_named(tmp_path, text, line, fault, options):
    path = house(tmp_path, c1=text) / "channel_1.dat"
    with pytest.raises(DatasetError) as error:
        read(path, options)
    assert str(error.value).startswith(f"{path}:{line}: ") and fault in str(error.value)


@pytest.mark.parametrize(
    "text, line, fault, used, note",
    [
        ("1 1\n3 1\n2 1\n", 3, "the time goes backwards, from 3", [1, 1, 1], "1 readings earlier than one before them: sorted in"),
        ("1 1\n1 2\n", 2, "a second reading at that time", [1], "1 readings at the same time as the one before them: left out"),
        (
            "1 1\n2 -2e9\n",
            2,
            "-2e+09 W: more than a gigawatt",
            [1, -2e9],
            "1 readings that are no number or over a gigawatt: the job refuses",
        ),
        ("1 1\n2 4294967295\n", 2, "more than a gigawatt", [1, 2**32], "1 readings that are no number or over a gigawatt: the job refuses"),
        ("1 inf\n", 1, "more than a gigawatt", [np.inf], "1 readings that are no number or over a gigawatt: the job refuses"),
        ("1 1\n\n2 nan\n", 3, "the power is missing", [1], "1 missing values: left out"),
        ("1 1\n2 ?\n3 1\n4 NULL\n", 2, "the power is missing", [1, 1], "2 missing values: left out (this is the first)"),
        ("t;p\n1;1\n2;\n", 3, "the power is missing", [1], "1 missing values: left out"),
    ],
)
def test_repaired_and_skipped_lines_are_reported_and_strict_mode_rejects_them(tmp_path, caplog, monkeypatch, text, line, fault, used, note):
    path = house(tmp_path, c1=text) / "channel_1.dat"
    monkeypatch.setenv(reports.FILE, str(tmp_path / "report.jsonl"))
    assert read(path)[1] == used
    assert f"note: {path}:{line}: {note}" in caplog.text
    assert f"{path}:{line}: {note}" in reports.read(tmp_path / "report.jsonl").notes[0]
    caplog.clear()
    with pytest.raises(DatasetError) as error:
        read(path, STRICT)
    assert str(error.value).startswith(f"{path}:{line}: ") and fault in str(error.value) and not caplog.text


def test_time_that_goes_backwards_between_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(channels, "CHUNK_ROWS", 1)
    path = house(tmp_path, c1="2 1\n1 2\n") / "channel_1.dat"
    with pytest.raises(DatasetError, match="channel_1.dat:2: '1 2': the time goes backwards, from 2"):
        read(path, STRICT)
    assert read(path) == ([1000, 2000], [2, 1])


def test_time_that_goes_back_too_far_to_be_sorted(tmp_path, monkeypatch):
    monkeypatch.setattr(channels, "CHUNK_ROWS", 2)
    path = house(tmp_path, c1="3 1\n4 1\n5 1\n6 1\n7 1\n1 1\n") / "channel_1.dat"
    with pytest.raises(DatasetError, match="channel_1.dat: the time goes back over more than 2 readings; sort the lines"):
        read(path)


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_empty_channel_file(tmp_path, text):
    path = house(tmp_path, c1=text) / "channel_1.dat"
    with pytest.raises(DatasetError, match="channel_1.dat: no reading in it; remove the file"):
        read(path)


def test_truncated_gzip(tmp_path):
    path = house(tmp_path) / "channel_1.dat.gz"
    path.write_bytes(gzip.compress(b"1 1\n" * 100)[:-9])
    with pytest.raises(DatasetError, match="channel_1.dat.gz: it cannot be read .* fetch the file again"):
        read(path)
