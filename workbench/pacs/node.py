"""A PACS node, and where this bench listens for what the node sends by itself."""

from dataclasses import dataclass

SCHEME = "pacs://"
"""Begins the address of a node by its name: `pacs://PACS`."""
AE_TITLE_LENGTH = 16
"""The longest an AE title may be (PS3.5 section 6.2)."""


def check_ae_title(ae_title: str) -> None:
    """Raise ValueError unless a text can be an AE title (PS3.5 section 6.2)."""
    printable = ae_title.isascii() and ae_title.isprintable() and "\\" not in ae_title
    if not printable or not ae_title.strip() or len(ae_title) > AE_TITLE_LENGTH:
        raise ValueError(
            f"An AE title is 1 to {AE_TITLE_LENGTH} printable ASCII characters, not {ae_title!r}"
        )


def node_in(address: str) -> str | None:
    """Name of the node in `pacs://NODE`; `None` where it is another address."""
    return address.removeprefix(SCHEME).strip("/") if address.startswith(SCHEME) else None


@dataclass(frozen=True, slots=True)
class Node:
    """A remote application entity that speaks DIMSE (PS3.7); nothing here connects to it."""

    ae_title: str
    host: str
    port: int
    name: str = ""
    """What the outbox and people call it; the AE title when left out."""
    calling_ae_title: str = "WORKBENCH"
    """Under which this bench calls; the node must know it, with the listening address, to send anything."""
    connection_seconds: float = 10.0
    """How long to wait for the connection and for the association to be accepted."""
    answer_seconds: float = 60.0
    """How long to wait for each answer, and for a connection that has fallen silent."""
    maximum_pdu: int = 262144
    """Largest P-DATA PDU to receive, in bytes (PS3.8 annex D.1)."""

    @property
    def address(self) -> str:
        """What series are known by that this node tells of: `pacs://PACS`."""
        return SCHEME + self.name

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", self.ae_title)
        check_ae_title(self.ae_title)
        check_ae_title(self.calling_ae_title)
        if not 1 <= self.port <= 65535:
            raise ValueError(f"The port of node {self.name} must be 1 to 65535, got {self.port}")
        if min(self.connection_seconds, self.answer_seconds) <= 0:
            raise ValueError(f"The time-outs of node {self.name} must be positive")
        if self.maximum_pdu < 4096:
            raise ValueError(f"The largest PDU of node {self.name} must be 4096 bytes or more")


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where this bench listens for storage commitment results and for C-MOVE sub-operations."""

    host: str = "127.0.0.1"
    port: int = 0
    """0 takes a free port, which only a node that answers on the same association can do with."""
