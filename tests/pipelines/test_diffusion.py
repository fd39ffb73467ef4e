"""Diffusion and phases of the heart in single images: axes and directions, whatever the maker wrote."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom import Dataset, uid

from pipelines import phantoms
from pipelines.volumes import open_array

OBLIQUE = (0.8, 0.6, 0.0, -0.36, 0.48, 0.8)
ROW, COLUMN = np.reshape(OBLIQUE, (2, 3))
NORMAL = np.cross(ROW, COLUMN)
DIRECTIONS = (None, (1.0, 0.0, 0.0), (0.0, 0.6, 0.8), (0.0, -0.8, 0.6))
"""In the patient, of a volume without gradient and of three with b = 1000."""

type Mark = Callable[[Dataset, int], None]


def write(folder: Path, mark: Mark, *, volumes: int = 4, planes: int = 4, **attributes: Any) -> None:
    """Volumes of one place in one series; instance numbers alone count them."""
    for volume in range(volumes):
        phantom = phantoms.write_series(
            folder / f"{volume}", planes=planes, rows=6, columns=8, modality="MR", orientation=OBLIQUE,
            seed=volume, **attributes,
        )  # fmt: skip
        for plane, path in enumerate(phantom.paths):
            ds = pydicom.dcmread(path)
            ds.SeriesInstanceUID = phantoms.known_uid("repeats")
            ds.InstanceNumber = volume * planes + plane + 1
            mark(ds, volume)
            ds.save_as(path)


def siemens(ds: Dataset, volume: int) -> None:
    block = ds.private_block(0x0019, "SIEMENS MR HEADER", create=True)
    block.add_new(0x0C, "IS", "1000" if volume else "0")
    if volume:
        block.add_new(0x0E, "FD", list(DIRECTIONS[volume] or ()))


def philips(ds: Dataset, volume: int) -> None:
    block = ds.private_block(0x2001, "Philips Imaging DD 001", create=True)
    block.add_new(0x03, "FL", 1000.0 if volume else 0.0)
    block.add_new(0x04, "CS", "O")
    block = ds.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
    for element, part in zip((0xB0, 0xB1, 0xB2), DIRECTIONS[volume] or (0, 0, 0), strict=True):
        block.add_new(element, "FL", part)


def ge(along: str) -> Mark:
    def mark(ds: Dataset, volume: int) -> None:
        ds.InPlanePhaseEncodingDirection = along
        wanted = np.array(DIRECTIONS[volume] or (0, 0, 0))
        in_row, in_column, across = wanted @ ROW, wanted @ COLUMN, -wanted @ NORMAL
        logical = (in_row, in_column, across) if along == "COL" else (-in_column, in_row, across)
        block = ds.private_block(0x0019, "GEMS_ACQU_01", create=True)
        for element, part in zip((0xBB, 0xBC, 0xBD), logical, strict=True):
            block.add_new(element, "DS", f"{part:.9f}")
        block = ds.private_block(0x0043, "GEMS_PARM_01", create=True)
        block.add_new(0x39, "IS", ["1000001000" if volume else "0", "8", "0", "0"])

    return mark


def standard(ds: Dataset, volume: int) -> None:
    ds.DiffusionBValue = 1000.0 if volume else 0.0
    if volume:
        ds.DiffusionGradientOrientation = list(DIRECTIONS[volume] or ())


@pytest.mark.parametrize(
    "mark",
    [standard, siemens, philips, ge("COL"), ge("ROW")],
    ids=["standard", "Siemens", "Philips", "GE, columns", "GE, rows"],
)
@pytest.mark.parametrize("transfer_syntax", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian])
def test_directions_are_those_in_the_patient_whoever_wrote_them(
    indexed: Any, tmp_path: Path, mark: Mark, transfer_syntax: str
) -> None:
    write(tmp_path / "d", mark, transfer_syntax=transfer_syntax)
    (series,) = indexed(tmp_path / "d")
    volume = open_array(series.array)
    assert (volume.dims, volume.shape) == (("b_value", "z", "y", "x"), (4, 4, 6, 8))
    assert volume.b_value.values.tolist() == [0, 1000, 1000, 1000]
    found = np.stack([volume[f"gradient_direction_{axis}"] for axis in "xyz"], axis=1)
    assert np.isnan(found[0]).all()
    np.testing.assert_allclose(found[1:], np.array(DIRECTIONS[1:]), atol=1e-6)


def test_a_short_direction_of_ge_scales_the_b_value_down(indexed: Any, tmp_path: Path) -> None:
    def half(ds: Dataset, volume: int) -> None:
        ge("COL")(ds, 1)
        block = ds.private_block(0x0019, "GEMS_ACQU_01")
        for element in (0xBB, 0xBC, 0xBD):
            block[element].value = float(block[element].value) * np.sqrt(0.5 if volume else 1)

    write(tmp_path / "d", half, volumes=2)
    (series,) = indexed(tmp_path / "d")
    assert open_array(series.array).b_value.values.tolist() == [500, 1000]


def test_an_average_over_directions_and_values_that_are_none_have_no_direction(
    indexed: Any, tmp_path: Path
) -> None:
    def trace(ds: Dataset, volume: int) -> None:
        philips(ds, 1)
        ds.private_block(0x2001, "Philips Imaging DD 001")[0x03].value = 500.0 * volume
        ds.private_block(0x2001, "Philips Imaging DD 001")[0x04].value = "I"

    write(tmp_path / "d", trace, volumes=3)
    (series,) = indexed(tmp_path / "d")
    volume = open_array(series.array)
    assert volume.b_value.values.tolist() == [0, 500, 1000]
    assert "gradient_direction_x" not in volume.coords


def test_private_elements_of_somebody_else_mean_nothing(indexed: Any, tmp_path: Path) -> None:
    def other(ds: Dataset, volume: int) -> None:
        ds.private_block(0x0019, "SOMEBODY", create=True).add_new(0x0C, "IS", f"{volume}")
        ds.AcquisitionTime = f"10150{volume}"

    write(tmp_path / "d", other)
    (series,) = indexed(tmp_path / "d")
    assert open_array(series.array).dims[0] == "time"


def test_inversion_times_of_single_images_are_an_axis(indexed: Any, tmp_path: Path) -> None:
    def mark(ds: Dataset, volume: int) -> None:
        ds.InversionTime = 1000 - 200 * volume
        ds.AcquisitionTime = f"10150{volume}"

    write(tmp_path / "d", mark)
    (series,) = indexed(tmp_path / "d")
    assert open_array(series.array).inversion_time.values.tolist() == [400, 600, 800, 1000]


# --- phases of the heart ---------------------------------------------------------------------------------


def test_nominal_percentages_are_phases(indexed: Any, tmp_path: Path) -> None:
    def mark(ds: Dataset, volume: int) -> None:
        ds.NominalPercentageOfCardiacPhase = 25.0 * (3 - volume)
        ds.AcquisitionTime = f"10150{volume}"

    write(tmp_path / "d", mark)
    (series,) = indexed(tmp_path / "d")
    volume = open_array(series.array)
    assert volume.phase.values.tolist() == [0, 25, 50, 75]
    assert volume.phase.attrs["units"] == "%"
    assert int(volume.sop_instance_uid[0, 0] != volume.sop_instance_uid[3, 0]) == 1


def test_trigger_times_within_a_beat_are_phases_even_where_planes_differ(
    indexed: Any, tmp_path: Path
) -> None:
    def mark(ds: Dataset, volume: int) -> None:
        plane = (ds.InstanceNumber - 1) % 5
        ds.TriggerTime = volume * (40 + plane)
        ds.NominalInterval, ds.CardiacNumberOfImages = 900 + plane, 4
        ds.AcquisitionTime = f"1015{10 * plane:02}"

    write(tmp_path / "d", mark, planes=5)
    (series,) = indexed(tmp_path / "d")
    volume = open_array(series.array)
    assert (volume.dims, volume.shape) == (("phase", "z", "y", "x"), (4, 5, 6, 8))
    assert volume.phase.values.tolist() == [0, 42, 84, 126]
    assert volume.phase.attrs["units"] == "ms"


def test_trigger_times_beyond_a_beat_or_without_a_heart_are_times(indexed: Any, tmp_path: Path) -> None:
    def mark(ds: Dataset, volume: int) -> None:
        ds.TriggerTime = 2000.0 * volume
        ds.NominalInterval, ds.CardiacNumberOfImages = 900, 4

    write(tmp_path / "d", mark)
    (series,) = indexed(tmp_path / "d")
    volume = open_array(series.array)
    assert (volume.dims[0], volume.time.values.tolist()) == ("time", [0, 2, 4, 6])


def test_what_does_not_repeat_is_not_read_a_second_time(
    indexed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    from pipelines.axes import expansion

    true = expansion.read_private
    monkeypatch.setattr(expansion, "read_private", lambda path, *tags: read.append(path) or true(path, *tags))
    write(tmp_path / "d", siemens, volumes=1)
    (series,) = indexed(tmp_path / "d")
    assert series.array.kind == "volume"
    assert not read
