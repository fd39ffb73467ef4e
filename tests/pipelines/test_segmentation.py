import math
from contextlib import closing
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.sr.codedict import codes

from catalog.errors import EncodeError
from catalog.headers import read_dataset
from pipelines import phantoms
from pipelines.encode.algorithm import Algorithm
from pipelines.encode.part10 import write_object
from pipelines.encode.segmentation import segmentation

ALGORITHM = Algorithm("threshold", "1.2.3", "7f3a" * 8, {"above": 0.0})


def volume_of(phantom: phantoms.Phantom) -> xr.DataArray:
    return xr.DataArray(
        phantom.modality_values,
        dims=("z", "y", "x"),
        coords={"sop_instance_uid": ("z", list(phantom.sop_instance_uids))},
        attrs={"affine_lps": phantom.affine_lps.tolist(), "units": "HU"},
        name="volume",
    )


def mask_of(phantom: phantoms.Phantom, values: np.ndarray) -> xr.DataArray:
    return volume_of(phantom).copy(data=values).rename("mask")


def headers_of(phantom: phantoms.Phantom) -> list[pydicom.Dataset]:
    return [read_dataset(path) for path in phantom.paths]


def read_back(ds: pydicom.Dataset, path: Path) -> highdicom.seg.Segmentation:
    write_object(ds, path)
    return highdicom.seg.segread(path)


def masks_in(seg: highdicom.seg.Segmentation, uids: tuple[str, ...]) -> np.ndarray:
    """Shape (z, y, x, segment): what highdicom finds on the planes of these source instances."""
    with closing(seg._db_con):
        return seg.get_pixels_by_source_instance(
            list(uids), ignore_spatial_locations=False, assert_missing_frames_are_empty=True
        )


def test_highdicom_reads_the_same_voxels_at_the_same_instances(ct, tmp_path):
    mask = volume_of(ct) > 0
    seg = read_back(segmentation(mask, headers_of(ct), algorithm=ALGORITHM), tmp_path / "seg.dcm")
    assert np.array_equal(masks_in(seg, ct.sop_instance_uids)[..., 0], mask.values)


cosines = st.floats(0, 2 * math.pi).flatmap(
    lambda turn: st.floats(-1.4, 1.4).map(
        lambda tilt: (
            math.cos(turn), math.sin(turn), 0.0,
            -math.sin(turn) * math.cos(tilt), math.cos(turn) * math.cos(tilt), math.sin(tilt),
        )
    )
)  # fmt: skip


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(orientation=cosines, seed=st.integers(0, 2**32 - 1), labels=st.integers(1, 3), data=st.data())
def test_any_labels_on_any_orientation_come_back_exactly(tmp_path, orientation, seed, labels, data):
    phantom = phantoms.write_series(
        tmp_path / str(seed),
        planes=4,
        rows=9,
        columns=7,
        orientation=[round(each, 9) for each in orientation],
    )
    values = np.random.default_rng(seed).integers(0, labels + 1, (4, 9, 7)).astype(np.uint8)
    values[data.draw(st.integers(0, 3))] = 0
    values[0, 0, 0] = labels
    found = [label for label in range(1, labels + 1) if (values == label).any()]
    sources = data.draw(st.permutations(headers_of(phantom)))
    seg = read_back(
        segmentation(mask_of(phantom, values), sources, algorithm=ALGORITHM), tmp_path / f"{seed}.dcm"
    )
    again = masks_in(seg, phantom.sop_instance_uids)
    assert again.shape[-1] == len(found)
    for index, label in enumerate(found):
        assert np.array_equal(again[..., index], values == label)


def test_frames_lie_exactly_where_their_source_planes_lie(ct):
    ds = segmentation(volume_of(ct) > 0, headers_of(ct), algorithm=ALGORITHM)
    positions = {source.SOPInstanceUID: source.ImagePositionPatient for source in headers_of(ct)}
    for frame in ds.PerFrameFunctionalGroupsSequence:
        source = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        assert frame.PlanePositionSequence[0].ImagePositionPatient == positions[source]


def test_it_belongs_to_the_source_s_study_and_frame_of_reference(ct):
    ds = segmentation(volume_of(ct) > 0, headers_of(ct), algorithm=ALGORITHM)
    assert ds.StudyInstanceUID == ct.study_instance_uid
    assert ds.FrameOfReferenceUID == ct.frame_of_reference_uid
    assert ds.SeriesInstanceUID != ct.series_instance_uid
    assert (ds.PatientID, ds.SegmentationType) == ("PHANTOM", "BINARY")


def test_every_source_instance_is_referenced(ct):
    ds = segmentation(volume_of(ct) > 0, headers_of(ct), algorithm=ALGORITHM)
    (series,) = ds.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == ct.series_instance_uid
    referenced = {item.ReferencedSOPInstanceUID for item in series.ReferencedInstanceSequence}
    assert referenced == set(ct.sop_instance_uids)


