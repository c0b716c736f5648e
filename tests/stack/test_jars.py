"""The jars of pom.xml: what reads Kafka in Flink has all that it needs for Kafka's codecs."""

from __future__ import annotations

import re
import sysconfig
import zipfile
from pathlib import Path

import pytest

from smartmeter.settings import JARS, ROOT

CODEC_CLASSES = {
    "zstd": "com/github/luben/zstd/ZstdInputStreamNoFinalizer",
    "snappy": "org/xerial/snappy/SnappyInputStream",
    "lz4": "net/jpountz/lz4/LZ4SafeDecompressor",
}
USED_BY = {"zstd": "ZstdCompression", "snappy": "SnappyCompression", "lz4": "Lz4BlockInputStream"}
COMPRESS = "org/apache/flink/kafka/shaded/org/apache/kafka/common/compress"


@pytest.fixture(scope="module")
def connector():
    [path] = (JARS / "flink").glob("flink-sql-connector-kafka-*.jar")
    with zipfile.ZipFile(path) as jar:
        yield jar


@pytest.mark.parametrize("codec", CODEC_CLASSES)
def test_the_classes_of_a_codec_are_there_under_the_name_that_the_connector_has_for_them(connector, codec):
    assert CODEC_CLASSES[codec].encode() in connector.read(f"{COMPRESS}/{USED_BY[codec]}.class")
    found = [*(JARS / "flink").glob("*.jar"), *Path(sysconfig.get_path("purelib"), "pyflink", "lib").glob("*.jar")]
    assert any(f"{CODEC_CLASSES[codec]}.class" in zipfile.ZipFile(jar).namelist() for jar in found)


def test_the_versions_are_those_of_the_client_in_the_connector(connector):
    pom = (ROOT / "pom.xml").read_text()
    client, zstd = (re.search(f"<connector.{name}>(.+)</connector.{name}>", pom)[1] for name in ("kafka-clients", "zstd-jni"))
    assert f"- org.apache.kafka:kafka-clients:{client}\n" in connector.read("META-INF/NOTICE").decode(), (
        "see which zstd-jni the new client names"
    )
    assert (JARS / "flink" / f"zstd-jni-{zstd}.jar").is_file()
