"""Put DICOM files into the outbox: judge them, keep their bytes as they are, then write the row."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from catalog import outbox
from catalog.database import Catalog
from catalog.durable import file_digest, write
from catalog.errors import HeaderError, InvalidObjectError
from catalog.headers import read_header
from catalog.identifiers import digest
from catalog.locks import shared
from catalog.query import find_instances
from catalog.records import Delivery, InstanceHeader, Unreadable
from pipelines.validate.verdict import KINDS, Verdict, judge


@dataclass(frozen=True, slots=True)
class Judged:
    """One file, read and judged; nothing is written yet."""

    path: Path
    header: InstanceHeader
    verdict: Verdict

    @property
    def sop_instance_uid(self) -> str:
        """SOP Instance UID (0008,0018)."""
        return str(self.header.values["sop_instance_uid"])

    @property
    def sop_class_uid(self) -> str:
        """SOP Class UID (0008,0016)."""
        return str(self.header.values["sop_class_uid"])


def examine_files(catalog: Catalog, paths: Iterable[Path], *, threads: int = 1) -> list[Judged]:
    """Judge files that are to be sent, each beside what it refers to, as far as that is at hand.

    At hand is what goes with it, what the outbox keeps, and what the catalog knows as a file.

    Raises
    ------
    catalog.errors.HeaderError
        If a file is no readable DICOM.
    """
    headers = [(path, _header(path)) for path in paths]
    together = {str(header.values["sop_instance_uid"]): path for path, header in headers}
    at_hand = partial(_at_hand, catalog, together)
    with ThreadPoolExecutor(max_workers=max(1, threads)) as pool:
        verdicts = pool.map(lambda each: judge(each[0], at_hand), headers)
        return [
            Judged(path, header, verdict) for (path, header), verdict in zip(headers, verdicts, strict=True)
        ]


def queue_file(
    catalog: Catalog, judged: Judged, node: str, *, outbox_folder: Path, now: datetime
) -> Delivery:
    """Queue a file that was judged for one node; twice is once.

    The outbox keeps its own copy, named by its digest, so that what goes out is what was posted.

    Raises
    ------
    catalog.errors.InvalidObjectError
        If a fault was found in it; nothing is kept or queued then.
    catalog.errors.DeliveryError
        If the same SOP Instance UID is queued for this node with other bytes.
    """
    if judged.verdict.faults:
        raise InvalidObjectError(f"{judged.sop_instance_uid} is not sent: {judged.verdict.words}")
    content = judged.path.read_bytes()
    name = digest(content)
    with shared(outbox_folder):  # until its row is there, the copy is no leftover
        return outbox.queue(
            catalog,
            _kept(content, outbox_folder / f"{name}.dcm"),
            node,
            sop_instance_uid=judged.sop_instance_uid,
            sop_class_uid=judged.sop_class_uid,
            digest=name,
            now=now,
            validated=judged.verdict.words,
            study_instance_uid=str(judged.header.values["study_instance_uid"]),
            series_instance_uid=str(judged.header.values["series_instance_uid"]),
            is_result=judged.sop_class_uid in KINDS,
        )


def post(catalog: Catalog, path: Path, node: str, *, outbox_folder: Path, now: datetime) -> Delivery:
    """Judge one file and queue it for one node; twice is once.

    Raises
    ------
    catalog.errors.HeaderError
        If the file is no readable DICOM.
    catalog.errors.DeliveryError
        As `queue_file`.
    """
    (judged,) = examine_files(catalog, [path])
    return queue_file(catalog, judged, node, outbox_folder=outbox_folder, now=now)


def _header(path: Path) -> InstanceHeader:
    header = read_header(path)
    if isinstance(header, Unreadable):
        raise HeaderError(f"{path} cannot be sent: {header.reason}")
    return header


def _at_hand(catalog: Catalog, together: Mapping[str, Path], uids: Sequence[str]) -> dict[str, Path]:
    """Files of instances that can be read here; what is in archives and buckets is not fetched for this."""
    found = {
        each.sop_instance_uid: Path(each.path) for each in find_instances(catalog, sop_instance_uid=uids)
    }
    found |= {
        each.sop_instance_uid: Path(each.path) for each in outbox.deliveries(catalog, sop_instance_uids=uids)
    }
    found |= {uid: together[uid] for uid in uids if uid in together}
    return {uid: path for uid, path in found.items() if path.is_file()}


def _kept(content: bytes, target: Path) -> Path:
    if not target.is_file() or file_digest(target) != target.stem:  # posting again mends a damaged copy
        write(target, content)
    return target
