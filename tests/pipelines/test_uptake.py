import math
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import xarray as xr
from pydicom.uid import ExplicitVRLittleEndian, PositronEmissionTomographyImageStorage

from catalog.errors import HeaderError
from pipelines.pet.body import NORMALISATIONS
from pipelines.pet.uptake import Uptake, as_suv, read_suv_factor, suv_factor

F18_S = 6586.2


def header(tracer: dict[str, Any] | None = None, **attributes: Any) -> pydicom.Dataset:
    """An image of 70 kg and 350 MBq, injected at 10:00, scanned at 11:00; attributes of None are left out."""
    information = pydicom.Dataset()
    injected = {
        "RadiopharmaceuticalStartTime": "100000",
        "RadionuclideTotalDose": "350000000",
        "RadionuclideHalfLife": str(F18_S),
    }
    ds = pydicom.Dataset()
    values = {
        "Units": "BQML",
        "DecayCorrection": "START",
        "CorrectedImage": ["NORM", "ATTN", "DECY"],
        "PatientWeight": "70",
        "SeriesDate": "20240304",
        "SeriesTime": "110000",
        "AcquisitionDate": "20240304",
        "AcquisitionTime": "110000",
        "RadiopharmaceuticalInformationSequence": [information],
    }
    for target, found in ((information, injected | (tracer or {})), (ds, values | attributes)):
        for keyword, value in found.items():
            if value is not None:
                setattr(target, keyword, value)
    return ds


def expected(seconds: float) -> float:
    return 70_000 / (350e6 * 0.5 ** (seconds / F18_S))


def test_the_real_pet_has_the_factor_of_its_attributes(shared_data):
    # 69.7344 kg; 178340011.59668 Bq at 14:17:00, series at 15:23:16.921, half-life 6586.2 s.
    decayed = 178340011.59668 * math.exp(-math.log(2) * 3976.921 / F18_S)
    found = read_suv_factor(shared_data / "modalities/pt_single.dcm")
    assert found == pytest.approx(69734.4 / decayed, rel=1e-9)


def test_dose_decays_from_injection_to_the_start_of_the_series():
    assert suv_factor(header()) == pytest.approx(expected(3600), rel=1e-12)


def test_after_one_half_life_the_factor_is_twice_that_of_the_injection():
    later = timedelta(seconds=F18_S)
    assert Uptake(70, 350e6, F18_S, later).factor == pytest.approx(
        2 * Uptake(70, 350e6, F18_S, timedelta(0)).factor
    )


def test_decay_corrected_to_the_injection_needs_no_times():
    ds = header({"RadiopharmaceuticalStartTime": None}, DecayCorrection="ADMIN", SeriesTime=None)
    assert suv_factor(ds) == pytest.approx(expected(0), rel=1e-12)


def test_an_injection_before_midnight_is_one_of_the_day_before():
    times = {"SeriesTime": "003000", "AcquisitionTime": "003000"}
    ds = header({"RadiopharmaceuticalStartTime": "233000.5"}, **times)
    assert suv_factor(ds) == pytest.approx(expected(3599.5), rel=1e-12)


def test_a_date_of_the_injection_counts_before_its_time_alone():
    ds = header({"RadiopharmaceuticalStartDateTime": "20240303110000.000000+0100"})
    assert suv_factor(ds) == pytest.approx(expected(24 * 3600), rel=1e-12)


def test_a_later_bed_position_has_the_factor_of_the_series():
    assert suv_factor(header(AcquisitionTime="112000")) == suv_factor(header())


def test_a_series_made_later_goes_by_the_scan_time_of_ge():
    ds = header(SeriesTime="150000")
    block = ds.private_block(0x0009, "GEMS_PETD_01", create=True)
    block.add_new(0x0D, "DT", "20240304110000.00")
    assert suv_factor(ds) == pytest.approx(expected(3600), rel=1e-12)


def test_a_series_made_later_goes_by_the_reference_time_of_its_frame():
    duration_s = 300.0
    constant = math.log(2) / F18_S
    average = math.log(constant * duration_s / (1 - math.exp(-constant * duration_s))) / constant
    times = {"SeriesTime": "150000", "AcquisitionTime": "111000"}
    ds = header(FrameReferenceTime=f"{(600 + average) * 1000:.6f}", ActualFrameDuration="300000", **times)
    assert suv_factor(ds) == pytest.approx(expected(3600), rel=1e-9)


def test_uptake_that_is_stored_already_is_passed_through():
    assert suv_factor(header(Units="GML", CorrectedImage=None)) == 1
    with pytest.raises(HeaderError, match="SUV Type"):
        suv_factor(header(Units="GML", SUVType="LBM"))


def philips(element: int, value: str) -> pydicom.Dataset:
    ds = header(Units="CNTS")
    ds.private_block(0x7053, "Philips PET Private Group", create=True).add_new(element, "DS", value)
    return ds


def test_counts_of_philips_have_a_factor_to_uptake_or_to_activity():
    assert suv_factor(philips(0x00, "0.000625")) == 0.000625
    assert suv_factor(philips(0x09, "1.5")) == pytest.approx(1.5 * expected(3600))


