"""Planes that a maker tiled in one image, one by one: Siemens mosaic, United Imaging grid; no I/O.

Tiles follow each other from left to right and from top to bottom. A tile is a record with the place of its
plane in the patient, its number as `frame_index`, and the size of the whole image beside its own, so that it
sorts, splits and repeats as a single image does.
"""

import math
import struct
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from pydicom import Dataset

from catalog.errors import HeaderError
from catalog.records import InstanceRecord, Mosaic
from pipelines import geometry
from pipelines.axes.private import PrivateElements

LARGEST_COUNT = 4096
"""More tiles in an image are a fault of the file."""

_CSA_TAGS = 256
"""More entries of a CSA header are a fault of the file; real ones have about 100."""
_CSA = "SIEMENS CSA HEADER"
_MR = "SIEMENS MR HEADER"
_UIH = "Image Private Header"
_REVERSED = b"sSliceArray.ucImageNumb"


def siemens_tiles(image: InstanceRecord, private: PrivateElements) -> tuple[InstanceRecord, ...]:
    """Unfold a Siemens mosaic by its CSA header: count of planes and direction from one to the next.

    Image Position (Patient) of a mosaic is where its first pixel would be if the plane in the middle had the
    size of the mosaic; the distance of planes is Spacing Between Slices (0018,0088).

    Raises
    ------
    HeaderError
        If the CSA header is missing or contradicts the image; the reason, in words.
    """
    count, normal = _csa(image, private)
    distance = image.spacing_between_slices or 0.0
    if not 0 < distance <= geometry.FARTHEST_MM:
        raise HeaderError("it has no Spacing Between Slices (0018,0088)")
    across = math.isqrt(count - 1) + 1
    mosaic, rows, columns = _tiled(image, across, across)
    row, column = np.reshape(image.image_orientation_patient or (), (2, 3))
    if abs(abs(float(normal @ geometry.normal(image))) - 1) > geometry.COSINE_TOLERANCE:
        raise HeaderError("its slice normal is not that of its Image Orientation (Patient)")
    between_rows, between_columns = image.pixel_spacing or (0.0, 0.0)
    first = (
        np.array(image.image_position_patient)
        + row * between_columns * (mosaic.columns - columns) / 2
        + column * between_rows * (mosaic.rows - rows) / 2
    )
    return _tiles(
        image, mosaic, rows, columns, [first + number * distance * normal for number in range(count)]
    )


def united_imaging_tiles(image: InstanceRecord, ds: Dataset) -> tuple[InstanceRecord, ...]:
    """Unfold a grid of United Imaging by its private attributes (0065,1050) and (0065,1051).

    The sequence has the Image Position (Patient) of every tile, of its own first pixel.

    Raises
    ------
    HeaderError
        If they are missing or contradict the image; the reason, in words.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # departures that pydicom would warn of are tolerated here
            block = ds.private_block(0x0065, _UIH)
            count = int(float(block[0x50].value))
            items = list(block[0x51].value)
            positions = [np.array([float(each) for each in item.ImagePositionPatient]) for item in items]
    except Exception:  # absent, or whatever pydicom stumbles over in hostile bytes
        raise HeaderError(
            "its count or its positions of planes (0065,1050), (0065,1051) are missing"
        ) from None
    if not 0 < count == len(positions) <= LARGEST_COUNT or any(each.shape != (3,) for each in positions):
        raise HeaderError(f"it has positions for {len(positions)} planes and says that there are {count}")
    across = math.isqrt(count - 1) + 1
    mosaic, rows, columns = _tiled(image, across, -(-count // across))
    return _tiles(image, mosaic, rows, columns, positions)


def _tiled(image: InstanceRecord, across: int, down: int) -> tuple[Mosaic, int, int]:
    """The whole image, and rows and columns of a tile."""
    if not geometry.is_placed(image):
        raise HeaderError("it has no usable position, orientation or pixel spacing")
    if (image.samples_per_pixel or 1) != 1:
        raise HeaderError("it is in colour")
    rows, columns = image.rows or 0, image.columns or 0
    if rows % down or columns % across or not rows or not columns:
        raise HeaderError(f"{rows} rows and {columns} columns do not divide into {down} x {across} tiles")
    return Mosaic(rows, columns, across, down), rows // down, columns // across


def _tiles(
    image: InstanceRecord, mosaic: Mosaic, rows: int, columns: int, positions: Sequence[geometry.Vector]
) -> tuple[InstanceRecord, ...]:
    return tuple(
        replace(
            image,
            rows=rows,
            columns=columns,
            number_of_frames=len(positions),
            frame_index=number,
            image_position_patient=tuple(float(each) for each in position),
            mosaic=mosaic,
        )
        for number, position in enumerate(positions)
    )


# --- CSA header ------------------------------------------------------------------------------------------


def _csa(image: InstanceRecord, private: PrivateElements) -> tuple[int, geometry.Vector]:
    """Count of planes and unit vector from one to the next."""
    found = private.value(0x0029, _CSA, 0x10)
    if found is None:
        raise HeaderError("its CSA header (0029,1010) is missing")
    tags = _csa_tags(found.value or b"")
    numbers = _csa_numbers(tags, "NumberOfImagesInMosaic")
    normal = np.array(_csa_numbers(tags, "SliceNormalVector"), np.float64)
    if len(numbers) != 1 or not 0 < numbers[0] <= LARGEST_COUNT or numbers[0] != int(numbers[0]):
        raise HeaderError("its CSA header does not say how many planes it has")
    count = int(numbers[0])
    other = private.numbers(0x0019, _MR, 0x0A, b"US")
    if other and other != (count,):
        raise HeaderError(
            f"its CSA header says that it has {count} planes, (0019,100A) that it has {other[0]:g}"
        )
    if normal.shape != (3,) or not abs(np.linalg.norm(normal) - 1) <= geometry.COSINE_TOLERANCE:
        raise HeaderError("its CSA header does not say in which direction its planes follow each other")
    series = private.value(0x0029, _CSA, 0x20)
    is_reversed = series is not None and _REVERSED in (series.value or b"")
    if is_reversed or any(number > 1 for number in _csa_numbers(tags, "ProtocolSliceNumber")):
        raise HeaderError(
            "its planes are numbered in reverse (ImageNumbering), of which no certain rule is known"
        )
    return count, np.asarray(normal / np.linalg.norm(normal), np.float64)


def _csa_tags(header: bytes) -> dict[str, Any]:
    start = 8 if header[:4] == b"SV10" else 0
    entries = struct.unpack_from("<I", header, start)[0] if len(header) >= start + 4 else 0
    if not 0 < entries <= _CSA_TAGS:
        raise HeaderError("its CSA header is damaged")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it calls its readers experimental; here they are tested
        from nibabel.nicom import csareader
    try:
        parsed: dict[str, Any] = csareader.read(header)  # type: ignore[no-untyped-call]
        return dict(parsed["tags"])
    except Exception:  # whatever the reader stumbles over in hostile bytes
        raise HeaderError("its CSA header is damaged") from None


def _csa_numbers(tags: dict[str, Any], name: str) -> tuple[float, ...]:
    items = tags.get(name, {}).get("items", ())
    return tuple(float(each) for each in items if isinstance(each, int | float))