def test_planes_without_a_voxel_have_no_frame(ct):
    values = np.zeros(ct.stored.shape, bool)
    values[3, 5, 5] = values[6, 5, 5] = True
    assert segmentation(mask_of(ct, values), headers_of(ct), algorithm=ALGORITHM).NumberOfFrames == 2


def test_algorithm_version_parameters_and_run_can_be_traced(ct):
    ds = segmentation(volume_of(ct) > 0, headers_of(ct), algorithm=ALGORITHM)
    (segment,) = ds.SegmentSequence
    (identification,) = segment.SegmentationAlgorithmIdentificationSequence
    assert (segment.SegmentAlgorithmType, segment.SegmentAlgorithmName) == ("AUTOMATIC", "threshold")
    assert (identification.AlgorithmVersion, identification.AlgorithmParameters) == ("1.2.3", "above=0.0")
    assert ALGORITHM.run in ds.ContentDescription
    assert ALGORITHM.run in segment.TrackingID
    assert ds.SeriesDescription == "threshold, run 7f3a7f3a"


def test_labels_may_have_gaps_and_names_and_codes(ct):
    values = np.zeros(ct.stored.shape, np.int16)
    values[2, 4, 4], values[3, 4, 4] = 4, 9
    ds = segmentation(
        mask_of(ct, values), headers_of(ct), algorithm=ALGORITHM, labels={4: "Leber links"},
        property_category=codes.SCT.AnatomicalStructure, property_type=codes.SCT.Liver,
    )  # fmt: skip
    assert [segment.SegmentNumber for segment in ds.SegmentSequence] == [1, 2]
    assert [segment.SegmentLabel for segment in ds.SegmentSequence] == ["Leber links", "mask 9"]
    assert ds.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Liver"


@pytest.mark.parametrize(
    "name", ["Müller^Jürgen", "Yamada^Tarou=山田^太郎=やまだ^たろう", "Дионисий^Иван", "Anonymized"]
)
def test_names_survive(tmp_path, name):
    phantom = phantoms.write_series(tmp_path / "archive", patient_name=name)
    write_object(
        segmentation(volume_of(phantom) > 0, headers_of(phantom), algorithm=ALGORITHM), tmp_path / "seg.dcm"
    )
    again = pydicom.dcmread(tmp_path / "seg.dcm")
    assert again.PatientName == name
    assert again.SpecificCharacterSet == "ISO_IR 192"


def test_a_latin_1_name_is_encoded_anew(ct, tmp_path):
    sources = []
    for path in ct.paths:
        ds = pydicom.dcmread(path)
        ds.SpecificCharacterSet, ds.PatientName = "ISO_IR 100", "Müller^Jürgen"
        ds.save_as(path)
        sources.append(read_dataset(path))
    write_object(segmentation(volume_of(ct) > 0, sources, algorithm=ALGORITHM), tmp_path / "seg.dcm")
    assert pydicom.dcmread(tmp_path / "seg.dcm").PatientName == "Müller^Jürgen"


def test_faults_of_the_source_are_not_inherited(ct):
    sources = headers_of(ct)
    del sources[0].StudyID, sources[0].AccessionNumber
    with pydicom.config.disable_value_validation():
        sources[0].PatientBirthDate, sources[0].PatientSex, sources[0].PatientAge = "1.4.1961", "W", "64"
    ds = segmentation(volume_of(ct) > 0, sources, algorithm=ALGORITHM)
    emptied = ("PatientBirthDate", "PatientSex", "PatientAge", "StudyID", "AccessionNumber")
    assert [keyword for keyword in emptied if ds[keyword].value] == []
    assert sources[0].PatientSex == "W"


def refused(mask: xr.DataArray, sources: list[pydicom.Dataset], words: str) -> None:
    with pytest.raises(EncodeError, match=words):
        segmentation(mask, sources, algorithm=ALGORITHM)


def test_an_empty_mask_is_refused_in_words(ct):
    refused(volume_of(ct) > 9999, headers_of(ct), "no voxel is set")


def test_values_that_are_no_labels_are_refused(ct):
    refused(volume_of(ct), headers_of(ct), "boolean or integer labels, this one is float32")
    refused(mask_of(ct, np.full(ct.stored.shape, -1)), headers_of(ct), "positive, this one has -1")


def test_a_plane_without_a_source_is_named(ct):
    mask = volume_of(ct) > 0
    refused(mask, headers_of(ct)[1:], f"1 of 8 planes.*{ct.sop_instance_uids[0]}")
    refused(mask, [], "at least one source")


def test_a_mask_of_another_size_is_refused(ct):
    refused((volume_of(ct) > 0)[:, 1:], headers_of(ct), r"shape \(8, 31, 24\)")


