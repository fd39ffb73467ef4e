"""Body size that uptake is normalised by, under the words of SUV Type (0054,1006); no I/O (PS3.3 C.8.9.1)."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from catalog.errors import HeaderError

TALLEST_M = 2.8
"""A Patient's Size beyond is one in centimetres, or a fault."""


@dataclass(frozen=True, slots=True)
class Body:
    """What is known of a patient's size; `None` and the empty text where it is not said."""

    weight_kg: float | None
    """Patient's Weight (0010,1030)."""
    size_m: float | None = None
    """Patient's Size (0010,1020)."""
    sex: str = ""
    """Patient's Sex (0010,0040)."""


@dataclass(frozen=True, slots=True)
class Normalisation:
    """One way to normalise uptake."""

    units: str
    """UCUM, with what was normalised by (PS3.16 CID 85)."""
    needs: tuple[str, ...]
    """Fields of `Body` that its formula needs."""
    relative: Callable[[float, float, str], float]
    """From weight (kg), size (m) and sex to what stands for one gram of body weight: grams, or cm2."""


def _lean_james_kg(weight_kg: float, size_m: float, sex: str) -> float:
    """1.10 W − 128 (W/H)² for men, 1.07 W − 148 (W/H)² for women; W in kg, H in cm."""
    first, second = (1.10, 128.0) if sex == "M" else (1.07, 148.0)
    return first * weight_kg - second * (weight_kg / (size_m * 100)) ** 2


def _lean_janmahasatian_kg(weight_kg: float, size_m: float, sex: str) -> float:
    """9270 W / (6680 + 216 BMI) for men, 9270 W / (8780 + 244 BMI) for women; BMI in kg/m2."""
    first, second = (6680.0, 216.0) if sex == "M" else (8780.0, 244.0)
    return 9270.0 * weight_kg / (first + second * weight_kg / size_m**2)


def _surface_cm2(weight_kg: float, size_m: float) -> float:
    """Body surface of Du Bois: 0.007184 W^0.425 H^0.725 m2; W in kg, H in cm."""
    return float(1e4 * 0.007184 * weight_kg**0.425 * (size_m * 100) ** 0.725)


_LEAN = ("weight_kg", "size_m", "sex")
NORMALISATIONS: Mapping[str, Normalisation] = {
    "BW": Normalisation("g/ml{SUVbw}", (), lambda _weight, _size, _sex: 1.0),
    "LBMJAMES128": Normalisation(
        "g/ml{SUVlbm(James128)}", _LEAN, lambda weight, size, sex: _lean_james_kg(weight, size, sex) / weight
    ),
    "LBMJANMA": Normalisation(
        "g/ml{SUVlbm(Janma)}",
        _LEAN,
        lambda weight, size, sex: _lean_janmahasatian_kg(weight, size, sex) / weight,
    ),
    "BSA": Normalisation(
        "cm2/ml{SUVbsa}",
        ("weight_kg", "size_m"),
        lambda weight, size, _sex: _surface_cm2(weight, size) / (weight * 1000),
    ),
}
"""By SUV Type: body weight, lean body mass of James (with 128) and of Janmahasatian, body surface area."""

_NAMES = {
    "weight_kg": "Patient's Weight (0010,1030)",
    "size_m": "Patient's Size (0010,1020)",
    "sex": "Patient's Sex (0010,0040)",
}


def relative_size(body: Body, by: str) -> float:
    """What stands for one gram of body weight: 1 for `BW`, grams of lean body mass, cm2 of body surface.

    Raises
    ------
    HeaderError
        If a way is not known, what it needs is missing or impossible: the text names every attribute.
    """
    if by not in NORMALISATIONS:
        raise HeaderError(f"no uptake by {by[:16]!r}; there are {', '.join(NORMALISATIONS)}")
    way = NORMALISATIONS[by]
    missing = [_NAMES[name] for name in way.needs if getattr(body, name) in (None, "")]
    if missing:
        raise HeaderError(f"no uptake by {by}: the header lacks {', '.join(missing)}")
    if "sex" in way.needs and body.sex not in ("M", "F"):
        raise HeaderError(f"no uptake by {by}: Patient's Sex (0010,0040) must be M or F for it")
    weight_kg, size_m = body.weight_kg or 0.0, body.size_m or 0.0
    if way.needs and not 0 < weight_kg < math.inf:
        raise HeaderError(f"no uptake by {by}: {_NAMES['weight_kg']} must be above 0")
    if way.needs and not 0 < size_m <= TALLEST_M:
        raise HeaderError(f"no uptake by {by}: {_NAMES['size_m']} must be in metres, up to {TALLEST_M}")
    found = way.relative(weight_kg, size_m, body.sex)
    if not found > 0:
        raise HeaderError(
            f"no uptake by {by}: its formula has no lean mass for {weight_kg:g} kg and {size_m:g} m"
        )
    return found
