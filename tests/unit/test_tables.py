"""Blocks of text tables and Parquet, the same whatever their size and form."""

import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from generator.channels import DatasetError
from importer.formats import tables
from importer.formats.series import Faults
from importer.formats.tables import Layout, layout_of
from tests.unit.importing import written

FIELD = st.text(st.characters(codec="ascii", exclude_characters='\r\n\x00,;\t|"'), max_size=6).map(str.strip)


def read(source, layout, wanted, faults=None):
    rows = []
    for block in tables.text_blocks(source, layout, wanted, faults or Faults()):
        rows += zip(block.lines.tolist(), *(block.columns[name].to_pylist() for name in wanted))
    return rows


@given(
    st.lists(st.tuples(FIELD, FIELD, FIELD), min_size=1, max_size=20),
    st.sampled_from(",;\t|"),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["", "Report of a utility\n\n"]),
    st.booleans(),
    st.integers(1, 60),
)
def test_rows_are_found_whatever_the_form(tmp_path_factory, rows, separator, end, preface, quoted, block_bytes):
    text = preface + end.join(separator.join(f'"{field}"' if quoted else field for field in row) for row in [("time", "a b", "c"), *rows])
    source = written(tmp_path_factory.mktemp("table"), "t.csv", text)
    layout = layout_of(source, {"time", "c"})
    assert layout == Layout(separator, ("time", "a b", "c"), 1 + preface.count("\n"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "BLOCK_BYTES", block_bytes)
        found = read(source, layout, ["c", "time"])
    first = layout.header_lines + 1
    expected = [(number, c, time) for number, (time, _, c) in enumerate(rows, first)]
    assert [(number, c.strip(), time.strip()) for number, c, time in found] == expected


def test_lines_with_other_fields_than_the_header_are_named(tmp_path):
    source = written(tmp_path, "t.csv", "time,w\n1,2\n\n3\n4,5,6\n7,8")
    layout, listed = layout_of(source, ["w"]), tmp_path / "bad"
    with pytest.raises(DatasetError, match=r"t.csv:4: '3' has 1 fields, not 2; correct the line, or leave such lines out with --skip-bad"):
        read(source, layout, ["w"])
    assert read(source, layout, ["w"], Faults(listed)) == [(2, "2"), (6, "8")]
    assert listed.read_text().count("t.csv:") == 2 and "t.csv:5: '4,5,6' has 3 fields, not 2" in listed.read_text()


def test_a_return_in_the_midst_of_a_line_takes_no_other_line_with_it(tmp_path):
    source, listed = written(tmp_path, "t.csv", b"time,w\n1,2\n3\r3,4\n5,6\n"), tmp_path / "bad"
    assert read(source, layout_of(source, ["w"]), ["w"], Faults(listed)) == [(2, "2"), (4, "6")]
    assert listed.read_text().startswith(f"{source.path}:3: '3\\r3,4' has 1 fields, not 2")


@pytest.mark.parametrize("rest", ["", "\n"])
def test_a_line_of_tabs_is_a_row_of_empty_fields_whatever_follows(tmp_path, rest):
    source = written(tmp_path, "t.csv", f"time\tw\n\t\n1\t2\n{rest}")
    assert read(source, layout_of(source, ["w"]), ["w"]) == [(2, ""), (3, "2")]


@pytest.mark.parametrize("blank", ["", " "])
def test_blank_lines_are_counted_and_no_rows(tmp_path, blank):
    source = written(tmp_path, "t.csv", f"time,w\n1,2\n\n{blank}\n3,4\n")
    assert read(source, layout_of(source, ["w"]), ["w", "time"]) == [(2, "2", "1"), (5, "4", "3")]


def test_bytes_that_are_no_utf8_and_columns_of_one_name(tmp_path):
    source = written(tmp_path, "t.csv", b"w,w,K\xfcche\n1,2,K\xfcche\n")
    assert read(source, layout_of(source, ["w"]), ["w"]) == [(2, "1")]


@pytest.mark.parametrize("block_rows", [1, 2, 10])
def test_parquet(tmp_path, monkeypatch, block_rows):
    monkeypatch.setattr(tables, "BLOCK_ROWS", block_rows)
    path = tmp_path / "t.parquet"
    pyarrow.parquet.write_table(pa.table({"a": [1, 2, 3], "b": ["x", "y", "z"], "c": [None, 1.5, 2]}), path, use_dictionary=True)
    source = written(tmp_path, "u.parquet", path.read_bytes())
    assert tables.is_parquet(source) and tables.columns_of_parquet(source) == ["a", "b", "c"]
    rows = [
        row
        for block in tables.parquet_blocks(source, ["c", "b"])
        for row in zip(block.lines.tolist(), block.columns["c"].to_pylist(), block.columns["b"].to_pylist())
    ]
    assert rows == [(1, None, "x"), (2, 1.5, "y"), (3, 2.0, "z")]
    cut = written(tmp_path, "cut.parquet", path.read_bytes()[:-20])
    with pytest.raises(DatasetError, match="cut.parquet: it is no whole Parquet file"):
        list(tables.parquet_blocks(cut, ["b"]))
