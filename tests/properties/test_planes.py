"""DICOM to Zarr to DICOM: the same stored values, positions and orientation, whatever place and order."""

from contextlib import closing
from itertools import count
from pathlib import Path
from random import Random

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.database import Catalog
from catalog.errors import NotFoundError
from catalog.index import index_paths
from catalog.query import find_series, instances_of
from catalog.records import ArrayRecord
from pipelines import phantoms
from pipelines.ingest import ingest_series
from pipelines.planes import planes_of, read_plane

ANGLES = st.floats(-np.pi, np.pi)
DISTANCES = st.floats(0.05, 50).map(lambda mm: round(mm, 6))
COORDINATES = st.floats(-2000, 2000).map(lambda mm: round(mm, 6))
NUMBERS = count()


def turned(a: float, b: float) -> list[float]:
    """Row and column cosines of a plane turned about z, then about its rows, as a header can hold them."""
    row = np.array([np.cos(a), np.sin(a), 0.0])
    column = np.cos(b) * np.array([-np.sin(a), np.cos(a), 0.0]) + np.sin(b) * np.array([0.0, 0.0, 1.0])
    return [round(float(each), 12) for each in (*row, *column)]


@given(
    st.builds(turned, ANGLES, ANGLES),
    st.tuples(COORDINATES, COORDINATES, COORDINATES),
    st.tuples(DISTANCES, DISTANCES),
    DISTANCES,
    st.integers(1, 6),
    st.randoms(use_true_random=False),
)
@settings(max_examples=15)
def test_what_went_into_zarr_comes_back(
    tmp_path_factory: pytest.TempPathFactory,
    orientation: list[float],
    origin: tuple[float, float, float],
    spacing: tuple[float, float],
    distance: float,
    planes: int,
    random: Random,
) -> None:
    folder = tmp_path_factory.mktemp("planes")
    phantom = phantoms.write_series(
        folder / "dicom", planes=planes, rows=5, columns=4, orientation=orientation, origin=origin,
        spacing=spacing, distance=distance, seed=next(NUMBERS),
    )  # fmt: skip
    record, again = ingested_twice(folder, random)
    assert again == record
    assert (record.kind == "volume") == (planes >= 3)
    if record.affine_lps is not None:
        np.testing.assert_allclose(record.affine_lps, phantom.affine_lps, atol=1e-6)
    back = {each.sop_instance_uid: each for each in planes_of(record)}
    assert tuple(back) == phantom.sop_instance_uids
    for path in phantom.paths:
        ds = pydicom.dcmread(path)
        plane = back[ds.SOPInstanceUID]
        assert np.array_equal(plane.stored, ds.pixel_array)
        assert plane.stored.dtype == np.uint16
        assert plane.image_position_patient == tuple(ds.ImagePositionPatient)
        assert plane.image_orientation_patient == tuple(ds.ImageOrientationPatient)
        assert plane.pixel_spacing == tuple(ds.PixelSpacing)
        assert (plane.rescale_slope, plane.rescale_intercept) == (ds.RescaleSlope, ds.RescaleIntercept)


def ingested_twice(folder: Path, random: Random) -> list[ArrayRecord]:
    """The only part of the only series, its instances given in two orders."""
    with closing(Catalog(folder / "catalog.sqlite")) as catalog:
        index_paths(catalog, [folder / "dicom"])
        (series,) = find_series(catalog)
        instances = instances_of(catalog, series.series_instance_uid)
    records = []
    for _ in range(2):
        random.shuffle(instances)
        (record,) = ingest_series(series, instances, folder / "arrays", threads=1).arrays
        records.append(record)
    return records


def test_a_plane_is_read_by_its_number(tmp_path: Path) -> None:
    phantom = phantoms.write_series(tmp_path / "dicom", planes=4)
    record, _ = ingested_twice(tmp_path, Random(0))
    assert np.array_equal(read_plane(record, 2).stored, phantom.stored[2])
    with pytest.raises(NotFoundError, match="has planes 0 to 3, not 4"):
        read_plane(record, 4)
