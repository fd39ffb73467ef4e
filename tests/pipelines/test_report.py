import math
from pathlib import Path

import numpy as np
import pydicom
import pytest
import xarray as xr
from highdicom.sr import srread

from catalog.errors import EncodeError
from catalog.headers import read_dataset
from pipelines import measure, phantoms
from pipelines.encode.algorithm import DEVICE_UID, Algorithm
from pipelines.encode.part10 import write_object
from pipelines.encode.report import report
from pipelines.encode.segmentation import segmentation

ALGORITHM = Algorithm("threshold", "1.2.3", "7f3a" * 8, {"above": 0.0})


class Case:
    """A phantom's sphere, segmented and measured."""

    def __init__(self, phantom: phantoms.Phantom, *, unit: str = "HU") -> None:
        self.phantom = phantom
        self.mask = phantom.modality_values > 0
        array = xr.DataArray(
            self.mask, dims=("z", "y", "x"), name="mask",
            coords={"sop_instance_uid": ("z", list(phantom.sop_instance_uids))},
        )  # fmt: skip
        self.sources = [read_dataset(path) for path in phantom.paths]
        self.segmentation = segmentation(array, self.sources, algorithm=ALGORITHM)
        moments = measure.moments_by_label([(phantom.modality_values, self.mask)])[1]
        self.rows = [
            {**row, "segment": 1} for row in measure.rows(moments, unit=unit, affine_lps=phantom.affine_lps)
        ]

    def report(self, rows: list | None = None) -> pydicom.Dataset:
        given = self.rows if rows is None else rows
        return report(self.segmentation, self.sources, given, algorithm=ALGORITHM)


def numbers_in(ds: pydicom.Dataset, path: Path) -> dict:
    """Every measurement by name and derivation: value and UCUM unit, as highdicom reads them."""
    write_object(ds, path)
    (group,) = srread(path).content.get_volumetric_roi_measurement_groups()
    return {
        (each.name.meaning, each.derivation.meaning if each.derivation else None): (
            each.value,
            each.unit.value,
        )
        for each in group.get_measurements()
    }


def test_the_sphere_s_volume_and_moments_are_in_the_report(ct, tmp_path):
    case = Case(ct)
    found = numbers_in(case.report(), tmp_path / "sr.dcm")
    inside = ct.modality_values[case.mask].astype(np.float64)
    volume, unit = found["Volume", None]
    assert (volume, unit) == (pytest.approx(case.mask.sum() * 0.8 * 0.7 * 2.5, rel=1e-12), "mm3")
    attenuation = "Attenuation Coefficient"
    assert found[attenuation, "Mean"] == (pytest.approx(inside.mean()), "[hnsf'U]")
    assert found[attenuation, "Standard Deviation"] == (pytest.approx(inside.std()), "[hnsf'U]")
    assert found[attenuation, "Maximum"] == (inside.max(), "[hnsf'U]")


def test_mr_values_are_signal_without_a_unit(tmp_path):
    phantom = phantoms.write_series(tmp_path / "mr", modality="MR")
    found = numbers_in(Case(phantom, unit="1").report(), tmp_path / "sr.dcm")
    assert found["MR signal intensity", "Mean"][1] == "1"


def test_a_measurement_the_standard_has_no_code_for_gets_one_of_ours(ct, tmp_path):
    rows = [{"name": "emphysema index of the left lung", "value": 0.15, "unit": "1", "segment": 1}]
    found = numbers_in(Case(ct).report(rows), tmp_path / "sr.dcm")
    assert found == {("emphysema index of the left lung", None): (0.15, "1")}


def test_it_refers_to_the_segment_and_to_the_source_series(ct, tmp_path):
    case = Case(ct)
    write_object(case.report(), tmp_path / "sr.dcm")
    document = srread(tmp_path / "sr.dcm")
    (group,) = document.content.get_volumetric_roi_measurement_groups()
    segment = group.referenced_segment
    assert segment.referenced_sop_instance_uid == case.segmentation.SOPInstanceUID
    assert list(segment.referenced_segment_numbers) == [1]
    assert segment.source_series_for_segmentation.value == ct.series_instance_uid
    assert group.tracking_uid == case.segmentation.SegmentSequence[0].TrackingUID


def test_all_sources_and_the_segmentation_are_evidence(ct):
    case = Case(ct)
    evidence = {
        item.ReferencedSOPInstanceUID
        for study in case.report().CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    assert evidence == {*ct.sop_instance_uids, case.segmentation.SOPInstanceUID}


def test_it_says_who_measured_how_and_in_which_run(ct, tmp_path):
    write_object(Case(ct).report(), tmp_path / "sr.dcm")
    document = srread(tmp_path / "sr.dcm")
    (observer,) = document.content.get_observer_contexts()
    assert observer.observer_identifying_attributes.uid == DEVICE_UID
    (group,) = document.content.get_volumetric_roi_measurement_groups()
    assert ALGORITHM.run in group.tracking_identifier
    texts = {item.name.meaning: item.value for item in group[0].ContentSequence if item.ValueType == "TEXT"}
    assert (texts["Algorithm Name"], texts["Algorithm Version"]) == ("threshold", "1.2.3")
    assert texts["Algorithm Parameters"] == "above=0.0"


def test_it_is_complete_and_preliminary_as_no_person_judged_it(ct):
    ds = Case(ct).report()
    assert (ds.CompletionFlag, ds.PreliminaryFlag, ds.VerificationFlag) == (
        "COMPLETE", "PRELIMINARY", "UNVERIFIED",
    )  # fmt: skip
    assert ds.StudyInstanceUID == ct.study_instance_uid


@pytest.mark.parametrize("name", ["Müller^Jürgen", "Yamada^Tarou=山田^太郎", "Anonymized"])
def test_names_survive_and_stay_out_of_warnings(tmp_path, name):
    case = Case(phantoms.write_series(tmp_path / "archive", patient_name=name))
    write_object(case.report(), tmp_path / "sr.dcm")  # a warning with the name would be an error here
    assert pydicom.dcmread(tmp_path / "sr.dcm").PatientName == name


def test_values_that_are_no_number_are_left_out(ct, tmp_path):
    rows = [
        {"name": "volume", "value": 8.0, "unit": "mm3", "segment": 1},
        {"name": "mean", "value": math.nan, "unit": "HU", "segment": 1},
        {"name": "median", "value": None, "unit": "HU", "segment": 1},
    ]
    assert list(numbers_in(Case(ct).report(rows), tmp_path / "sr.dcm")) == [("Volume", None)]


def test_rows_of_no_segment_and_no_rows_at_all_are_refused(ct):
    case = Case(ct)
    with pytest.raises(EncodeError, match="belongs to segment 2"):
        case.report([{"name": "volume", "value": 1.0, "unit": "mm3", "segment": 2}])
    with pytest.raises(EncodeError, match="no measurement"):
        case.report([])