def test_a_mask_that_lost_its_instances_is_refused(ct):
    bare = (volume_of(ct) > 0).drop_vars("sop_instance_uid")
    refused(bare, headers_of(ct), "no coordinate sop_instance_uid")


def test_planes_of_two_series_are_refused(ct, tmp_path):
    other = phantoms.write_series(tmp_path / "other", description="other")
    both = xr.concat([volume_of(ct) > 0, volume_of(other) > 0], dim="z")
    refused(both, [*headers_of(ct), *headers_of(other)], "one SeriesInstanceUID, these have 2")


def test_sources_without_a_frame_of_reference_are_refused(ct):
    sources = headers_of(ct)
    for source in sources:
        del source.FrameOfReferenceUID
    refused(volume_of(ct) > 0, sources, "Frame Of Reference")


def test_an_algorithm_s_name_fits_its_attribute():
    with pytest.raises(EncodeError, match="name must be 1 to 64 characters"):
        Algorithm("x" * 65, "1", "1")


def test_a_mask_of_an_enhanced_image_is_placed_by_its_affine(shared_data, tmp_path):
    (path,) = (shared_data / "fourd" / "enhanced_fmri_philips").rglob("*.dcm")
    source = read_dataset(path)
    source.FrameOfReferenceUID = "1.2.3"  # the file came without one
    positions = sorted(
        {tuple(map(float, item.PlanePositionSequence[0].ImagePositionPatient))
         for item in source.PerFrameFunctionalGroupsSequence},
        key=lambda position: position[2],
    )  # fmt: skip
    groups = source.PerFrameFunctionalGroupsSequence[0]
    cosines = np.array(groups.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    spacing = [float(each) for each in groups.PixelMeasuresSequence[0].PixelSpacing]
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = cosines[:3] * spacing[1], cosines[3:] * spacing[0]
    affine[:3, 2], affine[:3, 3] = np.subtract(positions[1], positions[0]), positions[0]
    values = np.zeros((len(positions), source.Rows, source.Columns), bool)
    values[2:4, 10:20, 5:9] = True
    mask = xr.DataArray(values, dims=("z", "y", "x"), attrs={"affine_lps": affine}, name="mask")
    seg = read_back(segmentation(mask, [source], algorithm=ALGORITHM), tmp_path / "seg.dcm")
    with closing(seg._db_con):
        again = seg.get_volume(combine_segments=True)
    assert again.array.sum() == values.sum()
    here = np.c_[np.argwhere(values)[:, ::-1], np.ones(values.sum())] @ affine.T
    there = np.c_[np.argwhere(again.array), np.ones(values.sum())] @ np.array(again.affine).T
    assert np.abs(np.sort(here, axis=0) - np.sort(there, axis=0)).max() < 1e-3


def test_what_cannot_be_read_in_a_source_is_left_out(ct):
    sources = headers_of(ct)
    with pydicom.config.disable_value_validation():
        method = pydicom.Dataset()
        method.CodeValue, method.CodingSchemeDesignator = "replace_recognizable", "99X"
        method.CodeMeaning = "replaced"
        sources[0].PatientIdentityRemoved = "YES"
        sources[0].DeidentificationMethodCodeSequence = [method]
    sources[0][0x00280008] = pydicom.dataelem.RawDataElement(
        pydicom.tag.Tag(0x00280008), "IS", 2, b"1A", 0, False, True
    )
    ds = segmentation(volume_of(ct) > 0, sources, algorithm=ALGORITHM)
    assert "DeidentificationMethodCodeSequence" not in ds
    assert ds.DeidentificationMethod == "not stated by the source"


def test_an_image_without_a_place_in_the_patient_keeps_its_own_orientation(ct):
    (source, *_) = headers_of(ct)
    source.SOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    del source.FrameOfReferenceUID, source.ImageOrientationPatient, source.ImagePositionPatient
    source.PatientOrientation = ["L", "P"]
    ds = segmentation((volume_of(ct) > 0)[:1] | True, [source], algorithm=ALGORITHM)
    assert ds.PatientOrientation == ["L", "P"]


def test_a_value_pydicom_doubts_is_not_quoted(ct):
    for path in ct.paths:
        path.write_bytes(path.read_bytes().replace(b"19610401", b"Jan 1961"))
    ds = segmentation(volume_of(ct) > 0, headers_of(ct), algorithm=ALGORITHM)  # a warning would be an error
    assert not ds.PatientBirthDate


def test_an_unknown_slice_thickness_becomes_the_distance_of_planes(ct):
    sources = headers_of(ct)
    for source in sources:
        source.SliceThickness = None
    ds = segmentation(volume_of(ct) > 0, sources, algorithm=ALGORITHM)
    (measures,) = ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    assert measures.SliceThickness == 2.5
    refused((volume_of(ct) > 0).assign_attrs(affine_lps=None), sources, "no Slice Thickness")
