"""Measurements of regions: counts, volumes and moments of modality values; values in, values out."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

type Row = Mapping[str, Any]
"""One measurement: `name`, `value`, `unit` (UCUM) and, for a mask, `segment` and `label`."""


@dataclass(frozen=True, slots=True)
class Moments:
    """Count, mean, spread and range of values; two of them add up to those of both together."""

    count: int = 0
    """Of voxels, whatever their value."""
    finite: int = 0
    """Of voxels with a finite value; the others (NaN) are in no statistic."""
    mean: float = 0.0
    squares: float = 0.0
    """Sum of squared deviations from the mean."""
    minimum: float = math.inf
    maximum: float = -math.inf

    @classmethod
    def of(cls, values: npt.NDArray[Any]) -> "Moments":
        """Moments of an array of any shape, accumulated in float64."""
        finite = values[np.isfinite(values)].astype(np.float64)
        if finite.size == 0:
            return cls(count=values.size)
        mean = float(finite.mean())
        squares = float(np.square(finite - mean).sum())
        return cls(values.size, finite.size, mean, squares, float(finite.min()), float(finite.max()))

    def __add__(self, other: "Moments") -> "Moments":
        """Moments of both sets of values, as Chan, Golub and LeVeque (1983) add them."""
        finite = self.finite + other.finite
        if finite == 0:
            return Moments(count=self.count + other.count)
        difference = other.mean - self.mean
        return Moments(
            self.count + other.count,
            finite,
            self.mean + difference * other.finite / finite,
            self.squares + other.squares + difference**2 * self.finite * other.finite / finite,
            min(self.minimum, other.minimum),
            max(self.maximum, other.maximum),
        )

    @property
    def standard_deviation(self) -> float:
        """Of the population: the squared deviations are divided by the count."""
        return math.sqrt(self.squares / self.finite) if self.finite else math.nan


def voxel_volume_mm3(affine_lps: npt.ArrayLike) -> float:
    """Volume of one voxel in mm³, from a 4 × 4 affine of index to LPS mm; right for sheared grids too."""
    column, row, plane = np.asarray(affine_lps, dtype=np.float64)[:3, :3].T
    return abs(float(np.dot(np.cross(column, row), plane)))


def labels_in(labels: npt.NDArray[Any]) -> list[int]:
    """Labels that occur, in ascending order, without the background 0; those of a boolean mask are `[1]`."""
    if labels.dtype == np.bool_:
        return [1] if labels.any() else []
    return sorted(int(label) for label in pd.unique(labels.ravel()) if label != 0)


def moments_by_label(
    blocks: Iterable[tuple[npt.NDArray[Any], npt.NDArray[Any]]],
) -> dict[int, Moments]:
    """Moments of the values under each label.

    Parameters
    ----------
    blocks
        Pairs of equal shape: modality values, and labels (0 is background) or a boolean mask (label 1).

    Returns
    -------
    dict
        From each label that occurs, in ascending order, to its moments.
    """
    moments: dict[int, Moments] = {}
    for values, labels in blocks:
        for label in labels_in(labels):
            region = Moments.of(values[labels == label])
            moments[label] = moments.get(label, Moments()) + region
    return dict(sorted(moments.items()))


def rows(moments: Moments, *, unit: str, affine_lps: npt.ArrayLike | None) -> list[dict[str, Any]]:
    """Rows `voxels`, `volume`, `mean`, `standard deviation`, `minimum` and `maximum` of one region.

    Parameters
    ----------
    unit
        Of the modality values, UCUM or `HU`.
    affine_lps
        4 × 4, index to LPS mm; without it (frames that are no volume) there is no row `volume`.
    """
    measured: list[tuple[str, float, str]] = [("voxels", moments.count, "{voxels}")]
    if affine_lps is not None:
        measured.append(("volume", moments.count * voxel_volume_mm3(affine_lps), "mm3"))
    if moments.finite:
        measured += [
            ("mean", moments.mean, unit),
            ("standard deviation", moments.standard_deviation, unit),
            ("minimum", moments.minimum, unit),
            ("maximum", moments.maximum, unit),
        ]
    return [{"name": name, "value": value, "unit": unit} for name, value, unit in measured]
