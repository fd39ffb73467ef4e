"""Spatial Registrations: known matrices, between any two of the frames of reference, and what is none."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid
from scipy.spatial.transform import Rotation

from catalog.errors import HeaderError, NotFoundError, QuestionError
from pipelines import phantoms
from pipelines.objects.registrations import matrix_of, read_registration


def rigid(seed: int) -> Any:
    rng = np.random.default_rng(seed)
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.random(random_state=seed).as_matrix()
    matrix[:3, 3] = rng.normal(0, 50, 3)
    return matrix


class Place:
    """As much of a scene as a registration asks for."""

    def __init__(self, frame: str = "", images: Sequence[str] = ()) -> None:
        self.frame_of_reference_uid, self.sop_instance_uids = frame, tuple(images)


def moved(matrix: Any, point: Sequence[float]) -> Any:
    return (np.array(matrix) @ [*point, 1])[:3]


POINT = (12.0, -7.5, 101.0)


def test_a_point_of_a_registered_frame_comes_where_the_matrix_says(tmp_path: Path) -> None:
    matrix = rigid(1)
    found = read_registration(phantoms.write_registration(tmp_path / "reg.dcm", "1.2.1", {"1.2.2": [matrix]}))
    there = found.between(Place("1.2.2"), Place("1.2.1"))  # type: ignore[arg-type]
    assert moved(there, POINT) == pytest.approx(moved(matrix, POINT), abs=1e-9)
    back = found.between(Place("1.2.1"), Place("1.2.2"))  # type: ignore[arg-type]
    assert moved(back, moved(there, POINT)) == pytest.approx(POINT, abs=1e-9)


def test_the_first_of_several_matrices_applies_first(tmp_path: Path) -> None:
    steps = [rigid(seed) for seed in (1, 2, 3)]
    found = read_registration(phantoms.write_registration(tmp_path / "reg.dcm", "1.2.1", {"1.2.2": steps}))
    expected = POINT
    for step in steps:
        expected = moved(step, expected)
    there = found.between(Place("1.2.2"), Place("1.2.1"))  # type: ignore[arg-type]
    assert moved(there, POINT) == pytest.approx(expected, abs=1e-9)


def test_two_registered_frames_lie_in_each_other_by_the_one_they_are_registered_to(tmp_path: Path) -> None:
    first, second = rigid(4), rigid(5)
    path = phantoms.write_registration(tmp_path / "reg.dcm", "1.2.1", {"1.2.2": [first], "1.2.3": [second]})
    there = read_registration(path).between(Place("1.2.2"), Place("1.2.3"))  # type: ignore[arg-type]
    assert moved(second, moved(there, POINT)) == pytest.approx(moved(first, POINT), abs=1e-9)


def test_images_that_are_named_lie_where_their_registration_says(tmp_path: Path) -> None:
    matrix = rigid(6)
    images = [generate_uid() for _ in range(3)]
    path = phantoms.write_registration(tmp_path / "reg.dcm", "1.2.1", {"": [matrix]}, images)
    found = read_registration(path)
    there = found.between(Place(images=images), Place("1.2.1"))  # type: ignore[arg-type]
    assert moved(there, POINT) == pytest.approx(moved(matrix, POINT), abs=1e-9)
    for elsewhere in (Place(images=[*images, "1.2.9"]), Place("1.2.9"), Place()):
        with pytest.raises(NotFoundError, match="relates 1 frames of reference, and not those of both"):
            found.between(elsewhere, Place("1.2.1"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([1.0] * 15, "not 4 × 4"),
        ([], "not 4 × 4"),
        ([0.0] * 15 + [1.0], "flat"),
        ([float("nan")] * 16, "last row"),
        ([1.0] * 16, "last row"),
        (None, "without a matrix"),
    ],
)
def test_matrices_that_are_none_are_refused_in_words(tmp_path: Path, values: Any, said: str) -> None:
    path = phantoms.write_registration(tmp_path / "reg.dcm", "1.2.1", {"1.2.2": [np.eye(4)]})
    ds = pydicom.dcmread(path)
    registration = ds.RegistrationSequence[0].MatrixRegistrationSequence[0]
    if values is None:
        registration.MatrixSequence = []
    else:
        registration.MatrixSequence[0].FrameOfReferenceTransformationMatrix = values
    ds.save_as(path)
    with pytest.raises(HeaderError, match=said) as refused:
        read_registration(path)
    assert "reg.dcm" in str(refused.value)


def test_what_is_no_registration_by_matrices_is_refused(tmp_path: Path) -> None:
    ct = phantoms.write_series(tmp_path / "ct", planes=1).paths[0]
    path = phantoms.write_registration(tmp_path / "reg.dcm", "1.2.1", {})
    ds = pydicom.dcmread(path)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.66.3"
    ds.save_as(path)
    for each in (ct, path):
        with pytest.raises(HeaderError, match="not a Spatial Registration, which has matrices"):
            read_registration(each)


def test_a_transform_is_a_registration_or_a_matrix() -> None:
    assert matrix_of(np.eye(4), Place(), Place()).tolist() == np.eye(4).tolist()  # type: ignore[arg-type]
    with pytest.raises(QuestionError, match="4 × 4"):
        matrix_of("one", Place(), Place())  # type: ignore[arg-type]
