"""An object cut at any element is never stored as complete, and whoever sent it is told."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from catalog.arrivals import Status
from catalog.database import Catalog
from catalog.intake import Intake
from pipelines import phantoms

SYNTAXES = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, RLELossless)


@pytest.fixture(params=SYNTAXES, ids=lambda syntax: str(syntax.name))
def content(request: pytest.FixtureRequest, tmp_path: Path) -> bytes:
    """A small CT with a sequence, in a transfer syntax."""
    (plane,) = phantoms.write_series(tmp_path / "ct", planes=1, rows=16, columns=16).paths
    ds = pydicom.dcmread(plane)
    reference = pydicom.Dataset()
    reference.ReferencedSOPClassUID = reference.ReferencedSOPInstanceUID = "1.2.3"
    ds.ReferencedImageSequence = [reference]
    if request.param is RLELossless:
        ds.compress(RLELossless, generate_instance_uid=False)
    else:
        ds.file_meta.TransferSyntaxUID = request.param
    ds.save_as(plane, enforce_file_format=True)
    return plane.read_bytes()


def ends(content: bytes) -> Iterator[int]:
    """Where each element of the meta information and the data set ends, those in sequences too."""

    whole = BytesIO(content)
    ds = pydicom.dcmread(whole)
    for element in (*ds.file_meta, *ds.iterall()):
        if element.file_tell:
            yield element.file_tell
    yield len(content)


def test_10_P3_a_file_cut_at_any_element_is_never_stored_as_complete(
    sqlite_catalog: Catalog, tmp_path: Path, content: bytes
) -> None:
    cuts = sorted({at + step for at in ends(content) for step in (-1, 0, 1)} & set(range(len(content))))
    assert len(cuts) > 60
    with Intake(sqlite_catalog, tmp_path / "received") as intake:
        for cut in cuts:
            with intake.incoming() as incoming:
                incoming.write(content[:cut])
                taken = intake.take(incoming)
            assert taken.status in (Status.QUARANTINED, Status.DUPLICATE), cut
            assert taken.status is Status.QUARANTINED or "quarantine" in taken.path
        with intake.incoming() as incoming:
            incoming.write(content)
            assert intake.take(incoming).status is Status.STORED
