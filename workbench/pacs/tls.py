"""TLS 1.2 or later with both sides proved (BCP 195, PS3.15 annex B), for nodes and for callers."""

import hashlib
import ssl
from pathlib import Path
from typing import Any, Protocol

from catalog.errors import SettingsError


class Certified(Protocol):
    """A node whose certificate is checked, and to which this bench may show its own."""

    @property
    def name(self) -> str:
        """What the settings call it."""
        ...

    @property
    def ca_file(self) -> Path | None:
        """Certificates (PEM) that the node's is checked against; those of the system when there is none."""
        ...

    @property
    def client_certificate(self) -> Path | None:
        """Certificate (PEM) this bench shows."""
        ...

    @property
    def client_key(self) -> Path | None:
        """Its key, where that is a file of its own."""
        ...


def client_context(node: Certified) -> ssl.SSLContext:
    """What a node is called with: its certificate and the name of its host are checked.

    Raises
    ------
    catalog.errors.SettingsError
        If a file of its settings cannot be read, or is no certificate or key.
    """
    try:
        context = ssl.create_default_context(cafile=node.ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if node.client_certificate is not None:
            context.load_cert_chain(node.client_certificate, node.client_key, password=_no_password)
    except ssl.SSLError:
        raise SettingsError(
            f"node {node.name}: its certificate files are no certificates with their key"
        ) from None
    except (OSError, ValueError):
        raise SettingsError(f"node {node.name}: its certificate files cannot be read") from None
    return context


def server_context(certificate: Path, key: Path | None, authorities: Path) -> ssl.SSLContext:
    """What callers are met with: they prove who they are, too.

    Raises
    ------
    OSError
        If a file cannot be read, or is no certificate or key.
    ValueError
        If the key is encrypted.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(certificate, key, password=_no_password)
    context.load_verify_locations(authorities)
    return context


def callers_context(node: Certified) -> ssl.SSLContext | None:
    """What a node is met with that calls back; `None` where this bench has no certificate to show.

    Raises
    ------
    catalog.errors.SettingsError
        If a file of its settings cannot be read, or is no certificate or key.
    """
    if node.client_certificate is None or node.ca_file is None:
        return None
    try:
        return server_context(node.client_certificate, node.client_key, node.ca_file)
    except (OSError, ValueError):
        raise SettingsError(f"node {node.name}: its certificate files cannot be used") from None


def certificate_of(wire: Any) -> str:
    """SHA-256 of the certificate a caller proved to hold, as 64 hexadecimal digits; empty without TLS."""
    held = wire.getpeercert(binary_form=True) if isinstance(wire, ssl.SSLSocket) else None
    return hashlib.sha256(held).hexdigest() if held else ""


def _no_password() -> str:
    raise ValueError("the key is encrypted")
