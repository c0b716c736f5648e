"""The key that Flink and its page share."""

import socket
import ssl
import threading
from pathlib import Path

import pytest

from stack import rest_keys


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("home") / "keys"
    rest_keys.make(folder)
    return folder


def test_only_this_user_can_read_it(folder):
    assert {file.name: oct(file.stat().st_mode & 0o777) for file in folder.iterdir()} == dict.fromkeys(
        ("flink.pem", "flink.p12", "trusted.p12"), "0o600"
    )
    assert oct(folder.stat().st_mode & 0o777) == "0o700"
    assert {str(folder / "flink.p12"), str(folder / "trusted.p12")} <= set(rest_keys.flink_options(folder).values())


def test_a_server_with_it_accepts_a_client_with_it_and_no_other(folder):
    server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=folder / "flink.pem")
    server_context.load_cert_chain(folder / "flink.pem")
    server_context.verify_mode = ssl.CERT_REQUIRED

    def answer(context: ssl.SSLContext) -> bytes:
        with socket.create_server(("127.0.0.1", 0)) as server:
            thread = threading.Thread(target=serve, args=(server,))
            thread.start()
            try:
                with (
                    socket.create_connection(server.getsockname()) as plain,
                    context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
                ):
                    return connection.recv(9)
            finally:
                thread.join()

    def serve(server):
        try:
            with server_context.wrap_socket(server.accept()[0], server_side=True) as connection:
                connection.sendall(b"welcome")
        except ssl.SSLError:
            pass

    assert answer(rest_keys.client_context(folder)) == b"welcome"
    with pytest.raises((ssl.SSLError, ConnectionError)):
        answer(ssl.create_default_context(cafile=folder / "flink.pem"))
    with pytest.raises(ssl.SSLError):
        answer(ssl.create_default_context())
