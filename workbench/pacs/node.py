"""What a PACS node is to this bench, whichever way it speaks, and where this bench listens meanwhile."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from catalog.records import RemoteSeries

SCHEME = "pacs://"
"""Begins the address of a node by its name: `pacs://PACS`."""


def node_in(address: str) -> str | None:
    """Name of the node in `pacs://NODE`; `None` where it is another address."""
    return address.removeprefix(SCHEME).strip("/") if address.startswith(SCHEME) else None


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where this bench listens for storage commitment results and for C-MOVE sub-operations."""

    host: str = "127.0.0.1"
    port: int = 0
    """0 takes a free port, which only a node that answers on the same association can do with."""


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

    def called(self, name: str, calling_ae_title: str) -> Self:
        """The same node under the name of the settings, called by this bench's AE title."""
        ...

    def echo(self) -> None:
        """Ask whether it is there and answers this bench.

        Raises
        ------
        catalog.errors.DeliveryError
            If it does not.
        """
        ...

    def survey(self, matching: Mapping[str, str]) -> Iterator[RemoteSeries]:
        """Ask for series, as rows without a file.

        Parameters
        ----------
        matching
            Attributes of patient, study and series by keyword or column name, to what the node matches them
            with: a value, a wildcard, a range of dates, UIDs with backslashes between (PS3.4 C.2.2.2).

        Raises
        ------
        catalog.errors.QuestionError
            If a name is no attribute of patient, study or series; before the node is asked.
        catalog.errors.DeliveryError
            If the node does not answer, refuses, or finds more than one question may.
        """
        ...

    def retrieve(
        self, study_instance_uid: str, series_instance_uid: str, folder: Path, listen: ListenAddress
    ) -> Sequence[Path]:
        """Get every instance of a series into files of one folder below `folder`.

        Names of files are digests of UIDs: nothing that a peer says is part of a path.

        Raises
        ------
        catalog.errors.DeliveryError
            If the node cannot be asked, does not know the series, or gives fewer instances than it says it
            has; what came is there.
        OSError
            If the folder cannot be written.
        """
        ...
