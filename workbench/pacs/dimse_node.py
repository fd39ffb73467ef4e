"""A node that speaks DIMSE (PS3.7): its AE title, its address, and how long it may take."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from catalog.attributes import Level
from catalog.errors import QuestionError
from catalog.records import RemoteSeries
from catalog.vocabulary import OnConflict
from workbench.pacs.limits import UNLIMITED, Limits
from workbench.pacs.node import ANSWERS, SCHEME, ListenAddress

if TYPE_CHECKING:
    from workbench.pacs.carrier import Carrier
    from workbench.pacs.found import Found
    from workbench.pacs.receive import Listener
    from workbench.pacs.worklist import Worklist

AE_TITLE_LENGTH = 16
"""The longest an AE title may be (PS3.5 section 6.2)."""

SERVICES = ("store", "find", "commit", "retrieve")
"""What a node may be allowed to ask of this bench."""
POLICIES = tuple(each.value for each in OnConflict)
"""What can become of other bytes under a known SOP Instance UID."""

CHARACTER_SETS = (
    "ISO_IR 6", "ISO_IR 100", "ISO_IR 101", "ISO_IR 109", "ISO_IR 110", "ISO_IR 144", "ISO_IR 127",
    "ISO_IR 126", "ISO_IR 138", "ISO_IR 148", "ISO_IR 203", "ISO_IR 13", "ISO_IR 166", "ISO_IR 192",
    "GB18030", "GBK",
)  # fmt: skip
"""In which a node may be asked (PS3.3 C.12.1.1.2), those without code extensions."""


def check_ae_title(ae_title: str) -> None:
    """Raise ValueError unless a text can be an AE title (PS3.5 section 6.2)."""
    printable = ae_title.isascii() and ae_title.isprintable() and "\\" not in ae_title
    if not printable or not ae_title.strip() or len(ae_title) > AE_TITLE_LENGTH:
        raise ValueError(
            f"An AE title is 1 to {AE_TITLE_LENGTH} printable ASCII characters, not {ae_title!r}"
        )


def check_on_conflict(policy: str) -> None:
    """Raise ValueError unless a text says what becomes of a conflict."""
    if policy not in POLICIES:
        raise ValueError(f"on_conflict is {', '.join(POLICIES)}, not {policy!r:.40}")


@dataclass(frozen=True, slots=True)
class DimseNode:
    """A remote application entity; a `workbench.pacs.node.Node`."""

    ae_title: str
    """Under which it is called, and calls."""
    host: str
    """Name or number of its machine; it calls from there, unless it is known by a certificate."""
    port: int
    """Where it listens."""
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
    tls: bool = False
    """Whether it is called, and calls back, with TLS 1.2 or later (PS3.15 annex B)."""
    ca_file: Path | None = None
    """Certificates (PEM) that its own is checked against; those of the system when left out."""
    client_certificate: Path | None = None
    """Certificate (PEM) this bench shows, for mutual TLS; what it calls back is met with it, too."""
    client_key: Path | None = None
    """Its key, where that is a file of its own; not encrypted."""
    may: tuple[str, ...] = ("store",)
    """What it may ask of `workbench receive`: store, find, commit, retrieve; every node may verify."""
    limits: Limits = UNLIMITED
    """How much of it this bench takes, and when."""
    character_set: str = "ISO_IR 192"
    """Specific Character Set (0008,0005) that it is asked in; UTF-8 when left out."""
    certificate: str = ""
    """SHA-256 of the certificate it calls with, 64 hexadecimal digits; then its address is not looked at."""
    on_conflict: str = ""
    """What becomes of what it sends under a known UID with other bytes: first, newest, refuse."""

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
        if not self.tls and (self.ca_file or self.client_certificate or self.client_key):
            raise ValueError(f"The certificate files of node {self.name} need tls = true")
        if self.client_key is not None and self.client_certificate is None:
            raise ValueError(f"The client_key of node {self.name} belongs to a client_certificate")
        if self.character_set not in CHARACTER_SETS:
            raise ValueError(f"The character_set of node {self.name} is one of {', '.join(CHARACTER_SETS)}")
        if unknown := set(self.may) - set(SERVICES):
            raise ValueError(f"A node may {', '.join(SERVICES)}, not {', '.join(sorted(unknown))}")
        if self.on_conflict:
            check_on_conflict(self.on_conflict)

    @property
    def address(self) -> str:
        """What series are known by that this node tells of: `pacs://PACS`."""
        return SCHEME + self.name

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return f"{self.ae_title} at {self.host}:{self.port}{' with TLS' * self.tls}"

    def called(self, name: str, calling_ae_title: str, counted_in: Path | None = None) -> Self:
        """The same node under the name of the settings, called by this bench's AE title."""
        limits = self.limits.counted_in(counted_in)
        return replace(self, name=name, calling_ae_title=calling_ae_title, limits=limits)

    def echo(self) -> None:
        """Ask whether it is there (C-ECHO)."""
        from workbench.pacs import dimse  # pynetdicom takes a while to load, and settings need none of it

        dimse.echo(self)

    def find(
        self,
        level: str = "study",
        *,
        root: str | None = None,
        fuzzy: bool = False,
        limit: int = ANSWERS,
        **matching: Any,
    ) -> "Found":
        """Ask what it has (C-FIND)."""
        from catalog.matching import check_count
        from workbench.pacs.find import answers
        from workbench.pacs.found import found_of
        from workbench.pacs.matching import inquiries_of, level_named

        if fuzzy:
            raise QuestionError(f"{self.name} is asked by C-FIND; fuzzy matching is for DICOMweb nodes alone")
        check_count("limit", limit)
        inquiries = inquiries_of(level_named(level), matching)
        above = max(limit, ANSWERS)
        with self.limits.turn(self.name):
            return found_of(
                lambda inquiry: answers(self, inquiry, root=root, above_at_most=above),
                inquiries,
                self.name,
                self.address,
                limit=limit,
            )

    def worklist(self, *, limit: int = ANSWERS, **matching: Any) -> "Worklist":
        """Ask for scheduled procedure steps (Modality Worklist C-FIND)."""
        from catalog.matching import check_count
        from workbench.pacs.worklist import worklist

        check_count("limit", limit)
        with self.limits.turn(self.name):
            return worklist(self, matching, limit=limit)

    def survey(self, matching: Mapping[str, Any]) -> Iterator[RemoteSeries]:
        """Ask for series (C-FIND)."""
        from workbench.pacs.find import answers
        from workbench.pacs.matching import inquiries_of
        from workbench.pacs.survey import as_remote

        inquiries = inquiries_of(Level.SERIES, matching)
        found = chain.from_iterable(answers(self, each) for each in inquiries)
        return as_remote(self.limits.surveyed(self.name, found), self.address)

    def retrieve(
        self,
        study_instance_uid: str,
        series_instance_uid: str,
        folder: Path,
        listen: ListenAddress,
        *,
        reserve: int = 0,
    ) -> Sequence[Path]:
        """Get every instance of a series into files (C-GET, else C-MOVE)."""
        from workbench.pacs.receive import Listener
        from workbench.pacs.retrieve import retrieve

        self.limits.check_hours(self.name)
        with self.limits.turn(self.name) as pace, Listener(self, listen) as listener:
            return retrieve(
                self, study_instance_uid, series_instance_uid, folder, listener,
                reserve=reserve, took=pace.took,
            )  # fmt: skip

    @property
    def calls_back_with(self) -> tuple[str, ...]:
        """Whichever have the same can call back at the same address."""
        return tuple(str(each) for each in (self.client_certificate, self.client_key, self.ca_file))

    def listening(self, address: ListenAddress) -> "Listener":
        """Listen for commitment reports and C-MOVE sub-operations."""
        from workbench.pacs.receive import Listener

        return Listener(self, address)

    @contextmanager
    def carrying(self, listen: "ListenAddress | Listener") -> "Iterator[Carrier]":
        """Hold what carries instances to it by C-STORE."""
        from workbench.pacs.dimse_carrier import DimseCarrier

        with self.listening(listen) if isinstance(listen, ListenAddress) else nullcontext(listen) as listener:
            yield DimseCarrier(self, listener)
