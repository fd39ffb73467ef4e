"""A caller of `workbench receive` on pynetdicom, which stores small objects of Raw Data."""

import os
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ImplicitVRLittleEndian
from pynetdicom import AE, evt

from catalog.identifiers import new_uid
from tests.peers.calling import make_prompt

RAW_DATA = "1.2.840.10008.5.1.4.1.1.66"


def memory_mib(receiving: Any) -> float:
    pages = int(Path(f"/proc/{receiving.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def associated(receiving: Any, answer_seconds: float = 60.0) -> Any:
    ae = AE("TEST")
    ae.acse_timeout = ae.connection_timeout = 20
    ae.dimse_timeout = ae.network_timeout = answer_seconds
    ae.maximum_pdu_size = 1 << 18
    ae.add_requested_context(UID(RAW_DATA), ImplicitVRLittleEndian)
    prompt = [(evt.EVT_CONN_OPEN, make_prompt)]
    association = ae.associate("127.0.0.1", receiving.port, ae_title="WORKBENCH", evt_handlers=prompt)
    assert association.is_established
    return association


def an_object(size: int = 0) -> Dataset:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = RAW_DATA, new_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID = new_uid(), new_uid()
    ds.PatientID = "P"
    ds.add_new(0x00091001, "OB", bytes(size))
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    return ds


def stores(receiving: Any) -> bool:
    association = associated(receiving)
    status = association.send_c_store(an_object()).Status
    association.release()
    return bool(status == 0x0000)


def open_files(receiving: Any) -> int:
    """But those of the catalog, whose connections are kept in a pool of a fixed size."""
    found = 0
    for each in Path(f"/proc/{receiving.process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            found += not each.readlink().name.startswith("catalog.sqlite")
    return found


def threads(receiving: Any) -> int:
    return len(list(Path(f"/proc/{receiving.process.pid}/task").iterdir()))


def client_tls(keys: Path, name: str = "known") -> ssl.SSLContext:
    """What a caller shows and checks, with the certificate of a name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(keys / "authority.pem")
    context.check_hostname = False
    context.load_cert_chain(keys / f"{name}.pem", keys / f"{name}.key")
    return context
