"""Diffusion weighting of single MR images by what their makers wrote before the standard had it; no I/O.

Siemens and Philips give the direction of the gradient in the patient. GE gives it along frequency, phase and
slice: with row and column cosines r and c and the normal n it is x r + y c - z n where phases are encoded
along the columns, and y r - x c - z n where along the rows, as dcm2niix and MRtrix have found.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from catalog.records import InstanceRecord
from pipelines import geometry
from pipelines.axes.private import PrivateElements

IN_PLANE_PHASE_ENCODING_DIRECTION = 0x00181312
"""Element that is asked for beside the private ones."""

_SIEMENS = "SIEMENS MR HEADER"
_GE_PARAMETERS, _GE_ACQUISITION = "GEMS_PARM_01", "GEMS_ACQU_01"
_PHILIPS, _PHILIPS_MR = "Philips Imaging DD 001", "Philips MR Imaging DD 001"

_LARGEST_B_VALUE = 1e6
"""Beyond it is no b-value; GE adds 1e9 to some."""
_GE_OFFSET = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Diffusion:
    """Weighting of one image."""

    b_value: float
    """s/mm2."""
    direction: tuple[float, ...] | None
    """Unit vector in the patient, LPS; `None` without gradient, or where it is not certain."""


def diffusion_of(image: InstanceRecord, private: PrivateElements) -> Diffusion | None:
    """Read b-value and gradient direction from private attributes; `None` where there are none."""
    for read in _READERS:
        found = read(image, private)
        if found is not None and 0 <= found.b_value <= _LARGEST_B_VALUE:
            return found
    return None


def _siemens(_: InstanceRecord, private: PrivateElements) -> Diffusion | None:
    """(0019,xx0C) b-value and (0019,xx0E) direction."""
    b_value = private.numbers(0x0019, _SIEMENS, 0x0C, b"IS")
    if len(b_value) != 1:
        return None
    return Diffusion(b_value[0], _unit(private.numbers(0x0019, _SIEMENS, 0x0E, b"FD")))


def _philips(_: InstanceRecord, private: PrivateElements) -> Diffusion | None:
    """(2001,xx03) b-value, (2001,xx04) kind of direction, (2005,xxB0) to (2005,xxB2) direction."""
    b_value = private.numbers(0x2001, _PHILIPS, 0x03, b"FL")
    if len(b_value) != 1:
        return None
    kind = private.value(0x2001, _PHILIPS, 0x04)
    if kind is not None and (kind.value or b"").strip(b" \0") == b"I":  # isotropic: of several directions
        return Diffusion(b_value[0], None)
    parts = [private.numbers(0x2005, _PHILIPS_MR, element, b"FL") for element in (0xB0, 0xB1, 0xB2)]
    return Diffusion(b_value[0], _unit(tuple(each for part in parts for each in part)))


def _ge(image: InstanceRecord, private: PrivateElements) -> Diffusion | None:
    """(0043,xx39) b-value; (0019,xxBB) to (0019,xxBD) direction, whose length scales the b-value down."""
    b_values = private.numbers(0x0043, _GE_PARAMETERS, 0x39, b"IS")
    if not b_values:
        return None
    b_value = b_values[0] % _GE_OFFSET
    parts = [private.numbers(0x0019, _GE_ACQUISITION, element, b"DS") for element in (0xBB, 0xBC, 0xBD)]
    logical = np.array([each for part in parts for each in part], np.float64)
    if b_value == 0 or logical.shape != (3,) or not np.linalg.norm(logical) > 0.03:
        return Diffusion(b_value, None)
    length = float(np.linalg.norm(logical))
    if length < 0.97:  # one largest b-value for shells of several (dcm2niix issues 163 and 245)
        b_value = max(5.0, 5.0 * round(b_value * length**2 / 5))
    along = private.text(IN_PLANE_PHASE_ENCODING_DIRECTION)
    if along not in ("ROW", "COL") or not geometry.is_placed(image):
        return Diffusion(b_value, None)
    row, column = np.reshape(image.image_orientation_patient or (), (2, 3))
    x, y, z = logical
    in_plane = x * row + y * column if along == "COL" else y * row - x * column
    return Diffusion(b_value, _unit(tuple((in_plane - z * geometry.normal(image)).tolist())))


_READERS: tuple[Callable[[InstanceRecord, PrivateElements], Diffusion | None], ...] = (
    _siemens,
    _philips,
    _ge,
)


def _unit(direction: tuple[float, ...]) -> tuple[float, ...] | None:
    """A direction of length 1; `None` where there is none."""
    if len(direction) != 3 or not 1e-3 < np.linalg.norm(direction) < 1e3:
        return None
    length = float(np.linalg.norm(direction))
    return tuple(round(each / length, 9) + 0.0 for each in direction)
