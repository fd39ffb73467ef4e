import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import highdicom
import nrrd
import numpy as np
import pydicom
import pytest
import xarray as xr
from pydicom.sr.codedict import codes

from catalog.errors import DecodeError, HeaderError, StepError
from catalog.headers import read_dataset
from pipelines import phantoms
from pipelines.encode.algorithm import Algorithm
from pipelines.encode.part10 import write_object
from pipelines.encode.segmentation import segmentation
from pipelines.objects.segmentations import label_array, read_segmentation

VOLUME = ("z", "y", "x")


def write_seg(path: Path, phantom: phantoms.Phantom, pixels: np.ndarray, kind: str, **others: Any) -> Path:
    """Write by highdicom; pixels (z, y, x, segment), or labels (z, y, x)."""
    count = pixels.shape[3] if pixels.ndim == 4 else int(pixels.max())
    seg = highdicom.seg.Segmentation(
        [pydicom.dcmread(each) for each in phantom.paths],
        pixels,
        kind,
        [
            highdicom.seg.SegmentDescription(
                number, f"part {number}", codes.SCT.Organ, codes.SCT.Kidney, "MANUAL",
                tracking_uid=highdicom.UID(), tracking_id=f"track {number}",
            )
            for number in range(1, count + 1)
        ],
        series_instance_uid=highdicom.UID(), series_number=9, sop_instance_uid=highdicom.UID(),
        instance_number=1, manufacturer="m", manufacturer_model_name="n", software_versions="1",
        device_serial_number="2", **others,
    )  # fmt: skip
    seg.save_as(path)
    if db := getattr(seg, "_db_con", None):
        db.close()
    return path


def blobs(phantom: phantoms.Phantom, segments: int = 3, *, seed: int = 0) -> np.ndarray:
    """Overlapping boxes (z, y, x, segment); the second and the second last plane are empty."""
    random = np.random.default_rng(seed)
    masks = random.random((*phantom.stored.shape, segments)) < 0.3
    masks[[1, -2]] = False
    return masks.astype(np.uint8)


@pytest.mark.parametrize("name", ["objects/seg/liver.dcm", "objects/seg/partial_overlaps.dcm",
                                  "objects/sr_tid1500/seg.dcm"])  # fmt: skip
def test_real_segments_have_the_voxels_that_their_makers_counted(shared_data, name):
    answer = json.loads((shared_data / "answers" / "objects.json").read_text())[name]
    found = read_segmentation(shared_data / name)
    counts = found.sum(VOLUME).values
    numbers = [str(each) for each in found.coords["segment"].values]
    assert dict(zip(numbers, counts.tolist(), strict=True)) == answer["voxels_by_segment"]
    assert list(found.coords["segment_label"].values) == [each["label"] for each in answer["segments"]]


