"""The key that the local stack's Flink and its page share. With it, Flink's REST port accepts no other client (mutual TLS).

A port at the loopback address is not a secret: a web page can try all of them. Each start makes a new key, which only this user can read.
"""

from __future__ import annotations

import ipaddress
import ssl
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12

PASSWORD = "the-mode-of-the-file-protects-it"
"""Java's key stores require a password, and the command line shows it. The mode of the file protects the key."""
FROM, TO = datetime(2000, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
"""Valid at any clock time; a key is used as long as its Flink runs."""


def make(folder: Path) -> None:
    """Make a key, and its certificate for 127.0.0.1, in the file formats of Python and Java."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)  # Flink's own cipher suites are for RSA
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "flink")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(FROM)
        .not_valid_after(TO)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    locked = serialization.BestAvailableEncryption(PASSWORD.encode())
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    for file, content in (
        ("flink.pem", pem + certificate.public_bytes(serialization.Encoding.PEM)),
        ("flink.p12", pkcs12.serialize_key_and_certificates(b"flink", key, certificate, None, locked)),
        ("trusted.p12", pkcs12.serialize_java_truststore([pkcs12.PKCS12Certificate(certificate, b"flink")], locked)),
    ):
        (folder / file).unlink(missing_ok=True)
        (folder / file).touch(mode=0o600)
        (folder / file).write_bytes(content)


def flink_options(folder: Path) -> dict[str, str]:
    """Flink options for TLS with clients that have the key, and no others."""
    return {
        "security.ssl.rest.enabled": "true",
        "security.ssl.rest.authentication-enabled": "true",
        "security.ssl.rest.keystore": str(folder / "flink.p12"),
        "security.ssl.rest.keystore-password": PASSWORD,
        "security.ssl.rest.key-password": PASSWORD,
        "security.ssl.rest.truststore": str(folder / "trusted.p12"),
        "security.ssl.rest.truststore-password": PASSWORD,
    }


def client_context(folder: Path) -> ssl.SSLContext:
    """The TLS context of a client that presents the key, and trusts its certificate."""
    context = ssl.create_default_context(cafile=folder / "flink.pem")
    context.load_cert_chain(folder / "flink.pem")
    return context
