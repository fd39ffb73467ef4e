"""What `send` does with judged files: queue the fit ones, refuse the others, and write their receipts."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path

from catalog import outbox
from catalog.database import Catalog
from catalog.errors import DeliveryError, InvalidObjectError
from catalog.records import Delivery
from workbench.pacs.posting import Judged, queue_file
from workbench.pacs.receipt import Receipt


def queue_all(
    catalog: Catalog,
    judged: Iterable[Judged],
    node: str,
    *,
    outbox_folder: Path,
    now: Callable[[], datetime],
) -> list[Delivery | Receipt]:
    """Queue what is fit, in the order given; in the place of what is not stands its refusal.

    Raises
    ------
    catalog.errors.DeliveryError
        If each of them is in conflict with what went out before: other bytes under its UID, or withdrawn.
    """
    queued: list[Delivery | Receipt] = []
    conflicts: list[DeliveryError] = []
    for each in judged:
        try:
            queued.append(queue_file(catalog, each, node, outbox_folder=outbox_folder, now=now()))
        except DeliveryError as error:
            conflicts += [] if isinstance(error, InvalidObjectError) else [error]
            uids = each.sop_instance_uid, each.sop_class_uid
            queued.append(Receipt.refused(*uids, node, reason=str(error), at=now()))
    if conflicts and len(conflicts) == len(queued):
        raise conflicts[0]
    return queued


def receipts_of(catalog: Catalog, queued: Sequence[Delivery | Receipt]) -> list[Receipt]:
    """Return the receipts as they stand now, in the same order."""
    return [
        each if isinstance(each, Receipt) else Receipt.of(outbox.delivery(catalog, each.delivery))
        for each in queued
    ]
