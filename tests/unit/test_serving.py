"""Where a server listens, and its certificate."""

from __future__ import annotations

import pytest

from smartmeter.errors import UserError
from smartmeter.serving import listener, why_no_certificate
from tests.certificates import Authority


def test_a_port_that_is_taken_and_an_address_that_is_not_ours():
    with listener("127.0.0.1", 0, "SMW_PORT") as held:
        port = held.getsockname()[1]
        held.listen()
        with pytest.raises(
            UserError, match=f"^Port {port} on 127.0.0.1 is taken; stop the program that uses it, or set SMW_PORT to another port$"
        ):
            listener("127.0.0.1", port, "SMW_PORT")
    with pytest.raises(UserError, match="^Cannot listen on 192.0.2.1:80 .*; set SMW_PORT to another port$"):
        listener("192.0.2.1", 80, "SMW_PORT")


def test_a_certificate_and_its_key(tmp_path):
    authority = Authority(tmp_path)
    certificate, key = (str(file) for file in authority.issue("127.0.0.1"))
    assert why_no_certificate(certificate, key) is None
    _, other = authority.issue("localhost")
    assert "mismatch" in why_no_certificate(certificate, str(other)).lower()
    assert why_no_certificate(certificate, "") == "No such file or directory"
