"""Carries instances by DICOMweb: STOW-RS, and WADO-RS to read them back; a `Carrier`."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import TemporaryFile

from pydicom import dcmread

from catalog.deliveries import Event, Meaning
from catalog.errors import RefusedError
from catalog.identifiers import is_uid
from workbench.pacs.carrier import Ask
from workbench.pacs.commitment import NotOffered
from workbench.pacs.instance import Instance
from workbench.pacs.readback import compare
from workbench.pacs.web.client import Client
from workbench.pacs.web.node import WebNode
from workbench.pacs.web.refusal import NothingThereError
from workbench.pacs.web.retrieve import ACCEPT, parts_of
from workbench.pacs.web.stow import store


@dataclass(frozen=True, slots=True)
class WebCarrier:
    """One node; it calls nobody back."""

    node: WebNode
    without_commitment: str = "DICOMweb has no storage commitment"

    @contextmanager
    def storing(self, _instances: Sequence[Instance]) -> Iterator[Ask]:
        """Give what stores each of some instances, over one connection."""
        with Client(self.node) as client:
            client.connect()
            yield lambda instance: store(client, instance)

    def commitment(
        self,
        instances: Sequence[Instance],
        *,
        transaction_uid: str,
        seconds: float,
        is_told: Callable[[], bool],
    ) -> NotOffered:
        """Ask nobody."""
        return NotOffered(self.without_commitment)

    @contextmanager
    def reading_back(self, _instances: Sequence[Instance]) -> Iterator[Ask]:
        """Give what reads an instance back."""
        with Client(self.node) as client:
            yield lambda instance: read_back(client, instance)


def read_back(client: Client, instance: Instance) -> Meaning:
    """Get an instance as the node keeps it, and compare it with what was sent.

    Raises
    ------
    catalog.errors.DeliveryError
        If the node does not answer, or gives back something else than one instance.
    """
    node = client.node
    uids = (instance.study_instance_uid, instance.series_instance_uid, instance.sop_instance_uid)
    if not all(map(is_uid, uids)):
        raise RefusedError("an instance whose UIDs are no UIDs cannot be asked for by DICOMweb")
    study, series, uid = uids
    with TemporaryFile(dir=instance.path.parent) as file:
        try:
            with client.get(f"/studies/{study}/series/{series}/instances/{uid}", ACCEPT) as answer:
                count = 0
                for part in parts_of(node, answer):
                    count += 1
                    if count > 1:
                        raise RefusedError(f"{node.name} gives back several instances for one")
                    for piece in part:
                        file.write(piece)
        except NothingThereError:
            return Meaning(Event.MISSING, f"{node.name} does not find the instance (WADO-RS)")
        if not count:
            return Meaning(Event.MISSING, f"{node.name} gives back no instance (WADO-RS)")
        file.seek(0)
        try:
            return compare(instance, dcmread(file), "WADO-RS")
        except Exception:  # whatever pydicom stumbles over in the bytes of a peer is the fault of the bytes
            raise RefusedError(f"{node.name} gives back what cannot be read as DICOM") from None
