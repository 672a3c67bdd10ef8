"""Whether the certificate of a server is for the host that was asked for."""

from __future__ import annotations

from typing import Any

from service_identity import CertificateError
from service_identity.pyopenssl import verify_hostname, verify_ip_address
from twisted.internet.abstract import isIPAddress, isIPv6Address


def check_certificate(transport: Any, host: str) -> None:
    """Raise an error unless the peer's certificate names this host among its alternative names.

    Twisted checks that as well, but lets a certificate pass that has no such names, or names that
    cannot be read: the error of its check is only logged. Then any certificate of a trusted
    authority would do for any host.
    """
    connection = transport.getHandle()
    if connection.get_peer_certificate() is None:
        raise CertificateError("the server has shown no certificate")
    verify = verify_ip_address if isIPAddress(host) or isIPv6Address(host) else verify_hostname
    verify(connection, host)
