"""What is packed for a cluster."""

import io
import py_compile
import tarfile
import zipfile
from importlib.util import cache_from_source
from pathlib import Path

import lz4

from smartmeter.settings import ROOT
from stack.packages import CODE_FOLDERS, FLINK_ITSELF, SITE_PACKAGES, add_interpreter, files_of, packed_code, required


def test_dependencies_are_added_without_extras_and_without_flink_itself():
    names = {package.metadata["Name"].lower() for package in required(("numba", "httpx"))}
    assert {"numba", "numpy", "llvmlite", "httpx", "anyio", "certifi"} <= names
    assert FLINK_ITSELF not in {package.metadata["Name"] for package in required((FLINK_ITSELF, "lz4"))}


def test_an_imported_source_goes_with_what_python_keeps_of_it():
    py_compile.compile(lz4.__file__)  # as an import does, unless PYTHONDONTWRITEBYTECODE is set
    [package] = required(("lz4",))
    files = {name: path for path, name in files_of(package)}
    assert len(files) == len(list(files_of(package))) and all(Path(path).is_file() for path in files.values())
    assert files[str(SITE_PACKAGES / "lz4" / "__init__.py")] == lz4.__file__
    assert files[str(SITE_PACKAGES / cache_from_source("lz4/__init__.py"))] == lz4.__cached__


def test_a_folder_of_packages_becomes_an_environment_of_its_interpreter():
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        add_interpreter(archive, "/usr/bin/python3.11")
    packed.seek(0)
    with tarfile.open(fileobj=packed) as archive:
        assert archive.getmember("bin/python").linkname == "/usr/bin/python3.11"
        assert archive.extractfile("pyvenv.cfg").read() == b"home = /usr/bin\n"


def test_the_code_is_packed_without_pythons_own_cache(tmp_path):
    names = zipfile.ZipFile(packed_code(tmp_path)).namelist()
    assert {"jobs/pipeline.py", "smartmeter/settings.py", "avro/late.avsc"} <= set(names)
    assert {name.split("/")[0] for name in names} == set(CODE_FOLDERS) and not [name for name in names if name.endswith(".pyc")]
    assert all((ROOT / name).is_file() for name in names)
