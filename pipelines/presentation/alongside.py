"""Two arrays looked at side by side: which plane of one lies where a plane of the other lies; no I/O."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from catalog.errors import QuestionError
from pipelines.presentation.fusion import checked
from pipelines.presentation.scene import Scene, to_positions

type Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Alongside:
    """The planes of two arrays that lie at the same place, along the last axis of each."""

    by: str
    """What says so: `frame of reference`, `transform`, `offset` (in mm, from where both were) or `number`."""
    there: tuple[int, ...]
    """For each plane of the first, the nearest of the second."""
    back: tuple[int, ...]
    """For each plane of the second, the nearest of the first."""


def alongside(
    first: Scene, second: Scene, at: tuple[int, int], transform: npt.ArrayLike | None = None
) -> Alongside:
    """Find the planes of two arrays that lie at the same place; the middle of a plane stands for it.

    Parameters
    ----------
    at
        The planes of both that are taken for the same place where nothing else says what is: the others
        follow as far from there, in mm where both lie in a patient, else by their number.
    transform
        4 × 4, from the LPS mm of the second to those of the first; left out, they are the same where both
        have one frame of reference.

    Raises
    ------
    QuestionError
        If the transform is none, or one of both has no place in a patient to be transformed.
    """
    one, other = _middles(first), _middles(second)
    if one is None or other is None:
        if transform is not None:
            raise QuestionError("a transform is between places in a patient, which one of both has not")
        shift = at[1] - at[0]
        count, more = first.shape[-1], second.shape[-1]
        return Alongside(
            "number",
            tuple(int(np.clip(each + shift, 0, more - 1)) for each in range(count)),
            tuple(int(np.clip(each - shift, 0, count - 1)) for each in range(more)),
        )
    by, matrix = "frame of reference", np.eye(4)
    if transform is not None:
        by, matrix = "transform", checked(transform)
    elif not first.frame_of_reference_uid or first.frame_of_reference_uid != second.frame_of_reference_uid:
        by = "offset"
        matrix[:3, 3] = one[at[0]] - other[at[1]]
    return Alongside(
        by,
        _nearest(_moved(np.linalg.inv(matrix), one), other, second),
        _nearest(_moved(matrix, other), one, first),
    )


def _middles(scene: Scene) -> Numbers | None:
    """Of each plane, LPS mm."""
    if not scene.positions_lps_mm:
        return None
    middle = ((scene.columns - 1) / 2, (scene.rows - 1) / 2)
    return np.concatenate(
        [to_positions(scene, plane, middle) for plane in range(len(scene.positions_lps_mm))]
    )


def _moved(matrix: Numbers, points: Numbers) -> Numbers:
    return np.asarray(points @ matrix[:3, :3].T + matrix[:3, 3])


def _nearest(points: Numbers, middles: Numbers, scene: Scene) -> tuple[int, ...]:
    """For each point the plane that lies nearest to it, along the normal of the planes."""
    normal = np.cross(scene.orientation[:3], scene.orientation[3:])
    distances = np.abs((points @ normal)[:, np.newaxis] - (middles @ normal)[np.newaxis])
    return tuple(int(each) for each in distances.argmin(axis=1))