def reference(shared_data: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Labels (x, y, z) and the affine, LPS mm, of a published label map."""
    values, header = nrrd.read(str(shared_data / "objects/seg/reference" / name))
    assert header["space"] == "left-posterior-superior"
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = header["space directions"].T, header["space origin"]
    return values, affine


@pytest.mark.parametrize(
    ("name", "references"),
    [
        ("liver.dcm", ["liver_seg.nrrd"]),
        ("partial_overlaps.dcm", [f"partial_overlaps-{number}.nrrd" for number in (1, 2, 3)]),
    ],
)
def test_real_segments_lie_where_the_published_label_maps_have_them(shared_data, name, references):
    found = read_segmentation(shared_data / "objects/seg" / name)
    masks, seen = found.values, set()
    for each in references:
        labels, affine = reference(shared_data, each)
        assert np.allclose(found.dicom.affine_lps, affine, atol=1e-5)
        for label in np.unique(labels[labels > 0]):
            (row,) = (row for row, mask in enumerate(masks) if np.array_equal(mask.T, labels == label))
            seen.add(row)
    assert seen == set(range(len(masks)))


def test_real_sources_are_the_planes_of_the_ct(shared_data):
    found = read_segmentation(shared_data / "objects/seg/liver.dcm")
    headers = [read_dataset(path) for path in (shared_data / "objects/seg/ct").glob("*.dcm")]
    by_z = {str(ds.SOPInstanceUID): float(ds.ImagePositionPatient[2]) for ds in headers}
    assert [by_z[uid] for uid in found.dicom.sources] == pytest.approx(found.coords["z"].values)
    assert set(found.attrs["source_sop_instance_uids"]) == set(by_z)
    assert found.dicom.frame_of_reference_uid == headers[0].FrameOfReferenceUID


@pytest.mark.parametrize("orientation", [(1, 0, 0, 0, 1, 0), (0, 1, 0, 0, 0, -1), (0.6, 0.8, 0, 0, 0, -1)])
def test_overlapping_segments_come_back_with_their_empty_planes(tmp_path, orientation):
    ct = phantoms.write_series(tmp_path / "ct", orientation=orientation)
    masks = blobs(ct)
    found = read_segmentation(write_seg(tmp_path / "seg.dcm", ct, masks, "BINARY"))
    assert found.dims == ("segment", *VOLUME)
    assert found.dtype == bool
    assert np.array_equal(found.values, np.moveaxis(masks, -1, 0))
    assert np.allclose(found.dicom.affine_lps, ct.affine_lps)
    assert found.coords["has_frame"].values[0].tolist() == [True, False, *[True] * 4, False, True]


def test_a_cut_is_read_lazily_and_keeps_its_place(ct, tmp_path):
    masks = blobs(ct)
    found = read_segmentation(write_seg(tmp_path / "seg.dcm", ct, masks, "BINARY"))
    cut = found[1:, 2, ::2, 3]
    assert cut.chunks is not None
    assert np.array_equal(cut.values, np.moveaxis(masks, -1, 0)[1:, 2, ::2, 3])
    assert np.array_equal(found[:, [5, 0]].values, np.moveaxis(masks, -1, 0)[:, [5, 0]])
    part = found.isel(z=slice(2, None))
    assert np.allclose(part.dicom.to_lps((0, 0, 0)), (ct.affine_lps @ (0, 0, 2, 1))[:3])


def test_fractions_are_parts_of_the_largest_value(ct, tmp_path):
    fractions = np.random.default_rng(1).integers(0, 201, (*ct.stored.shape, 2)) / 200
    path = write_seg(
        tmp_path / "seg.dcm", ct, fractions, "FRACTIONAL", fractional_type="PROBABILITY",
        max_fractional_value=200,
    )  # fmt: skip
    found = read_segmentation(path)
    assert found.dtype == np.float32
    assert np.allclose(found.values, np.moveaxis(fractions, -1, 0), atol=1e-6)
    with pytest.raises(StepError, match="threshold"):
        label_array(found)
    half = (found >= 0.5).isel(segment=[0])
    for each in (half, half.drop_vars("has_frame")):
        assert np.array_equal(label_array(each).values, fractions[..., 0] >= 0.5)


@pytest.mark.parametrize("others", [{}, {"transfer_syntax_uid": pydicom.uid.RLELossless}])
def test_a_label_map_is_its_labels(ct, tmp_path, others):
    labels = np.random.default_rng(2).integers(0, 5, ct.stored.shape).astype(np.uint8)
    labels[3] = 0
    found = read_segmentation(write_seg(tmp_path / "seg.dcm", ct, labels, "LABELMAP", **others))
    assert found.dims == VOLUME
    assert np.array_equal(found.values, labels)
    assert label_array(found) is found
    assert {number: name for number, name in found.attrs["labels"].items() if number} == {
        number: f"part {number}" for number in range(1, 5)
    }


def test_segments_that_do_not_overlap_become_labels(ct, tmp_path):
    labels = np.random.default_rng(3).integers(0, 4, ct.stored.shape).astype(np.uint8)
    labels[4] = 0
    found = label_array(read_segmentation(write_seg(tmp_path / "seg.dcm", ct, labels, "BINARY")))
    assert found.dims == VOLUME
    assert found.dtype == np.uint8
    assert np.array_equal(found.values, labels)
    assert np.allclose(found.dicom.affine_lps, ct.affine_lps)


def test_segments_that_overlap_do_not_become_labels(ct, tmp_path):
    masks = blobs(ct, 2)
    found = read_segmentation(write_seg(tmp_path / "seg.dcm", ct, masks, "BINARY"))
    shared = np.count_nonzero(masks.all(axis=-1))
    with pytest.raises(StepError, match=f"segment 2 shares {shared:,} voxels with segment 1"):
        label_array(found)


def test_what_this_project_writes_it_reads(ct, tmp_path):
    volume = xr.DataArray(
        ct.modality_values, dims=VOLUME, coords={"sop_instance_uid": ("z", list(ct.sop_instance_uids))},
        attrs={"affine_lps": ct.affine_lps.tolist()}, name="volume",
    )  # fmt: skip
    labels = volume.copy(data=np.digitize(ct.modality_values, [0, 310]).astype(np.uint8)).rename("mask")
    headers = [read_dataset(path) for path in ct.paths]
    ds = segmentation(labels, headers, algorithm=Algorithm("threshold", "1", "7f3a" * 8, {}))
    write_object(ds, tmp_path / "seg.dcm")
    found = label_array(read_segmentation(tmp_path / "seg.dcm"))
    first, last = np.flatnonzero(labels.values.any(axis=(1, 2)))[[0, -1]]
    assert np.array_equal(found.values, labels.values[first : last + 1])
    assert found.dicom.sources == ct.sop_instance_uids[first : last + 1]


def test_segments_are_described(ct, tmp_path):
    found = read_segmentation(write_seg(tmp_path / "seg.dcm", ct, blobs(ct), "BINARY"))
    first = found.attrs["segments"]["1"]
    assert first["label"] == "part 1"
    assert first["type"] == {"value": "64033007", "scheme": "SCT", "meaning": "Kidney"}
    assert first["algorithm_type"] == "MANUAL"
    assert first["tracking_id"] == "track 1"
    assert json.loads(json.dumps(found.attrs["segments"])) == found.attrs["segments"]


# --- not regular, not sane -------------------------------------------------------------------------------


def edited(path: Path, edit) -> Path:
    ds = pydicom.dcmread(path)
    edit(ds)
    ds.save_as(path)
    return path


@pytest.fixture
def binary(ct, tmp_path) -> Path:
    return write_seg(tmp_path / "seg.dcm", ct, blobs(ct), "BINARY")


def shift(ds: pydicom.Dataset) -> None:
    for item in ds.PerFrameFunctionalGroupsSequence:
        position = item.PlanePositionSequence[0].ImagePositionPatient
        if position[2] > 40:
            position[2] += 0.7


def test_planes_at_unequal_distances_are_a_stack_with_a_reason(binary, ct):
    found = read_segmentation(edited(binary, shift))
    assert found.dims == ("segment", "frame", "y", "x")
    assert "no multiples of one distance" in found.attrs["reason"]
    masks = np.delete(np.moveaxis(blobs(ct), -1, 0), [1, 6], axis=1)
    order = np.argsort(found.coords["z_lps_mm"].values)
    assert np.array_equal(found.values[:, order], masks)


def test_planes_of_several_orientations_are_a_stack_with_a_reason(binary):
    def turn(ds: pydicom.Dataset) -> None:
        turned = pydicom.Dataset()
        turned.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
        ds.PerFrameFunctionalGroupsSequence[0].PlaneOrientationSequence = [turned]

    found = read_segmentation(edited(binary, turn))
    assert found.attrs["reason"] == "planes of several orientations"
    assert int(found.sum()) > 0


def test_frames_without_a_position_are_told_apart_by_their_sources(binary, ct):
    def unplace(ds: pydicom.Dataset) -> None:
        for item in ds.PerFrameFunctionalGroupsSequence:
            del item.PlanePositionSequence

    found = read_segmentation(edited(binary, unplace))
    assert found.attrs["reason"] == "frames without a plane position"
    assert sorted(found.dicom.sources) == sorted(np.delete(ct.sop_instance_uids, [1, 6]))


def drop_frame(ds: pydicom.Dataset) -> None:
    del ds.PerFrameFunctionalGroupsSequence[-1]


def same_plane(ds: pydicom.Dataset) -> None:
    first, second = ds.PerFrameFunctionalGroupsSequence[:2]
    second.PlanePositionSequence = first.PlanePositionSequence
    second.SegmentIdentificationSequence = first.SegmentIdentificationSequence


def no_number(ds: pydicom.Dataset) -> None:
    del ds.SegmentSequence[0].SegmentNumber


def signed_labels(ds: pydicom.Dataset) -> None:
    ds.SegmentationType, ds.BitsAllocated, ds.BitsStored, ds.HighBit = "LABELMAP", 8, 8, 7
    ds.PixelRepresentation, ds.PixelData = 1, bytes(ds.NumberOfFrames * ds.Rows * ds.Columns)
    del ds.PerFrameFunctionalGroupsSequence[ds.NumberOfFrames // 3 :]
    ds.NumberOfFrames = len(ds.PerFrameFunctionalGroupsSequence)


def unknown_segment(ds: pydicom.Dataset) -> None:
    ds.PerFrameFunctionalGroupsSequence[2].SegmentIdentificationSequence[0].ReferencedSegmentNumber = 77


def claims(keyword: str, value: Any):
    return lambda ds: setattr(ds, keyword, value)


@pytest.mark.parametrize(
    ("edit", "error", "words"),
    [
        (drop_frame, HeaderError, "functional groups for"),
        (same_plane, HeaderError, "of one segment and one plane"),
        (no_number, HeaderError, "a segment without a Segment Number"),
        (signed_labels, HeaderError, "labels of type int8"),
        (unknown_segment, HeaderError, "of segment 77, which is not described"),
        (claims("SegmentationType", "SURFACE"), HeaderError, "'SURFACE', not one of BINARY"),
        (claims("SegmentationType", "FRACTIONAL"), HeaderError, "Maximum Fractional Value"),
        (claims("SegmentSequence", []), HeaderError, "has no Segment Sequence"),
        (claims("TotalPixelMatrixColumns", 900), HeaderError, "of a slide"),
        (
            claims("SOPClassUID", pydicom.uid.CTImageStorage),
            HeaderError,
            "CT Image Storage, not a Segmentation",
        ),
        (claims("Rows", 60_000), DecodeError, "pixel data are cut"),
        (claims("PixelData", b"\0\0"), DecodeError, "pixel data are cut: 2 bytes"),
    ],
)
def test_what_contradicts_itself_is_refused_in_words(binary, edit, error, words):
    edited(binary, edit)
    with pytest.raises(error, match=words) as caught:
        read_segmentation(binary)
    assert str(binary) in str(caught.value)


def test_a_file_cut_anywhere_gives_words(binary):
    whole = binary.read_bytes()
    for end in range(0, len(whole) - 1, 997):
        binary.write_bytes(whole[:end])
        with pytest.raises((HeaderError, DecodeError)):
            read_segmentation(binary)


def test_a_changed_byte_gives_an_array_or_words(binary):
    whole = bytearray(binary.read_bytes())
    random = np.random.default_rng(4)
    for _ in range(60):
        at = int(random.integers(128, len(whole)))
        kept, whole[at] = whole[at], int(random.integers(256))
        binary.write_bytes(whole)
        with suppress(HeaderError, DecodeError):
            read_segmentation(binary).load()
        whole[at] = kept


@pytest.mark.parametrize("name", ["report.dcm", "empty.dcm", "random.dcm", "notes.txt", "nowhere"])
def test_what_is_no_dicom_is_refused_in_words(shared_data, name):
    with pytest.raises(HeaderError, match=name):
        read_segmentation(shared_data / "broken/not_dicom" / name)


def test_a_hundred_segments_become_one_array_of_labels(tmp_path):
    ct = phantoms.write_series(tmp_path / "ct", planes=20, rows=64, columns=64)
    labels = np.random.default_rng(5).integers(0, 99, (20, 8, 8)).repeat(8, 1).repeat(8, 2).astype(np.uint8)
    found = read_segmentation(write_seg(tmp_path / "seg.dcm", ct, labels, "BINARY"))
    assert np.array_equal(label_array(found).values, labels)
