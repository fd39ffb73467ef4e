"""Uptake of a PET series as it is opened from the bench: its header comes from the store."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import uid

from catalog.errors import HeaderError
from pipelines.pet.uptake import read_suv_factor
from pipelines.samples import SAMPLES, SUV_IN_SPHERE
from workbench.session import Bench


@pytest.fixture
def pet(tmp_path: Path) -> Path:
    """A sphere of known uptake, a slope for each plane."""
    folder = tmp_path / "pet"
    folder.mkdir()
    next(each for each in SAMPLES if each.name == "pet").write(folder)
    return folder


def opened(bench: Bench, folder: Path) -> str:
    bench.index(folder, quiet=True)
    (series,) = bench.series()
    return series.series_instance_uid


def test_the_sphere_has_the_uptake_it_was_made_with(bench: Bench, pet: Path) -> None:
    volume = bench.volume(opened(bench, pet))
    suv = volume.dicom.suv()
    assert suv.attrs["units"] == "g/ml{SUVbw}"
    assert suv.chunks is not None
    middle = suv.isel({dim: suv.sizes[dim] // 2 for dim in "zyx"})
    assert float(middle) == pytest.approx(SUV_IN_SPHERE, rel=0.02)
    assert np.array_equal(suv.dicom.affine_lps, volume.dicom.affine_lps)
    cut = volume[3:5, ::2].dicom.suv()
    assert np.array_equal(cut, suv[3:5, ::2])
    with pytest.raises(HeaderError, match="is uptake already, in g/ml"):
        suv.dicom.suv()


def test_the_real_pet_has_the_factor_that_its_file_has(bench: Bench, shared_data: Path) -> None:
    path = shared_data / "modalities/pt_single.dcm"
    volume = bench.volume(opened(bench, path))
    suv = volume.dicom.suv()
    assert suv.attrs["suv_factor"] == pytest.approx(read_suv_factor(path), rel=1e-12)
    assert np.allclose(suv, volume * read_suv_factor(path))


def test_what_the_series_lacks_is_named(bench: Bench, pet: Path) -> None:
    for path in pet.iterdir():
        ds = pydicom.dcmread(path)
        del ds.PatientWeight
        ds.PatientSex = ""
        ds.save_as(path)
    volume = bench.volume(opened(bench, pet))
    with pytest.raises(HeaderError, match=r"lacks Patient's Weight \(0010,1030\)"):
        volume.dicom.suv()
    with pytest.raises(HeaderError, match=r"lacks Patient's Weight .*, Patient's Size .*, Patient's Sex"):
        volume.dicom.suv(by="LBMJANMA")


def test_lean_mass_and_surface_take_size_and_sex_from_the_series(bench: Bench, pet: Path) -> None:
    for path in pet.iterdir():
        ds = pydicom.dcmread(path)
        ds.PatientSize, ds.PatientSex = "1.75", "F"
        ds.save_as(path)
    volume = bench.volume(opened(bench, pet))
    by_weight = volume.dicom.suv().attrs["suv_factor"]
    weight_kg = float(ds.PatientWeight)
    lean_kg = 9270 * weight_kg / (8780 + 244 * weight_kg / 1.75**2)
    lean = volume.dicom.suv(by="LBMJANMA")
    assert lean.attrs["suv_factor"] == pytest.approx(by_weight * lean_kg / weight_kg)
    assert lean.attrs["units"] == "g/ml{SUVlbm(Janma)}"
    assert volume.dicom.suv(by="BSA").attrs["units"] == "cm2/ml{SUVbsa}"


@pytest.mark.parametrize("transfer_syntax", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian])
def test_counts_go_by_the_private_factor_of_their_maker(
    bench: Bench, pet: Path, transfer_syntax: uid.UID
) -> None:
    for path in pet.iterdir():
        ds = pydicom.dcmread(path)
        ds.Units = "CNTS"
        ds.private_block(0x7053, "Philips PET Private Group", create=True).add_new(0, "DS", "0.00025")
        ds.file_meta.TransferSyntaxUID = transfer_syntax
        ds.save_as(
            path, implicit_vr=transfer_syntax == uid.ImplicitVRLittleEndian, little_endian=True,
            enforce_file_format=True,
        )  # fmt: skip
    volume = bench.volume(opened(bench, pet))
    assert volume.dicom.suv().attrs["suv_factor"] == 0.00025
