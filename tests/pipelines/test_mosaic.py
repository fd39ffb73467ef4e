"""Planes tiled in one image: what unfolds them, and what leaves them as they are."""

import re
import struct
from collections.abc import Callable
from pathlib import Path
from shutil import copy
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom import Dataset
from pydicom.dataelem import DataElement

from catalog.errors import HeaderError
from pipelines.axes.mosaic import _csa_tags
from pipelines.phantoms import write_series
from pipelines.planes import planes_of
from pipelines.verify import verify_array
from pipelines.volumes import open_array, stored_values

SIEMENS = "fourd/mosaic_siemens_0003/dicom"
CSA = pydicom.tag.Tag(0x0029, 0x1010)


def test_every_tile_is_verified_against_its_mosaic(indexed: Any, shared_data: Path) -> None:
    (series,) = indexed(shared_data / SIEMENS)
    record = series.array
    assert verify_array(record, series.instances).mismatches == ()
    back = list(planes_of(record))
    assert [each.frame_index for each in back] == [0, 1, 2, 3, 4] * 2
    for plane in back:
        (path,) = (each.path for each in series.instances if each.sop_instance_uid == plane.sop_instance_uid)
        down, right = divmod(plane.frame_index, 3)
        mosaic = pydicom.dcmread(path).pixel_array
        tile = mosaic[72 * down : 72 * down + 72, 72 * right : 72 * right + 72]
        assert np.array_equal(plane.stored, tile)
        # The middle of the mosaic is the middle of its middle plane.
        assert plane.image_position_patient == (-108.0, -108.0, 16.0 + 12 * plane.frame_index)


def test_a_changed_mosaic_is_found_in_each_of_its_tiles(
    indexed: Any, shared_data: Path, tmp_path: Path
) -> None:
    paths = copied(shared_data, tmp_path)
    (series,) = indexed(tmp_path / "m")
    record = series.array
    content = bytearray(paths[1].read_bytes())
    content[-1000] ^= 1
    paths[1].write_bytes(content)
    mismatches = verify_array(record, series.instances).mismatches
    assert {(each.path, each.what) for each in mismatches} == {
        (str(paths[1]), "pixel data differ from those that were ingested")
    }
    assert [each.frame_index for each in mismatches] == [5, 6, 7, 8, 9]


def copied(shared_data: Path, tmp_path: Path) -> list[Path]:
    (tmp_path / "m").mkdir()
    return [Path(copy(path, tmp_path / "m")) for path in sorted((shared_data / SIEMENS).glob("*.dcm"))]


def _without(ds: Dataset) -> None:
    del ds[CSA]


def _with_csa(change: Callable[[bytes], bytes]) -> Callable[[Dataset], None]:
    def apply(ds: Dataset) -> None:
        ds[CSA] = DataElement(CSA, "OB", change(ds[CSA].value))

    return apply


def _other_count(ds: Dataset) -> None:
    ds[0x0019, 0x100A].value = 6


def _no_distance(ds: Dataset) -> None:
    del ds.SpacingBetweenSlices


def _no_position(ds: Dataset) -> None:
    del ds.ImagePositionPatient


def _turned(ds: Dataset) -> None:
    ds.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]


def _odd(ds: Dataset) -> None:
    ds.Rows, ds.Columns = 8, 5832


CONTRADICTIONS = {
    r"its CSA header \(0029,1010\) is missing": _without,
    "its CSA header is damaged": _with_csa(lambda csa: csa[:3000] + b"\0\0"),
    "its CSA header is damaged ": _with_csa(lambda csa: csa[:8] + b"\xff\xff\xff\xff" + csa[12:]),
    "its CSA header does not say how many": _with_csa(
        lambda csa: csa.replace(b"NumberOfImagesInMosaic", b"NumberOfImagesInMosaik")
    ),
    "its CSA header does not say in which direction": _with_csa(
        lambda csa: csa.replace(b"SliceNormalVector", b"SliceNormalVektor")
    ),
    r"says that it has 5 planes, \(0019,100A\) that it has 6": _other_count,
    "it has no Spacing Between Slices": _no_distance,
    "it has no usable position": _no_position,
    "its slice normal is not that": _turned,
    "8 rows and 5832 columns do not divide into 3 x 3 tiles": _odd,
}


