"""What is packed for a cluster."""

import io
import tarfile
import zipfile

from smartmeter.settings import ROOT
from stack.packages import CODE_FOLDERS, FLINK_ITSELF, add_interpreter, packed_code, required


def test_dependencies_are_added_without_extras_and_without_flink_itself():
    names = {package.metadata["Name"].lower() for package in required(("numba", "httpx"))}
    assert {"numba", "numpy", "llvmlite", "httpx", "anyio", "certifi"} <= names
    assert FLINK_ITSELF not in {package.metadata["Name"] for package in required((FLINK_ITSELF, "lz4"))}


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
