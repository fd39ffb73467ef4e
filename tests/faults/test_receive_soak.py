"""Twenty thousand objects over four associations: memory of `workbench receive` does not grow with them."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID, ImplicitVRLittleEndian
from pynetdicom.dsutils import encode
from pynetdicom.presentation import build_context

from catalog.identifiers import new_uid
from workbench.pacs.wire.association import Association
from workbench.pacs.wire.command import MEDIUM, Command, Field
from workbench.pacs.wire.connection import Connection

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]

RAW_DATA = "1.2.840.10008.5.1.4.1.1.66"
OBJECTS, ASSOCIATIONS, OF_A_SERIES = 20_000, 4, 500
WARM = 5_000
"""Objects after which caches are as full as they become."""
BYTES_AN_OBJECT = 256
"""By which memory may grow: a row that is remembered takes more."""


def test_36_memory_is_flat_over_twenty_thousand_objects(
    start_receive: Callable[..., Any], tmp_path: Path
) -> None:
    receiving = start_receive(tmp_path / "bench")
    sent, numbers = count(), count()
    seen: list[tuple[int, int]] = []

    def send(association: Association, objects: Iterator[tuple[str, bytes]]) -> None:
        for uid, content in objects:
            request = Command(
                command_field=Field.C_STORE,
                message_id=association.next_message_id(),
                affected_sop_class_uid=RAW_DATA,
                affected_sop_instance_uid=uid,
                priority=MEDIUM,
            )
            association.send(1, request, content)
            answer = association.receive()
            assert answer is not None
            assert answer.command.status == 0x0000
            if (number := next(sent)) % 100 == 0:
                seen.append((number, resident_bytes(receiving.process.pid)))

    def run(_which: int) -> None:
        for _ in range(OBJECTS // ASSOCIATIONS // OF_A_SERIES):
            association = opened(receiving.port)
            send(association, a_series(numbers))
            association.release()

    with ThreadPoolExecutor(ASSOCIATIONS) as threads:
        list(threads.map(run, range(ASSOCIATIONS)))
    assert next(sent) == OBJECTS
    numbers_of, bytes_of = np.array([each for each in seen if each[0] >= WARM]).T
    slope = np.polyfit(numbers_of, bytes_of, 1)[0]
    assert slope < BYTES_AN_OBJECT, f"{slope:.0f} bytes an object: {bytes_of.tolist()}"
    receiving.settle()
    assert len([path for path in receiving.files if path.suffix == ".dcm"]) == OBJECTS
    assert receiving.end() == 0


def resident_bytes(process_id: int) -> int:
    return int(Path(f"/proc/{process_id}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def opened(port: int) -> Association:
    connection = Connection.to("127.0.0.1", port, seconds=60)
    connection.allow(None)
    contexts = [build_context(UID(RAW_DATA), ImplicitVRLittleEndian)]
    return Association.request(connection, "TEST", "WORKBENCH", contexts, maximum_length=1 << 18)


def a_series(numbers: Iterator[int]) -> Iterator[tuple[str, bytes]]:
    """SOP Instance UID and data set of one instance after another."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = RAW_DATA, "1.2.3.10000000"
    ds.PatientID, ds.StudyInstanceUID, ds.SeriesInstanceUID = "P", new_uid(), new_uid()
    ds.add_new(0x00091001, "OB", bytes(4096))
    like = encode(ds, True, True)
    assert like is not None
    for _ in range(OF_A_SERIES):
        uid = f"1.2.3.{10_000_001 + next(numbers)}"
        yield uid, like.replace(b"1.2.3.10000000", uid.encode())
