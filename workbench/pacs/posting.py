"""Put a DICOM file into the outbox: keep its bytes where nobody changes them, then write the row."""

from datetime import datetime
from pathlib import Path

from catalog import outbox
from catalog.database import Catalog
from catalog.durable import file_digest, write
from catalog.errors import HeaderError
from catalog.headers import read_header
from catalog.identifiers import digest
from catalog.locks import shared
from catalog.records import Delivery, Unreadable


def post(catalog: Catalog, path: Path, node: str, *, outbox_folder: Path, now: datetime) -> Delivery:
    """Queue one file for one node; twice is once.

    The outbox keeps its own copy, named by its digest, so that what goes out is what was posted.

    Raises
    ------
    catalog.errors.HeaderError
        If the file is no readable DICOM.
    catalog.errors.DeliveryError
        If the same SOP Instance UID is queued for this node with other bytes.
    """
    header = read_header(path)
    if isinstance(header, Unreadable):
        raise HeaderError(f"{path} cannot be sent: {header.reason}")
    content = path.read_bytes()
    name = digest(content)
    with shared(outbox_folder):  # until its row is there, the copy is no leftover
        return outbox.queue(
            catalog,
            _kept(content, outbox_folder / f"{name}.dcm"),
            node,
            sop_instance_uid=str(header.values["sop_instance_uid"]),
            sop_class_uid=str(header.values["sop_class_uid"]),
            digest=name,
            now=now,
        )


def _kept(content: bytes, target: Path) -> Path:
    if not target.is_file() or file_digest(target) != target.stem:  # posting again mends a damaged copy
        write(target, content)
    return target
