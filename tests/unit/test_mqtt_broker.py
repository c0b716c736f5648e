"""Why there is no connection, in words."""

import ssl

import pytest

from smartmeter.mqtt_broker import why


@pytest.mark.parametrize(
    "error, sentence",
    [
        (
            ConnectionRefusedError(111, "Connection refused"),
            "no connection (Connection refused): check that it runs, and its host and port",
        ),
        (TimeoutError("timed out"), "it does not answer within 10 s: check host and port"),
        (ssl.SSLError(1, "wrong version number"), "it takes no TLS at this port: write mqtt:// in place of mqtts://, or its port for TLS"),
        (ValueError("Invalid host."), "no connection (Invalid host.): check that it runs, and its host and port"),
    ],
)
def test_why(error, sentence):
    assert why(error, tls=False) == sentence


def test_a_certificate_that_has_expired():
    error = ssl.SSLCertVerificationError(1, "x")
    error.verify_message = "certificate has expired"
    assert why(error, tls=True).startswith("its certificate is not trusted (certificate has expired): set ca to ")


def test_a_port_without_tls_resets_the_connection():
    assert why(ConnectionResetError(104, "Connection reset by peer"), tls=True).startswith("it takes no TLS at this port: ")