@pytest.mark.parametrize("reason", CONTRADICTIONS)
def test_a_mosaic_that_contradicts_itself_stays_a_frame_and_says_why(
    indexed: Any, shared_data: Path, tmp_path: Path, reason: str
) -> None:
    for path in copied(shared_data, tmp_path):
        ds = pydicom.dcmread(path)
        CONTRADICTIONS[reason](ds)
        ds.save_as(path)
    (series,) = indexed(tmp_path / "m")
    record = series.array
    assert (record.kind, record.shape[0]) == ("stack", 2)
    assert record.reason.startswith("mosaic that cannot be unfolded: ")
    assert re.search(reason.strip(), record.reason)
    assert open_array(record).dims == ("frame", "y", "x")


def test_any_bytes_in_place_of_a_csa_header_are_a_reason() -> None:
    random = np.random.default_rng(0)
    for length in (0, 3, 11, 200, 5000):
        for _ in range(50):
            header = (
                b"SV10\4\3\2\1" + struct.pack("<II", int(random.integers(1, 100)), 77) + random.bytes(length)
            )
            with pytest.raises(HeaderError, match="damaged"):
                _csa_tags(header)


# --- United Imaging --------------------------------------------------------------------------------------


def grids(folder: Path, *, planes: int = 7, times: int = 2, positions: int | None = None) -> Any:
    """Grids as United Imaging writes them: as many columns as the root of the planes, rounded up."""
    across = int(np.ceil(np.sqrt(planes)))
    down = int(np.ceil(planes / across))
    stored = np.random.default_rng(5).integers(0, 4096, (times, planes, 6, 8)).astype(np.uint16)
    tiled = np.zeros((times, down, across, 6, 8), np.uint16)
    for plane in range(planes):
        tiled[:, plane // across, plane % across] = stored[:, plane]
    images = tiled.swapaxes(2, 3).reshape(times, down * 6, across * 8)
    phantom = write_series(folder, stored=images, modality="MR", spacing=(3.0, 2.0))
    places = np.array([[-8, -9, 5 + 4.5 * plane] for plane in range(positions or planes)])
    for time, path in enumerate(phantom.paths):
        ds = pydicom.dcmread(path)
        ds.ImageType = ["ORIGINAL", "PRIMARY", "M", "VFRAME"]
        ds.Manufacturer = "UIH"
        ds.ImagePositionPatient = places[0].tolist()
        ds.AcquisitionTime = f"1015{10 + 2 * time}"
        block = ds.private_block(0x0065, "Image Private Header", create=True)
        block.add_new(0x50, "DS", str(planes))
        items = []
        for place in places:
            item = Dataset()
            item.ImagePositionPatient = place.tolist()
            items.append(item)
        block.add_new(0x51, "SQ", items)
        ds.save_as(path)
    return stored, places


def test_a_grid_of_united_imaging_becomes_a_volume_over_time(indexed: Any, tmp_path: Path) -> None:
    stored, places = grids(tmp_path / "g")
    (series,) = indexed(tmp_path / "g")
    record = series.array
    assert (record.dims, record.shape) == (("time", "z", "y", "x"), (2, 7, 6, 8))
    assert np.array_equal(stored_values(record), stored)
    volume = open_array(record)
    np.testing.assert_allclose(volume[0].dicom.positions_lps_mm, places)
    assert volume.dicom.spacing_mm == pytest.approx((4.5, 3, 2))
    assert volume.time.values.tolist() == [0, 2]
    assert verify_array(record, series.instances).mismatches == ()


@pytest.mark.parametrize(("change", "reason"), [
    ({"positions": 6}, "positions for 6 planes and says that there are 7"),
    ({"planes": 1, "positions": 3}, "positions for 3 planes and says that there are 1"),
])  # fmt: skip
def test_a_grid_that_contradicts_itself_stays_a_frame_and_says_why(
    indexed: Any, tmp_path: Path, change: dict[str, int], reason: str
) -> None:
    grids(tmp_path / "g", **change)
    (series,) = indexed(tmp_path / "g")
    assert series.array.kind == "stack"
    assert reason in series.array.reason
