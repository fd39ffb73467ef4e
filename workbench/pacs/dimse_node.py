"""A node that speaks DIMSE (PS3.7): its AE title, its address, and how long it may take."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from catalog.records import RemoteSeries
from workbench.pacs.node import SCHEME, ListenAddress

AE_TITLE_LENGTH = 16
"""The longest an AE title may be (PS3.5 section 6.2)."""

SERVICES = ("store", "find")
"""What a node may be allowed to ask of this bench."""


def check_ae_title(ae_title: str) -> None:
    """Raise ValueError unless a text can be an AE title (PS3.5 section 6.2)."""
    printable = ae_title.isascii() and ae_title.isprintable() and "\\" not in ae_title
    if not printable or not ae_title.strip() or len(ae_title) > AE_TITLE_LENGTH:
        raise ValueError(
            f"An AE title is 1 to {AE_TITLE_LENGTH} printable ASCII characters, not {ae_title!r}"
        )


@dataclass(frozen=True, slots=True)
class DimseNode:
    """A remote application entity; a `workbench.pacs.node.Node`."""

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
    may: tuple[str, ...] = ("store",)
    """What it may ask of `workbench receive`: store, find; every node may verify."""
    certificate: str = ""
    """SHA-256 of the certificate it calls with, 64 hexadecimal digits; then its address is not looked at."""

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
        if unknown := set(self.may) - set(SERVICES):
            raise ValueError(f"A node may {', '.join(SERVICES)}, not {', '.join(sorted(unknown))}")

    @property
    def address(self) -> str:
        """What series are known by that this node tells of: `pacs://PACS`."""
        return SCHEME + self.name

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return f"{self.ae_title} at {self.host}:{self.port}"

    def called(self, name: str, calling_ae_title: str) -> Self:
        """The same node under the name of the settings, called by this bench's AE title."""
        return replace(self, name=name, calling_ae_title=calling_ae_title)

    def echo(self) -> None:
        """Ask whether it is there (C-ECHO)."""
        from workbench.pacs import dimse  # pynetdicom takes a while to load, and settings need none of it

        dimse.echo(self)

    def survey(self, matching: Mapping[str, str]) -> Iterator[RemoteSeries]:
        """Ask for series (C-FIND)."""
        from workbench.pacs.survey import survey

        return survey(self, matching)

    def retrieve(
        self, study_instance_uid: str, series_instance_uid: str, folder: Path, listen: ListenAddress
    ) -> Sequence[Path]:
        """Get every instance of a series into files (C-GET, else C-MOVE)."""
        from workbench.pacs.receive import Listener
        from workbench.pacs.retrieve import retrieve

        with Listener(self, listen) as listener:
            return retrieve(self, study_instance_uid, series_instance_uid, folder, listener)
