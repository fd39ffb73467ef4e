"""Nothing leaves that is not what was queued, or not fit for a node."""

from datetime import UTC, datetime
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless

from catalog.database import Catalog
from catalog.identifiers import digest
from catalog.index import index_paths
from catalog.records import Delivery
from pipelines import phantoms
from workbench.pacs.instance import Instance, Unfit, examine

NOW = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)


@pytest.fixture
def plane(ct: phantoms.Phantom) -> Path:
    return ct.paths[0]


def queued(path: Path, **changed: str) -> Delivery:
    ds = pydicom.dcmread(path, stop_before_pixels=True, force=True)
    found = {
        "sop_instance_uid": str(ds.SOPInstanceUID),
        "sop_class_uid": str(ds.SOPClassUID),
        "digest": digest(path.read_bytes()),
    }
    return Delivery(
        delivery=1, node="PACS", path=str(path), state="queued", reason="", attempts=1, next_attempt=NOW,
        **found | changed,
    )  # fmt: skip


def rewritten(path: Path, **values: str | None) -> Path:
    ds = pydicom.dcmread(path)
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    ds.save_as(path)
    return path


def reason(found: Instance | Unfit) -> str:
    assert isinstance(found, Unfit)
    return found.reason


def test_a_file_as_it_was_queued_is_fit(catalog: Catalog, plane: Path) -> None:
    found = examine(catalog, queued(plane))
    assert isinstance(found, Instance)
    assert (found.path, found.transfer_syntax_uid) == (plane, "1.2.840.10008.1.2.1")


def test_a_file_that_has_changed_is_not(catalog: Catalog, plane: Path) -> None:
    before = queued(plane)
    rewritten(plane, ContentTime="010203")
    assert "has changed since it was queued" in reason(examine(catalog, before))


def test_a_file_that_is_gone_is_not(catalog: Catalog, plane: Path) -> None:
    before = queued(plane)
    plane.unlink()
    assert reason(examine(catalog, before)) == "the file cannot be read: no such file or directory"


def test_another_instance_than_was_queued_is_not(catalog: Catalog, plane: Path) -> None:
    other = queued(plane, sop_instance_uid="1.2.3")
    assert reason(examine(catalog, other)) == "its SOP Instance UID is not the one that was queued (1.2.3)"


def test_meta_information_that_names_another_instance_is_not(catalog: Catalog, plane: Path) -> None:
    ds = pydicom.dcmread(plane)
    ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    ds.save_as(plane)
    assert "Media Storage SOP Instance UID" in reason(examine(catalog, queued(plane)))


def test_a_file_without_meta_information_is_not(catalog: Catalog, plane: Path, tmp_path: Path) -> None:
    bare = Dataset(pydicom.dcmread(plane))
    bare.save_as(tmp_path / "bare.dcm", implicit_vr=False, little_endian=True)
    assert "meta information" in reason(examine(catalog, queued(tmp_path / "bare.dcm")))


def test_a_file_whose_pixel_data_are_cut_is_not(catalog: Catalog, plane: Path) -> None:
    plane.write_bytes(plane.read_bytes()[:-2])
    words = reason(examine(catalog, queued(plane)))
    assert words.startswith("the file is not whole: pixel data are cut: ")


def test_fewer_frames_than_the_header_promises_are_not(catalog: Catalog, plane: Path) -> None:
    path = rewritten(plane, NumberOfFrames="2")
    assert "pixel data are cut" in reason(examine(catalog, queued(path)))


def test_an_image_without_pixel_data_is_not(catalog: Catalog, plane: Path) -> None:
    ds = pydicom.dcmread(plane)
    del ds.PixelData
    ds.save_as(plane)
    assert "has no pixel data" in reason(examine(catalog, queued(plane)))


@pytest.mark.parametrize("missing", [8, 9, 200])
def test_encapsulated_pixel_data_are_items_up_to_the_delimiter(
    catalog: Catalog, plane: Path, missing: int
) -> None:
    ds = pydicom.dcmread(plane)
    ds.compress(RLELossless)
    ds.save_as(plane)
    assert isinstance(examine(catalog, queued(plane)), Instance)
    plane.write_bytes(plane.read_bytes()[:-missing])
    assert "the file is not whole: pixel data are cut" in reason(examine(catalog, queued(plane)))


def test_what_a_node_cannot_file_is_not(catalog: Catalog, plane: Path) -> None:
    path = rewritten(plane, PatientID="", Modality="")
    assert reason(examine(catalog, queued(path))) == "it has no patient id, modality"


def test_a_result_in_the_study_of_another_patient_is_not(
    catalog: Catalog, ct: phantoms.Phantom, plane: Path
) -> None:
    index_paths(catalog, [path.parent for path in ct.paths[:1]])
    assert isinstance(examine(catalog, queued(plane)), Instance)
    path = rewritten(plane, PatientID="SOMEBODY ELSE")
    words = reason(examine(catalog, queued(path)))
    assert words == f"its patient is not the one that study {ct.study_instance_uid} belongs to in the catalog"
