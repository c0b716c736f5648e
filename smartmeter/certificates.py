"""Files of the certificate authorities to trust, checked when they are used."""

from __future__ import annotations

import ssl

from smartmeter.errors import UserError


def trusted(file: str, variable: str) -> str | None:
    """The PEM file of certificate authorities that a variable names; None if it names none, for the system's.

    Raises UserError if the file cannot be read or holds no certificates.
    """
    if not file:
        return None
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except OSError:  # includes ssl's own errors
        raise UserError(f"{variable}={file}: it takes a PEM file of certificates that can be read") from None
    return file
