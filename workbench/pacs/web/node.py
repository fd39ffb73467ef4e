"""A node that speaks DICOMweb (PS3.18): its address, who asks, and how long it may take."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from catalog.attributes import Level
from catalog.errors import RefusedError
from catalog.records import RemoteSeries
from workbench.pacs.limits import UNLIMITED, Limits
from workbench.pacs.node import ANSWERS, SCHEME, ListenAddress

if TYPE_CHECKING:
    from workbench.pacs.carrier import Carrier
    from workbench.pacs.found import Found
    from workbench.pacs.receive import Listener
    from workbench.pacs.worklist import Worklist

_URL = re.compile(
    r"(https?)://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::([0-9]{1,5}))?((?:/[A-Za-z0-9._~-]+)*)/?"
)
_LOOPBACK = frozenset({"127.0.0.1", "[::1]", "localhost"})
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class WebNode:
    """A DICOMweb service; a `workbench.pacs.node.Node`.

    Secrets are no part of it: it names the environment variable of the token, and the files of certificates.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    url: str
    """`https://host:port/path`, below which `/studies` lies; without TLS only on this machine."""
    name: str = ""
    """What people call it; the host when left out."""
    token_variable: str | None = None
    """Environment variable with a bearer token, or with a scheme and its credentials: `Basic …`."""
    ca_file: Path | None = None
    """Certificates (PEM) that the server's is checked against; those of the system when left out."""
    client_certificate: Path | None = None
    """Certificate (PEM) this bench shows, for mutual TLS."""
    client_key: Path | None = None
    """Its key, where that is a file of its own; not encrypted."""
    limits: Limits = UNLIMITED
    """How much of it this bench takes, and when."""
    connection_seconds: float = 10.0
    """How long to wait for the connection."""
    answer_seconds: float = 60.0
    """How long to wait for an answer to begin, and for each part of it."""

    def __post_init__(self) -> None:
        found = _URL.fullmatch(self.url)
        if found is None or not 1 <= self.port <= 65535:
            raise ValueError("The url of a DICOMweb node is https://host:port/path, without user and query")
        if self.scheme == "http" and self.host not in _LOOPBACK:
            raise ValueError(
                "The url of a DICOMweb node begins with https://; http:// is for this machine only"
            )
        if self.client_key is not None and self.client_certificate is None:
            raise ValueError("client_key belongs to a client_certificate, which is not given")
        if self.scheme == "http" and (self.ca_file or self.client_certificate):
            raise ValueError("Certificates need a url that begins with https://")
        if min(self.connection_seconds, self.answer_seconds) <= 0:
            raise ValueError("The time-outs of a node must be positive")
        if not self.name:
            object.__setattr__(self, "name", self.host)

    @property
    def scheme(self) -> str:
        """`https`, or `http` on this machine."""
        return self.url.partition(":")[0]

    @property
    def host(self) -> str:
        """Name or number of the server."""
        return self._part(2)

    @property
    def port(self) -> int:
        """Port of the server."""
        return int(self._part(3) or _PORTS[self.scheme])

    @property
    def root(self) -> str:
        """Path below which the services lie, without a slash at its end."""
        return self._part(4)

    @property
    def address(self) -> str:
        """What series are known by that this node tells of: `pacs://PACS`."""
        return SCHEME + self.name

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return self.url

    def called(self, name: str, calling_ae_title: str, counted_in: Path | None = None) -> Self:
        """The same node under the name of the settings; AE titles play no part in DICOMweb."""
        return replace(self, name=name, limits=self.limits.counted_in(counted_in))

    def echo(self) -> None:
        """Ask for one study, and do not look at it (QIDO-RS)."""
        from workbench.pacs.web.client import Client

        with Client(self) as client, client.get("/studies?limit=1", "application/dicom+json"):
            pass

    def find(
        self,
        level: str = "study",
        *,
        root: str | None = None,
        fuzzy: bool = False,
        limit: int = ANSWERS,
        **matching: Any,
    ) -> "Found":
        """Ask what it has (QIDO-RS); information models play no part in DICOMweb."""
        from catalog.matching import check_count
        from workbench.pacs.found import found_of
        from workbench.pacs.matching import inquiries_of, level_named
        from workbench.pacs.web.find import answers

        check_count("limit", limit)
        heard: list[str] = []
        inquiries = inquiries_of(level_named(level), matching)
        above = max(limit, ANSWERS)
        with self.limits.turn(self.name):
            return found_of(
                lambda inquiry: answers(self, inquiry, fuzzy=fuzzy, heard=heard.append, above_at_most=above),
                inquiries,
                self.name,
                self.address,
                limit=limit,
                remarks=lambda: (
                    [f"{self.name} matches literally alone"] * any("fuzzy" in each.lower() for each in heard)
                ),
            )

    def worklist(self, *, limit: int = ANSWERS, **matching: Any) -> "Worklist":
        """Refuse: a worklist is asked for by DIMSE."""
        raise RefusedError(
            f"{self.name} is a DICOMweb node, which has no Modality Worklist; it is asked for by DIMSE"
        )

    def survey(self, matching: Mapping[str, Any]) -> Iterator[RemoteSeries]:
        """Ask for series (QIDO-RS)."""
        from workbench.pacs.matching import inquiries_of
        from workbench.pacs.survey import as_remote
        from workbench.pacs.web.find import answers

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
        """Get every instance of a series into files (WADO-RS)."""
        from workbench.pacs.web.retrieve import retrieve

        self.limits.check_hours(self.name)
        with self.limits.turn(self.name) as pace:
            return retrieve(
                self, study_instance_uid, series_instance_uid, folder, reserve=reserve, took=pace.took
            )

    @property
    def calls_back_with(self) -> None:
        """It never calls back."""

    def listening(self, address: ListenAddress) -> "AbstractContextManager[Listener]":
        """Refuse: there is nothing to listen for."""
        raise RefusedError(f"{self.name} is a DICOMweb node, which sends nothing by itself")

    def carrying(self, listen: "ListenAddress | Listener") -> "AbstractContextManager[Carrier]":
        """Hold what carries instances to it by STOW-RS."""
        from workbench.pacs.web.carrier import WebCarrier

        return nullcontext(WebCarrier(self))

    def _part(self, number: int) -> str:
        found = _URL.fullmatch(self.url)
        return (found[number] or "") if found else ""
