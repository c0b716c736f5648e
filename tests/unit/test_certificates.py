"""Files of certificate authorities, where they are used."""

import pytest

from smartmeter.certificates import trusted
from smartmeter.errors import UserError
from smartmeter.kafka import connection
from smartmeter.settings import Settings
from stack import services
from store.client import reader, writer


def test_no_file_stands_for_the_authorities_of_the_system():
    assert trusted("", "SMW_KAFKA_CA") is None


@pytest.mark.parametrize("file", ["ca.pem", __file__])
@pytest.mark.parametrize("use", [connection.client, connection.java_client, connection.admin, connection.require_broker])
def test_a_file_that_is_no_pem_is_named_by_what_connects_to_kafka(use, file):
    settings = Settings().but(kafka="127.0.0.1:1", kafka_tls=True, kafka_ca=file)
    with pytest.raises(UserError) as refused:
        use(settings)
    assert str(refused.value) == f"SMW_KAFKA_CA={file}: it takes a PEM file of certificates that can be read"


@pytest.mark.parametrize("use", [reader, writer, services.endpoint_answers])
def test_a_file_that_is_no_pem_is_named_by_what_connects_to_clickhouse(use):
    settings = Settings().but(clickhouse_url="https://127.0.0.1:1", clickhouse_ca="ca.pem")
    with pytest.raises(UserError) as refused:
        use(settings)
    assert str(refused.value) == "SMW_CLICKHOUSE_CA=ca.pem: it takes a PEM file of certificates that can be read"
