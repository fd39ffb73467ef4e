"""Who may ask what of this bench: an AE title is a name, so that address or certificate must fit it."""

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass

from catalog.vocabulary import OnConflict

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Caller:
    """One application entity as the settings have it."""

    name: str
    """Of its node; empty for whoever is on this machine."""
    ae_title: str
    """Empty where any does."""
    addresses: Container[str]
    certificate: str
    """SHA-256 of its certificate, 64 hexadecimal digits; where there is one, the address is not looked at."""
    may: frozenset[str]
    on_conflict: OnConflict = OnConflict.FIRST
    """What becomes of what it sends under a known SOP Instance UID with other bytes."""

    def fits(self, ae_title: str, address: str, certificate: str) -> bool:
        """Whether this is who calls."""
        if self.ae_title not in ("", ae_title):
            return False
        if self.certificate:
            return self.certificate.lower().replace(":", "") == certificate
        return address in self.addresses


ANYONE_HERE = Caller("", "", frozenset({LOOPBACK, "::1"}), "", frozenset({"store", "commit"}))
"""Whoever calls from this machine."""


@dataclass(frozen=True, slots=True)
class Callers:
    """Everyone who may call."""

    known: Sequence[Caller]

    def who(self, ae_title: str, address: str, certificate: str = "") -> Caller | None:
        """Return who calls, or `None`: then nothing is answered.

        Parameters
        ----------
        ae_title, address
            Of the caller; an IPv4 address in IPv6 form is the same.
        certificate
            SHA-256 of the one it proved to hold, 64 lower-case hexadecimal digits; empty without TLS.
        """
        plain = address.removeprefix("::ffff:")
        return next((each for each in self.known if each.fits(ae_title.strip(), plain, certificate)), None)


def why_not_open(host: str, *, tls: bool, callers: Iterable[Caller]) -> str | None:
    """Say why a bench must not listen on an address, and what to set, or `None` where it may.

    Beyond this machine callers must prove who they are, and be known.
    """
    if host in (LOOPBACK, "::1", "localhost"):
        return None
    missing = []
    if not tls:
        missing.append("TLS: set tls_certificate, tls_key and tls_authorities in workbench.toml")
    if not any(caller.name for caller in callers):
        missing.append("at least one node that may call: a table [nodes.NAME] with ae_title, host and port")
    if not missing:
        return None
    return (
        f"{host} can be reached from other machines, so that it needs {' and '.join(missing)}; "
        "or listen on 127.0.0.1"
    )
