"""SPECT: slices of reconstructed nuclear medicine lie in the patient where their header says."""

from itertools import product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom import Dataset, uid
from pydicom.sequence import Sequence

from pipelines import phantoms
from pipelines.export import to_nifti
from pipelines.planes import planes_of
from pipelines.verify import verify_array
from pipelines.volumes import open_array, stored_values

ROWS, COLUMNS = 5, 6
POSITION = (-150.0, -140.0, 300.0)
AXIAL = (1, 0, 0, 0, 1, 0)
OBLIQUE = (0.8, 0.6, 0, 0, 0, -1)


def spect(path: Path, vectors: dict[str, list[int]], **changes: Any) -> Any:
    """Write one instance whose frames are numbered by vectors; `None` takes an attribute away. Its values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    phantom = phantoms.write_series(path.parent / "seed", planes=1)
    ds = pydicom.dcmread(phantom.paths[0])
    phantom.paths[0].unlink()
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "RescaleIntercept", "RescaleSlope"):
        delattr(ds, keyword)
    detector = Dataset()
    detector.ImagePositionPatient = list(changes.pop("position", POSITION))
    detector.ImageOrientationPatient = list(changes.pop("orientation", AXIAL))
    frames = len(next(iter(vectors.values())))
    values = np.random.default_rng(3).integers(0, 4096, (frames, ROWS, COLUMNS))
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = uid.NuclearMedicineImageStorage
    attributes = {
        "Modality": "NM", "ImageType": ["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"],
        "NumberOfFrames": frames, "Rows": ROWS, "Columns": COLUMNS, "PixelSpacing": [4.5, 4.0],
        "SpacingBetweenSlices": 3.0, "DetectorInformationSequence": Sequence([detector]),
        "FrameIncrementPointer": [pydicom.datadict.tag_for_keyword(each) for each in vectors],
    }  # fmt: skip
    for keyword, value in (attributes | vectors | changes).items():
        setattr(ds, keyword, value)
        if value is None:
            delattr(ds, keyword)
    ds.PixelData = values.astype("<u2").tobytes()
    ds.save_as(path)
    return values


def numbered(count: int = 20) -> dict[str, list[int]]:
    return {"SliceVector": list(range(1, count + 1))}


@pytest.mark.parametrize("orientation", [AXIAL, OBLIQUE])
@pytest.mark.parametrize("spacing", [3.0, -3.0])
def test_each_slice_lies_along_the_normal_from_the_first(
    indexed: Any, tmp_path: Path, orientation: tuple[float, ...], spacing: float
) -> None:
    values = spect(
        tmp_path / "a" / "nm.dcm", numbered(), orientation=orientation, SpacingBetweenSlices=spacing
    )
    (series,) = indexed(tmp_path / "a")
    volume = open_array(series.array)
    assert volume.sizes == {"z": 20, "y": ROWS, "x": COLUMNS}
    row, column = np.reshape(orientation, (2, 3))
    for plane in (0, 7, 19):
        number = int(volume.frame_number[plane])
        assert np.array_equal(volume[plane], values[number - 1])
        first = POSITION + np.cross(row, column) * spacing * (number - 1)
        np.testing.assert_allclose(volume.dicom.to_lps([0, 0, plane]), first, atol=1e-9)
        np.testing.assert_allclose(
            volume.dicom.to_lps([2, 3, plane]), first + row * 2 * 4.0 + column * 3 * 4.5, atol=1e-9
        )
    assert volume.dicom.spacing_mm == pytest.approx((3, 4.5, 4))
    assert volume.frame_number[0] == (1 if spacing > 0 else 20)


def test_a_volume_of_spect_is_verified_given_back_and_exported(indexed: Any, tmp_path: Path) -> None:
    values = spect(tmp_path / "a" / "nm.dcm", numbered(), SpacingBetweenSlices=-3.0)
    (series,) = indexed(tmp_path / "a")
    record = series.array
    verified = verify_array(record, series.instances)
    assert (verified.frames, verified.mismatches) == (20, ())
    assert np.array_equal(stored_values(record), values[::-1])
    planes = list(planes_of(record))
    assert planes[-1].image_position_patient == POSITION
    assert planes[0].image_position_patient == pytest.approx((-150, -140, 300 - 19 * 3))
    nifti: Any = nibabel.load(to_nifti(open_array(record), tmp_path / "spect.nii"))
    assert nifti.shape == (COLUMNS, ROWS, 20)
    assert series.ingest().arrays == (record,)


def test_gated_slices_have_the_phases_of_the_heart(indexed: Any, tmp_path: Path) -> None:
    slots, slices = zip(*product(range(1, 9), range(1, 5)), strict=True)
    interval, gate = Dataset(), Dataset()
    interval.FrameTime = 110
    gate.DataInformationSequence = Sequence([interval])
    values = spect(
        tmp_path / "a" / "nm.dcm", {"TimeSlotVector": list(slots), "SliceVector": list(slices)},
        ImageType=["ORIGINAL", "PRIMARY", "RECON GATED TOMO", "EMISSION"],
        GatedInformationSequence=Sequence([gate]),
    )  # fmt: skip
    (series,) = indexed(tmp_path / "a")
    beat = open_array(series.array)
    assert beat.dims == ("phase", "z", "y", "x")
    np.testing.assert_allclose(beat.phase, np.arange(8) * 110)
    assert beat.phase.attrs["units"] == "ms"
    assert beat.time_slot_index.values.tolist() == list(range(1, 9))
    assert np.array_equal(beat.values.reshape(32, ROWS, COLUMNS), values)
    assert verify_array(series.array, series.instances).mismatches == ()


def test_slots_whose_time_is_unknown_are_counted(indexed: Any, tmp_path: Path) -> None:
    slices, slots = zip(*product(range(1, 5), (1, 2, 3)), strict=True)
    values = spect(
        tmp_path / "a" / "nm.dcm", {"SliceVector": list(slices), "TimeSlotVector": list(slots)},
        ImageType=["ORIGINAL", "PRIMARY", "RECON GATED TOMO", "EMISSION"],
    )  # fmt: skip
    (series,) = indexed(tmp_path / "a")
    beat = open_array(series.array)
    assert beat.sizes == {"temporal_position": 3, "z": 4, "y": ROWS, "x": COLUMNS}
    assert beat.time_slot_index.values.tolist() == [1, 2, 3]
    assert np.array_equal(beat[1, 2], values[2 * 3 + 1])


@pytest.mark.parametrize(
    ("vectors", "changes", "reason"),
    [
        (numbered(), {"SpacingBetweenSlices": None}, "Spacing Between Slices (0018,0088) is 0 mm"),
        (numbered(), {"DetectorInformationSequence": None}, "no positions in Detector Information Sequence"),
        (numbered(), {"orientation": (1, 0, 0, 1, 0, 0)}, "no usable position, orientation or pixel spacing"),
        (numbered(), {"PixelSpacing": None}, "no usable position, orientation or pixel spacing"),
        (numbered(), {"FrameIncrementPointer": None}, "names no Slice Vector (0054,0080)"),
        (numbered(2), {}, "2 slices only"),
        ({"SliceVector": [1, 2, 4]}, {}, "Slice Vector (0054,0080) leaves slices out"),
        ({"SliceVector": [1, 2, 3, 3]}, {}, "not every slice occurs once"),
        ({"SliceVector": [1, 2, 3], "EnergyWindowVector": [1, 1, 2]}, {}, "differ by energy_window, too"),
    ],
)
def test_slices_that_the_header_does_not_place_are_a_stack_with_the_reason(
    indexed: Any, tmp_path: Path, vectors: dict[str, list[int]], changes: dict[str, Any], reason: str
) -> None:
    values = spect(tmp_path / "a" / "nm.dcm", vectors, **changes)
    (series,) = indexed(tmp_path / "a")
    stack = open_array(series.array)
    assert stack.attrs["reason"].startswith("reconstructed slices without a place in the patient: ")
    assert reason in stack.attrs["reason"]
    assert "affine_lps" not in stack.attrs
    assert np.array_equal(stack, values)


def test_projections_are_no_slices(indexed: Any, tmp_path: Path) -> None:
    spect(tmp_path / "a" / "nm.dcm", numbered(), ImageType=["ORIGINAL", "PRIMARY", "TOMO", "EMISSION"])
    (series,) = indexed(tmp_path / "a")
    assert open_array(series.array).attrs["reason"] == "multi-frame object of 20 frames"
