"""How images are shown, as a presentation state has it (PS3.3 A.33)."""

from dataclasses import dataclass

type Polygon = tuple[tuple[float, float], ...]
"""Column and row of each corner; the first pixel of an image goes from 0, 0 to 1, 1."""


@dataclass(frozen=True, slots=True)
class Appearance:
    """How images are shown; what is not said is `None`, or as if it were not there."""

    window: tuple[float, float] | None = None
    """Center and width, in values after the Modality LUT."""
    is_inverted: bool | None = None
    """Whether the smallest value is white."""
    rotation: int = 0
    """Degrees clockwise, before they are flipped: 0, 90, 180 or 270 (PS3.3 C.10.6)."""
    is_flipped: bool = False
    """Whether left and right are exchanged, after they were turned."""
    area: tuple[float, float, float, float] | None = None
    """The part that is seen: left, top, right and bottom in pixels, the first from 0 to 1; `None` is all."""
    shutter: tuple[Polygon, ...] = ()
    """What lies outside any of these is not shown."""


def corners(appearance: Appearance, rows: int, columns: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Column and row, from 1, of the pixels at the top left and bottom right of a whole image that is turned.

    As the corners of a displayed area are said (PS3.3 C.10.4).
    """
    around = [(1, 1), (columns, 1), (columns, rows), (1, rows)]  # clockwise from the top left
    turns = appearance.rotation // 90
    top_left, top_right, bottom_right, bottom_left = (around[(at - turns) % 4] for at in range(4))
    return (top_right, bottom_left) if appearance.is_flipped else (top_left, bottom_right)
