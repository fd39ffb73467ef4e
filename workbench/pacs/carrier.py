"""What carries instances to a node and asks for them again, whichever way the node speaks."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from catalog.deliveries import Meaning
from workbench.pacs.commitment import Committed, NoReport, NotOffered, ToldBeside
from workbench.pacs.instance import Instance

type Ask = Callable[[Instance], Meaning]
"""Does one thing with an instance at the node, and says what its answer means."""


class Carrier(Protocol):
    """Storage, commitment and reading back as deliveries need them: by DIMSE, or by DICOMweb."""

    @property
    def without_commitment(self) -> str:
        """Why the node is not asked to commit, for the receipt; empty where it is."""
        ...

    def storing(self, instances: Sequence[Instance]) -> AbstractContextManager[Ask]:
        """Give what stores each of some instances, over one line.

        What it gives raises a `catalog.errors.RefusedError` where this instance cannot go out, and a
        `catalog.errors.NodeUnavailableError` where the line is lost.

        Raises
        ------
        catalog.errors.DeliveryError
            On entering, if the node is not there, or takes none of them; nothing was sent.
        """
        ...

    def commitment(
        self,
        instances: Sequence[Instance],
        *,
        transaction_uid: str,
        seconds: float,
        is_told: Callable[[], bool],
    ) -> Committed | ToldBeside | NotOffered | NoReport:
        """Ask the node to commit to what it stored, and wait for its report.

        Parameters
        ----------
        is_told
            Whether the report has come to another process of this bench.

        Raises
        ------
        catalog.errors.NodeUnavailableError
            If the node does not answer.
        """
        ...

    def reading_back(self, instances: Sequence[Instance]) -> AbstractContextManager[Ask]:
        """Give what gets an instance from the node and compares it with what was sent.

        What it gives raises a `catalog.errors.DeliveryError` where the node does not answer, or does not give
        the instance back.
        """
        ...
