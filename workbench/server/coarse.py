"""A coarse picture of a plane: few of its values, which a slow line brings before all of them."""

from typing import Any

import numpy as np
import numpy.typing as npt

from catalog.errors import QuestionError

STEPS = (2, 4, 8, 16, 32)
"""Of how many rows and columns one is taken."""


def step_of(said: str) -> int:
    """Return the step that is asked for; 1, the plane itself, where none is.

    Raises
    ------
    QuestionError
        If it is none of `STEPS`.
    """
    if said == "":
        return 1
    if said not in map(str, STEPS):
        raise QuestionError(f"a coarse picture takes one of {', '.join(map(str, STEPS))} rows")
    return int(said)


def coarse(plane: npt.NDArray[Any], step: int) -> npt.NDArray[Any]:
    """Take one of `step` rows and columns; values are taken as they are, never mixed.

    Parameters
    ----------
    plane
        (rows, columns) or (rows, columns, samples).

    Returns
    -------
    npt.NDArray
        ⌈rows/step⌉ × ⌈columns/step⌉ pixels. Pixel (j, i) stands for rows j·step up to (j+1)·step of the
        plane, and columns likewise, as far as it has them, and is that in the middle: row j·step + ⌊step/2⌋,
        or the last row where there are not so many. So the picture lies over the plane where each of its
        pixels is drawn `step` rows high, and what goes beyond the last row is cut off.
    """
    rows, columns = (
        np.minimum(np.arange(0, count, step) + step // 2, count - 1) for count in plane.shape[:2]
    )
    picture: npt.NDArray[Any] = plane[rows[:, np.newaxis], columns]
    return picture
