"""What a PACS node is to this bench, whichever way it speaks, and where this bench listens meanwhile."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from catalog.records import RemoteSeries

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from catalog.database import Catalog
    from workbench.pacs.carrier import Carrier
    from workbench.pacs.found import Found
    from workbench.pacs.limits import Limits
    from workbench.pacs.receive import Listener
    from workbench.pacs.worklist import Worklist

SCHEME = "pacs://"
"""Begins the address of a node by its name: `pacs://PACS`."""

ANSWERS = 1_000
"""How many answers of a node are taken when nobody says how many."""


def node_in(address: str) -> str | None:
    """Name of the node in `pacs://NODE`; `None` where it is another address."""
    return address.removeprefix(SCHEME).strip("/") if address.startswith(SCHEME) else None


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where this bench listens for storage commitment results and for C-MOVE sub-operations."""

    host: str = "127.0.0.1"
    port: int = 0
    """0 takes a free port, which only a node that answers on the same association can do with."""
    catalog: "Catalog | None" = None
    """Where processes of this bench tell each other what came to the one that has the port."""
    received: "Path | None" = None
    """Folder where `workbench receive` puts what it takes in, while it is at work."""


class Node(Protocol):
    """A node of the settings: by DIMSE (`dimse_node.DimseNode`) or by DICOMweb (`web.node.WebNode`).

    Building one connects to nothing. Whatever goes wrong at the node is a `catalog.errors.DeliveryError`, in
    words without patient data.
    """

    @property
    def name(self) -> str:
        """What the settings, the outbox and people call it."""
        ...

    @property
    def address(self) -> str:
        """What series are known by that this node tells of: `pacs://PACS`."""
        ...

    @property
    def place(self) -> str:
        """Where it is, for people."""
        ...

    @property
    def limits(self) -> "Limits":
        """How much of it this bench takes, and when: `survey`, `retrieve` and what it is sent keep to it."""
        ...

    def called(self, name: str, calling_ae_title: str, counted_in: Path | None = None) -> Self:
        """The same node under the name of the settings, called by this bench's AE title.

        Parameters
        ----------
        counted_in
            Folder where processes count together what they do at nodes.
        """
        ...

    def echo(self) -> None:
        """Ask whether it is there and answers this bench.

        Raises
        ------
        catalog.errors.DeliveryError
            If it does not.
        """
        ...

    def find(
        self,
        level: str = "study",
        *,
        root: str | None = None,
        fuzzy: bool = False,
        limit: int = ANSWERS,
        **matching: Any,
    ) -> "Found":
        """Ask what it has: the records of a local search, marked as lying there.

        Below studies it is asked from level to level, as the standard's hierarchical queries are (PS3.4
        C.4.1.3.1). `bench.fetch` and `bench.volume` take what is found.

        Parameters
        ----------
        level
            `patient`, `study`, `series` or `instance`.
        root
            Of DIMSE: the information model, `study` or `patient`; the one that the node offers when left out.
        fuzzy
            Of DICOMweb: names match by what the node takes for alike.
        limit
            How many records at most; the table says when there are more.
        **matching
            Attributes by keyword or column name to a value, a wildcard, a range of dates, several values, or
            the keys of a sequence's item (PS3.4 C.2.2.2); see `workbench.pacs.matching`.

        Raises
        ------
        catalog.errors.QuestionError
            If it cannot be asked so; before the node is asked.
        catalog.errors.DeliveryError
            If the node does not answer, refuses, or finds more than one question may.
        """
        ...

    def worklist(self, *, limit: int = ANSWERS, **matching: Any) -> "Worklist":
        """Ask for scheduled procedure steps (Modality Worklist, PS3.4 annex K).

        Parameters
        ----------
        limit
            How many at most; the table says when there are more.
        **matching
            Attributes of the worklist by keyword or column name, as in `find`: `Modality="CT"`,
            `ScheduledProcedureStepStartDate="20260131"`.

        Raises
        ------
        catalog.errors.QuestionError
            If it cannot be asked so; before the node is asked.
        catalog.errors.DeliveryError
            If the node has no worklist, does not answer, or refuses.
        """
        ...

    def survey(self, matching: Mapping[str, Any]) -> Iterator[RemoteSeries]:
        """Ask for series, as rows without a file.

        Parameters
        ----------
        matching
            Attributes of patient, study and series by keyword or column name, as in `find`.

        Raises
        ------
        catalog.errors.QuestionError
            If a name is no attribute of patient, study or series; before the node is asked.
        catalog.errors.DeliveryError
            If the node does not answer, refuses, or finds more than one question may.
        """
        ...

    def retrieve(
        self,
        study_instance_uid: str,
        series_instance_uid: str,
        folder: Path,
        listen: ListenAddress,
        *,
        reserve: int = 0,
    ) -> Sequence[Path]:
        """Get every instance of a series into files of one folder below `folder`.

        Names of files are digests of UIDs: nothing that a peer says is part of a path.

        Parameters
        ----------
        reserve
            Bytes that stay free on the disk of the folder.

        Raises
        ------
        catalog.errors.DeliveryError
            If the node cannot be asked, does not know the series, or gives fewer instances than it says it
            has; what came is there.
        OSError
            If the folder cannot be written; with `ENOSPC` before the disk is full, and what came is there.
        """
        ...

    @property
    def calls_back_with(self) -> tuple[str, ...] | None:
        """Certificates with which it sends by itself: one listener serves all nodes with the same.

        `None` where it never calls back.
        """
        ...

    def listening(self, address: ListenAddress) -> "AbstractContextManager[Listener]":
        """Give what listens for what it sends by itself, where something is expected."""
        ...

    def carrying(self, listen: "ListenAddress | Listener") -> "AbstractContextManager[Carrier]":
        """Hold what carries instances to it; it listens where the node is to call back."""
        ...