@pytest.mark.parametrize(
    ("ds", "words"),
    [
        (header(Units="CNTS"), "factor of Philips"),
        (philips(0x00, "0"), "factor of Philips"),
        (header(Units="CPS"), "are 'CPS', not BQML"),
        (header(Units=None), "are '', not BQML"),
        (header(PatientWeight=None), r"lacks Patient's Weight \(0010,1030\)$"),
        (header(PatientWeight="0"), "Patient's Weight .* must be above 0"),
        (header({"RadionuclideHalfLife": "-1"}), "Half Life .* must be above 0"),
        (header({"RadionuclideTotalDose": None, "RadionuclideHalfLife": None}), "Dose .*, Radionuclide"),
        (header({"RadiopharmaceuticalStartTime": None}), "Start DateTime"),
        (header(RadiopharmaceuticalInformationSequence=[]), "Total Dose .* Half Life .* Start DateTime"),
        (header(SeriesTime=None), "lacks Series Date and Series Time"),
        (header(AcquisitionDate=None), "lacks Acquisition Date"),
        (header(CorrectedImage=["DECY"]), "lacks ATTN in Corrected Image"),
        (header(CorrectedImage="ATTN"), "lacks DECY in Corrected Image"),
        (header(DecayCorrection="NONE"), "is 'NONE', not START or ADMIN"),
        (header(SeriesTime="150000"), "lacks Frame Reference Time"),
        (header({"RadiopharmaceuticalStartDateTime": "20240305100000"}), "after the injection"),
        (header({"RadiopharmaceuticalStartDateTime": "20200305100000"}), "after the injection"),
    ],
)  # fmt: skip
def test_what_is_missing_is_named(ds, words):
    with pytest.raises(HeaderError, match=words):
        suv_factor(ds)


def test_a_factor_is_read_from_a_file(tmp_path):
    path = written(tmp_path / "pet.dcm", header())
    assert read_suv_factor(path) == pytest.approx(expected(3600))
    written(path, header(PatientWeight=None))
    with pytest.raises(HeaderError, match=f"{path}: no uptake: the header lacks Patient's Weight"):
        read_suv_factor(path)


def test_times_that_are_none_are_told_in_words(tmp_path):
    path = written(tmp_path / "pet.dcm", header(SeriesTime="111111"))
    path.write_bytes(path.read_bytes().replace(b"111111", b"99:x1!"))
    with pytest.raises(HeaderError, match=str(path)):
        read_suv_factor(path)


def written(path: Path, ds: pydicom.Dataset) -> Path:
    ds.SOPClassUID = PositronEmissionTomographyImageStorage
    ds.SOPInstanceUID, ds.StudyInstanceUID, ds.SeriesInstanceUID = "2.25.1", "2.25.2", "2.25.3"
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.save_as(path, enforce_file_format=True)
    return path


def test_a_volume_of_uptake_keeps_its_place_and_type():
    attrs = {"units": "BQML", "frame_of_reference_uid": "2.25.4"}
    volume = xr.DataArray(np.full((2, 2, 2), 5000, np.float32), dims=("z", "y", "x"), attrs=attrs, name="pt")
    found = as_suv(volume.chunk(), 2e-4)
    assert found.chunks is not None
    assert found.dtype == np.float32
    assert found.values == pytest.approx(np.ones((2, 2, 2)))
    assert found.attrs == {"units": "g/ml{SUVbw}", "frame_of_reference_uid": "2.25.4", "suv_factor": 2e-4}


def test_lean_mass_and_surface_take_the_place_of_weight_by_the_formulas_of_their_authors():
    # 70 kg, 1.75 m: BMI 22.857; James 1.10 * 70 - 128 * 0.16 and 1.07 * 70 - 148 * 0.16.
    expected_kg = {
        ("M", "LBMJAMES128"): 56.52, ("F", "LBMJAMES128"): 51.22,
        ("M", "LBMJANMA"): 9270 * 70 / (6680 + 216 * 70 / 1.75**2),
        ("F", "LBMJANMA"): 9270 * 70 / (8780 + 244 * 70 / 1.75**2),
    }  # fmt: skip
    for (sex, by), lean_kg in expected_kg.items():
        ds = header(PatientSize="1.75", PatientSex=sex)
        assert suv_factor(ds, by) == pytest.approx(suv_factor(ds) * lean_kg / 70, rel=1e-12)
    surface_cm2 = 18481.0  # 1.8481 m2, of the nomogram of Du Bois for 70 kg and 175 cm
    ds = header(PatientSize="1.75")
    assert suv_factor(ds, "BSA") == pytest.approx(suv_factor(ds) * surface_cm2 / 70000, rel=1e-3)
    assert {each.units for each in NORMALISATIONS.values()} == {
        "g/ml{SUVbw}", "g/ml{SUVlbm(James128)}", "g/ml{SUVlbm(Janma)}", "cm2/ml{SUVbsa}",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("attributes", "by", "text"),
    [
        ({}, "LBMJANMA", r"lacks Patient's Size \(0010,1020\), Patient's Sex \(0010,0040\)"),
        ({}, "BSA", r"lacks Patient's Size \(0010,1020\)$"),
        ({"PatientSize": "175", "PatientSex": "M"}, "LBMJANMA", "must be in metres, up to 2.8"),
        ({"PatientSize": "1.75", "PatientSex": "O"}, "LBMJAMES128", "must be M or F"),
        ({"PatientSize": "1.2", "PatientSex": "F", "PatientWeight": "110"}, "LBMJAMES128", "no lean mass"),
        ({"Units": "GML", "SUVType": "BSA"}, "LBMJANMA", "SUV Type"),
        ({}, "height", "there are BW, LBMJAMES128, LBMJANMA, BSA"),
    ],
)
def test_what_a_body_lacks_is_named(attributes, by, text):
    with pytest.raises(HeaderError, match=text):
        suv_factor(header(**attributes), by)


def test_uptake_that_is_stored_by_weight_becomes_one_by_surface_without_a_dose():
    ds = header(Units="GML", PatientSize="1.75", CorrectedImage=None)
    assert suv_factor(ds, "BSA") == pytest.approx(0.26402, rel=1e-3)
    ds.SUVType = "BSA"
    assert suv_factor(ds, "BSA") == 1
