"""Files, folders, gzip and zip."""

import gzip
import zipfile

import pytest

from generator.channels import DatasetError
from importer.formats.sources import Source, sources


def test_files_of_folders_and_zips_in_the_order_of_their_names(tmp_path):
    (tmp_path / "b").mkdir()
    for name in ("b/2.csv", "b/1.csv", "a.csv", ".hidden"):
        (tmp_path / name).write_text(name)
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        archive.writestr("__MACOSX/x", "")
        archive.writestr("d/y.csv", "y")
    found = list(sources([tmp_path]))
    assert [source.name.removeprefix(f"{tmp_path}/") for source in found] == ["a.csv", "b/1.csv", "b/2.csv", "c.zip/d/y.csv"]
    with found[-1].open() as stream:
        assert stream.read() == b"y"
    assert found[-1].filename == "y.csv"


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("in_zip", [False, True])
def test_a_file_is_unpacked_and_has_no_byte_order_mark(tmp_path, pack, in_zip):
    path = tmp_path / "a.csv.gz"
    path.write_bytes(pack(b"\xef\xbb\xbfx,y\n1,2\n"))
    source = Source(path)
    if in_zip:
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.write(path, "in/a.csv.gz")
        source = Source(tmp_path / "a.zip", "in/a.csv.gz")
    assert source.head_lines == ["x,y", "1,2"] and source.filename == "a.csv"
    with source.local() as plain:
        assert plain.read_bytes().endswith(b"x,y\n1,2\n")


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b"1 1\n" * 1000)[:-9])
    (tmp_path / "cut.zip").write_bytes(b"PK\x03\x04 and no more")
    with (
        pytest.raises(DatasetError, match=r"cut.gz: it cannot be read .*; fetch the file again"),
        Source(tmp_path / "cut.gz").open() as stream,
    ):
        stream.read()
    with pytest.raises(DatasetError, match=r"cut.zip: it cannot be read .*; fetch the file again"):
        list(sources([tmp_path / "cut.zip"]))
    with pytest.raises(DatasetError, match="nothing: there is no such file"):
        list(sources([tmp_path / "nothing"]))
