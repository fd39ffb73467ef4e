"""Takes results back: out of the outbox, or from a node by a rejection note (IHE RAD IOCM)."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from catalog import outbox
from catalog.database import Catalog
from catalog.deliveries import Event, State
from catalog.errors import DeliveryError, NotFoundError
from catalog.headers import read_dataset
from catalog.records import Delivery
from pipelines.encode.key_objects import REJECTIONS, rejection_note
from pipelines.encode.part10 import write_object
from workbench.pacs.posting import post


def withdraw(
    catalog: Catalog,
    sop_instance_uid: str,
    node: str,
    *,
    reason: str,
    why: str,
    outbox_folder: Path,
    now: Callable[[], datetime],
) -> list[Delivery]:
    """Take back what was queued for a node: what never went out is not sent, else a rejection note is queued.

    The note is a Key Object Selection of the same study whose title is the reason. A node that knows notes
    hides what they name, others keep both. The object itself is never sent to this node again.

    Returns
    -------
    list of Delivery
        The one that was withdrawn, and that of the note where there is one.

    Raises
    ------
    catalog.errors.NotFoundError
        If the instance was never queued for this node.
    catalog.errors.DeliveryError
        If it was withdrawn before, or is being sent in this moment.
    catalog.errors.EncodeError
        If there is no such reason.
    """
    found = outbox.deliveries(catalog, node=node, sop_instance_uids=[sop_instance_uid])
    if not found:
        raise NotFoundError(
            f"this bench never queued {sop_instance_uid} for {node}; `workbench outbox` lists it all"
        )
    (delivery,) = found
    if State(delivery.state) is State.WITHDRAWN:
        raise DeliveryError(f"{sop_instance_uid} was withdrawn from {node} before")
    if State(delivery.state) in (State.VALIDATED, State.SENDING):
        raise DeliveryError(
            f"{sop_instance_uid} is on its way to {node} just now; withdraw it when that has ended"
        )
    if not any(stage.name == State.SENDING.value for stage in delivery.stages):
        return [outbox.advance(catalog, delivery, Event.WITHDRAW, "it never went out", now())]
    note = rejection_note([read_dataset(delivery.path)], reason=reason, description=why)
    with TemporaryDirectory() as folder:
        write_object(note, Path(folder) / "note.dcm")
        queued = post(catalog, Path(folder) / "note.dcm", node, outbox_folder=outbox_folder, now=now())
    text = f"{REJECTIONS[reason].meaning.lower()}, by the note {queued.sop_instance_uid}"
    return [outbox.advance(catalog, delivery, Event.WITHDRAW, text, now()), queued]
