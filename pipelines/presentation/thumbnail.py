"""One small square picture of a series of any kind, from one frame of its files or one plane of its array.

Nothing to be measured or read from. What is no picture is drawn from what it holds, a waveform as strips, a
structure set by its polygons, or is a card that says what it is. No free text of a header is drawn.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from pydicom import Dataset

from catalog.errors import CodecMissingError, DecodeError, WorkbenchError
from catalog.headers import read_dataset
from catalog.records import ArrayRecord, InstanceRecord
from pipelines.axes.expansion import expanded
from pipelines.axes.spacing import spacing_of
from pipelines.blocks import HERE
from pipelines.decoding.frames import open_frames
from pipelines.decoding.pixels import PixelDescription, Stored
from pipelines.instances import instances_behind
from pipelines.kinds import DOSE, PARAMETRIC_MAP, SEGMENTATION, STRUCTURES, Kind, Way, kind_of, without_pixels
from pipelines.objects.file import named
from pipelines.objects.ingest import read_arrays
from pipelines.objects.structures import Structure, inside, read_structures
from pipelines.presentation import display
from pipelines.presentation.colour import modality_lut_of, padding_of, palette_of, view_of
from pipelines.presentation.display import Colour, Gray
from pipelines.presentation.lettering import card
from pipelines.slides.levels import open_slide
from pipelines.video.opening import open_video
from pipelines.volumes import open_array

PIXELS = 256
"""Rows and columns of a thumbnail."""

_CARD, _NO_PICTURE = (52, 62, 80), (92, 40, 40)
_ENDS = (0.5, 99.5)
"""Percentiles of the values that are black and white where no window of the header shows anything."""
_LEAST_SPREAD = 32
"""Of gray values from the 2nd to the 98th percentile; a window that leaves less shows nothing."""
_TRIED = 7
"""Planes of an object of which the one with the most in it is shown."""
_MOST_SLIDE_PIXELS = 2048
"""Rows and columns of a slide's level that are read at most, in its middle."""
_MOST_STRIPS = 12
_INNER = PIXELS * 7 / 8
"""Pixels that the polygons of a structure set take at most, so that there is a margin."""
_MARK = np.array([(-10, 0), (0, -10), (10, 0), (0, 10)])
"""Corners of the mark of a single point."""
_COLOURS: tuple[Colour, ...] = (
    (230, 75, 53), (77, 187, 213), (0, 160, 135), (243, 200, 80), (145, 120, 220), (245, 155, 127),
    (130, 200, 90), (220, 110, 180), (90, 130, 230), (200, 170, 120),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A picture, or what stands for it with the reason."""

    picture: Gray
    """Shape (256, 256) or (256, 256, 3)."""
    reason: str = ""
    """Why there is no picture, in words; empty where there is one."""
    is_lasting: bool = True
    """Whether the same files will give the same again: not where one is out of reach or a library missing."""


def thumbnail(
    instances: Sequence[InstanceRecord],
    arrays: Sequence[ArrayRecord],
    modality: str | None,
    *,
    local: Callable[[Sequence[InstanceRecord]], Sequence[InstanceRecord]] = tuple,
    elsewhere: str = "",
) -> Thumbnail:
    """Draw one series; holds a single frame of it in memory, and never raises for what a file is like.

    Parameters
    ----------
    instances
        All that have a place, by instance number.
    arrays
        What was ingested of the series; a plane of the largest is drawn instead of a frame of a file.
    local
        Makes files of this machine of the few instances that are read.
    elsewhere
        Where the series lies, in words, if it has no file here.
    """
    shown = _shown_kind(instances)
    if shown is None:
        why = elsewhere or "none of its files can be read any more"
        return _without(modality, why, is_lasting=False)
    kind, images = shown
    middle = _middle(images)
    if arrays:
        with suppress(WorkbenchError, OSError), named(middle.path):
            return Thumbnail(_draw(kind, images, middle, arrays, modality))
    images = list(local(images if kind.way is Way.ARCHIVE else [middle]))
    middle = _middle(images)
    try:  # from the files, also where the arrays are gone or damaged
        with named(middle.path):
            return Thumbnail(_draw(kind, images, middle, (), modality))
    except (CodecMissingError, OSError) as error:
        return _without(modality, _without_path(str(error), images), is_lasting=False)
    except WorkbenchError as error:
        is_lasting = not isinstance(error.__cause__, OSError) and _is_readable(middle.path)
        return _without(modality, _without_path(str(error), images), is_lasting=is_lasting)


def _without(modality: str | None, reason: str, *, is_lasting: bool) -> Thumbnail:
    picture = card(_label(modality), f"no picture: {reason}", PIXELS, colour=_NO_PICTURE)
    return Thumbnail(picture, reason, is_lasting)


def _label(modality: str | None) -> str:
    """A modality as a card has room for it: eight letters and digits; what is none says nothing."""
    label = (modality or "").strip()
    return label if label.isascii() and label.isalnum() and len(label) <= 8 else "DICOM"


def _without_path(reason: str, images: Sequence[InstanceRecord]) -> str:
    """Paths may tell names."""
    for each in images:
        reason = reason.replace(f"{each.path}: ", "").replace(each.path, "the file")
    return reason


def _is_readable(path: str) -> bool:
    try:
        with Path(path).open("rb"):
            return True
    except OSError:
        return False


def _shown_kind(instances: Sequence[InstanceRecord]) -> tuple[Kind, list[InstanceRecord]] | None:
    """The kind of which the series has most, pictures before what is none, and its instances."""
    kinds = [kind_of(each.sop_class_uid, each.transfer_syntax_uid) for each in instances]
    if not kinds:
        return None
    counts = Counter(kinds)
    kind = max(counts, key=lambda each: (each.way is not Way.NONE or each is STRUCTURES, counts[each]))
    return kind, [each for each, of in zip(instances, kinds, strict=True) if of is kind]


def _draw(
    kind: Kind,
    images: Sequence[InstanceRecord],
    middle: InstanceRecord,
    arrays: Sequence[ArrayRecord],
    modality: str | None,
) -> Gray:
    if kind is STRUCTURES:
        drawn = _polygons(read_structures(middle.path).structures)
        return _card(modality, "a structure set without contours") if drawn is None else drawn
    if kind.way is Way.NONE:
        return _card(modality, kind.name)
    if kind.way is Way.ARCHIVE:
        return _slide(images)
    if kind.way is Way.PLANES:
        return _plane(images, middle, arrays, modality)
    return _object(kind, middle, arrays)


def _card(modality: str | None, text: str) -> Gray:
    return card(_label(modality), text, PIXELS, colour=_CARD)


# --- images ----------------------------------------------------------------------------------------------


def _middle(images: Sequence[InstanceRecord]) -> InstanceRecord:
    """The plane in the middle of the largest group of parallel ones of one size."""
    groups: dict[tuple[Any, ...], list[InstanceRecord]] = {}
    for each in images:
        orientation = each.image_orientation_patient or ()
        key = (tuple(round(number, 2) for number in orientation), each.rows, each.columns)
        groups.setdefault(key, []).append(each)
    largest = max(groups.values(), key=len)
    heights = [_height_mm(each) for each in largest]
    known = [height for height in heights if height is not None]
    if len(known) < len(heights):
        return largest[len(largest) // 2]
    levels = sorted(set(known))
    here = [each for each, height in zip(largest, known, strict=True) if height == levels[len(levels) // 2]]
    return here[len(here) // 2]


def _height_mm(image: InstanceRecord) -> float | None:
    """Distance along the normal, in hundredths of a mm exact."""
    position, orientation = image.image_position_patient, image.image_orientation_patient
    if position is None or orientation is None or len(position) != 3 or len(orientation) != 6:
        return None
    height = round(float(np.dot(np.cross(orientation[:3], orientation[3:]), position)), 2)
    return height if np.isfinite(height) else None


def _plane(
    images: Sequence[InstanceRecord],
    middle: InstanceRecord,
    arrays: Sequence[ArrayRecord],
    modality: str | None,
) -> Gray:
    planes = [each for each in arrays if each.kind in ("volume", "stack")]
    if planes:
        return _of_array(max(planes, key=lambda each: int(np.prod(each.shape))))
    if middle.rows is None:
        return _card(modality, without_pixels(middle.sop_class_uid))
    return _of_file(middle)


def _of_file(image: InstanceRecord) -> Gray:
    """One frame of one file, decoded through the codecs of ingest and their limits."""
    plane = _middle(expanded(image).planes)
    ds = read_dataset(image.path)
    description = PixelDescription.of(plane)
    index = (plane.number_of_frames or 1) // 2 if plane.frame_index is None else plane.frame_index
    stored: Stored = np.empty(description.shape, description.dtype)
    with open_frames(plane) as frames:
        frames.load(index, stored)
    _take_groups(ds, index)
    spacing = plane.pixel_spacing or _spacing_mm(ds)
    if description.photometric_interpretation == "PALETTE COLOR":
        return _fitted(palette_of(ds).eight_bits().apply(stored).astype(np.uint8), spacing)
    if description.samples > 1:
        return _fitted(_eight_bits(stored, description.bits_stored), spacing)
    padding = padding_of(ds)
    is_padding = np.zeros(stored.shape, np.bool_)
    if padding is not None:
        is_padding = (stored >= padding[0]) & (stored <= padding[1])
    if ds.get("ModalityLUTSequence"):
        values = modality_lut_of(ds).apply(stored)
    else:
        slope = 1.0 if plane.rescale_slope is None else plane.rescale_slope
        values = stored.astype(np.float32) * np.float32(slope) + np.float32(plane.rescale_intercept or 0.0)
    return _fitted(_gray(values, ds, is_padding), spacing)


def _of_array(record: ArrayRecord) -> Gray:
    """The plane in the middle of all axes but rows and columns; no other is read."""
    array = open_array(record)
    leading = [dim for dim in array.dims if dim not in ("y", "x", "channel")]
    plane = array.isel({dim: array.sizes[dim] // 2 for dim in leading})
    behind = instances_behind(array)
    uid = str(np.ravel(plane.coords["sop_instance_uid"].values)[0])
    number = plane.coords.get("frame_number")
    index = 0 if number is None else int(np.ravel(number.values)[0]) - 1
    plane_number = behind.number(uid, index)
    ds = behind.dataset(plane_number)
    _take_groups(ds, index)
    values = _computed(plane)
    spacing = _coordinate_spacing(plane) or _spacing_mm(ds)
    if "channel" in plane.dims:
        return _fitted(_eight_bits(values, int(ds.get("BitsStored") or 8)), spacing)
    padding = None if behind.lookup else padding_of(ds)
    is_padding = np.zeros(values.shape, np.bool_)
    if padding is not None:
        slope, intercept = (each[plane_number] for each in behind.rescale)
        low, high = sorted(np.float32(end) * np.float32(slope) + np.float32(intercept) for end in padding)
        is_padding = (values >= low) & (values <= high)
    return _fitted(_gray(values, ds, is_padding), spacing)


def _take_groups(ds: Dataset, index: int) -> None:
    """Bring what functional groups say of the window of a frame to the top of its header."""
    own = list(ds.get("PerFrameFunctionalGroupsSequence") or ())
    for groups in (*list(ds.get("SharedFunctionalGroupsSequence") or ())[:1], *own[index : index + 1]):
        for item in list(groups.get("FrameVOILUTSequence") or ())[:1]:
            for keyword in ("WindowCenter", "WindowWidth", "VOILUTFunction"):
                if keyword in item:
                    ds[keyword] = item[keyword]


def _gray(values: npt.NDArray[Any], ds: Dataset, is_padding: npt.NDArray[np.bool_]) -> Gray:
    """What a screen shows by the window of the header, or by the values where that shows nothing."""
    try:
        view = view_of(ds)
    except DecodeError:  # a window that is impossible is no reason for no picture
        only = Dataset()
        only.PhotometricInterpretation = ds.get("PhotometricInterpretation", "MONOCHROME2")
        view = view_of(only)
    inner = ~is_padding if not is_padding.all() else np.ones_like(is_padding)
    gray = None
    if view.function is not None:
        gray = view.apply(values, center=0, width=1)
        low, high = np.percentile(gray[inner], (2, 98))
        gray = gray if high - low >= _LEAST_SPREAD else None
    if gray is None:
        gray = 255 - _stretched(values, inner) if view.is_inverted else _stretched(values, inner)
    return np.where(is_padding, np.uint8(0), gray)


def _stretched(values: npt.NDArray[Any], inner: npt.NDArray[np.bool_] | None = None) -> Gray:
    """0 to 255 from the smallest to the largest value, but for outliers."""
    seen = values if inner is None else values[inner]
    seen = seen[np.isfinite(seen)]
    if not seen.size:
        return np.zeros(values.shape, np.uint8)
    low, high = (float(each) for each in np.percentile(seen, _ENDS))
    if not high > low:
        low, high = float(seen.min()), float(seen.max())
    scaled = (np.nan_to_num(values.astype(np.float64), nan=low) - low) / ((high - low) or 1.0)
    gray: Gray = np.rint(np.clip(scaled, 0, 1) * 255).astype(np.uint8)
    return gray


def _eight_bits(colour: Stored, bits_stored: int) -> Gray:
    return colour if colour.dtype == np.uint8 else (colour >> max(bits_stored - 8, 0)).astype(np.uint8)


def _spacing_mm(ds: Dataset) -> tuple[float, float]:
    """Between rows and between columns; of Pixel Aspect Ratio (0028,0034) where nothing is in mm."""
    found = spacing_of(ds)
    if found is not None:
        return found.rows, found.columns
    ratio = ds.get("PixelAspectRatio")
    try:
        down, right = (float(each) for each in ratio or (1, 1))
    except (TypeError, ValueError):
        return 1.0, 1.0
    return (down, right) if down > 0 and right > 0 else (1.0, 1.0)


def _coordinate_spacing(plane: xr.DataArray) -> tuple[float, float] | None:
    """Of coordinates along y and x in one unit."""
    if not {"y", "x"} <= set(plane.coords) or min(plane.sizes["y"], plane.sizes["x"]) < 2:
        return None
    if len({plane.coords[dim].attrs.get("units") for dim in "yx"}) > 1:
        return None
    steps = [abs(float(plane.coords[dim].values[1] - plane.coords[dim].values[0])) for dim in "yx"]
    return (steps[0], steps[1]) if min(steps) > 0 else None


def _computed(array: xr.DataArray) -> npt.NDArray[Any]:
    values: npt.NDArray[Any] = np.asarray(array.compute(scheduler=HERE).values)
    return values


# --- objects ---------------------------------------------------------------------------------------------


def _object(kind: Kind, middle: InstanceRecord, arrays: Sequence[ArrayRecord]) -> Gray:
    kept = [each for each in arrays if each.kind not in ("volume", "stack")]
    if kind.way is Way.VIDEO:
        return _of_frames(open_video(middle.path))
    array = open_array(kept[0]) if kept else read_arrays(kind, middle.path)[0]
    if "y" not in array.dims:
        return _strips(array)
    if kind is SEGMENTATION:
        return _segments(array)
    picture = _richest(array)
    return _heat(picture) if kind in (DOSE, PARAMETRIC_MAP) else picture


def _of_frames(video: xr.DataArray) -> Gray:
    frame = (
        video.isel(time=video.sizes["time"] // 2) if "time" in video.dims else video.isel({video.dims[0]: 0})
    )
    return _fitted(_computed(frame), _coordinate_spacing(frame) or (1.0, 1.0))


def _richest(array: xr.DataArray) -> Gray:
    """Of some planes that one whose values differ most, gray."""
    leading = [dim for dim in array.dims if dim not in ("z", "y", "x")]
    along = "z" if "z" in array.dims else str(leading.pop()) if leading else ""
    array = array.isel({dim: array.sizes[dim] // 2 for dim in leading})
    if not along:
        return _fitted(_stretched(_computed(array)), _coordinate_spacing(array) or (1.0, 1.0))
    tried = np.unique(np.linspace(0, array.sizes[along] - 1, _TRIED).round().astype(int))
    planes = [_computed(array.isel({along: int(number)})) for number in tried]
    best = max(
        planes, key=lambda each: float(np.std(each[np.isfinite(each)])) if np.isfinite(each).any() else 0.0
    )
    return _fitted(_stretched(best), _coordinate_spacing(array) or (1.0, 1.0))


def _heat(gray: Gray) -> Gray:
    """Black, red, yellow, white."""
    scaled = gray.astype(np.int32) * 3
    heat: Gray = np.stack([np.clip(scaled - 255 * part, 0, 255) for part in range(3)], axis=-1).astype(
        np.uint8
    )
    return heat


def _segments(array: xr.DataArray) -> Gray:
    """Each segment in a colour of its own, on the plane that has most of them."""
    along = "z" if "z" in array.dims else "frame"
    if "has_frame" in array.coords:
        counts = np.atleast_2d(array.coords["has_frame"].transpose(..., along).values).sum(axis=0)
        best = np.flatnonzero(counts == counts.max())
        tried = best[np.unique(np.linspace(0, len(best) - 1, _TRIED).round().astype(int))]
    else:
        tried = np.unique(np.linspace(0, array.sizes[along] - 1, _TRIED).round().astype(int))
    planes = [_painted(array.isel({along: int(number)})) for number in tried]
    best_plane = max(planes, key=lambda each: int(np.count_nonzero(each)))
    return _fitted(best_plane, _coordinate_spacing(array) or (1.0, 1.0))


def _painted(plane: xr.DataArray) -> Gray:
    picture = np.zeros((plane.sizes["y"], plane.sizes["x"], 3), np.uint8)
    if "segment" not in plane.dims:
        values = _computed(plane).astype(np.int64)
        table = np.array(_COLOURS, np.uint8)
        there = values > 0
        picture[there] = table[(values[there] - 1) % len(table)]
        return picture
    for number in range(plane.sizes["segment"]):
        strength = _computed(plane.isel(segment=number)).astype(np.float32)[..., np.newaxis]
        colour = np.array(_COLOURS[number % len(_COLOURS)], np.float32)
        picture = np.maximum(picture, np.rint(strength * colour).astype(np.uint8))
    return picture


def _strips(waveform: xr.DataArray) -> Gray:
    """Channels below each other on paper, from the least to the greatest value in each column of pixels."""
    picture = np.empty((PIXELS, PIXELS, 3), np.uint8)
    picture[...] = (255, 246, 242)
    step = PIXELS // 16
    picture[::step], picture[:, ::step] = (246, 214, 206), (246, 214, 206)
    channels = waveform.isel({waveform.dims[0]: slice(_MOST_STRIPS)}) if waveform.ndim > 1 else waveform
    values = np.nan_to_num(_computed(channels)).reshape(-1, waveform.sizes[waveform.dims[-1]])
    height = PIXELS / len(values)
    edges = np.linspace(0, values.shape[1], PIXELS + 1).astype(int)
    for number, channel in enumerate(values):
        low, high = float(channel.min()), float(channel.max())
        scaled = (channel - low) / ((high - low) or 1.0)
        rows = np.clip(((number + 0.92 - 0.84 * scaled) * height).astype(int), 0, PIXELS - 1)
        for column, (start, stop) in enumerate(pairwise(edges)):
            part = rows[max(start - 1, 0) : max(stop, start + 1)]
            picture[part.min() : part.max() + 1, column] = (40, 40, 60)
    return picture


def _slide(images: Sequence[InstanceRecord]) -> Gray:
    """The smallest level that is large enough, else the largest; never the label, which names a patient."""
    tree = open_slide(images)
    levels: list[Any] = []
    if "level" in tree.children:
        levels = [node["image"] for node in tree["level"].children.values()]
    levels = levels or [tree[name]["image"] for name in ("thumbnail", "overview") if name in tree.children]
    if not levels:
        raise DecodeError("the slide has no level, thumbnail or overview")
    large = [each for each in levels if max(each.sizes["y"], each.sizes["x"]) >= PIXELS]
    level: xr.DataArray = min(large or levels[:1], key=lambda each: each.sizes["y"] * each.sizes["x"])
    level = level.isel({dim: level.sizes[dim] // 2 for dim in level.dims if dim not in ("y", "x", "channel")})
    level = level.isel({dim: _inner(level.sizes[dim]) for dim in ("y", "x")})
    spacing = _coordinate_spacing(level) or (1.0, 1.0)
    values = _computed(level)
    return _fitted(values if "channel" in level.dims else _stretched(values), spacing)


def _inner(count: int) -> slice:
    start = max(count - _MOST_SLIDE_PIXELS, 0) // 2
    return slice(start, start + _MOST_SLIDE_PIXELS)


# --- polygons --------------------------------------------------------------------------------------------


def _polygons(structures: Sequence[Structure]) -> Gray | None:
    """Regions as polygons at the height where most of them are; `None` where there is no contour."""
    drawn = [
        (region, contour.points_lps_mm)
        for region in structures
        for contour in region.contours
        if len(contour.points_lps_mm)
    ]
    if not drawn:
        return None
    heights = Counter((round(float(points[0, 2]), 1), region.number) for region, points in drawn)
    regions_at = Counter(height for height, _ in heights)
    most = max(regions_at.values())
    richest = sorted(height for height, count in regions_at.items() if count == most)
    height = richest[len(richest) // 2]
    low = np.min([points.min(axis=0) for _, points in drawn], axis=0)[:2]
    high = np.max([points.max(axis=0) for _, points in drawn], axis=0)[:2]
    scale = _INNER / (float((high - low).max()) or 1.0)
    centre = PIXELS / 2 - (low + high) / 2 * scale
    picture = np.zeros((PIXELS, PIXELS, 3), np.uint8)
    for number, region in enumerate(structures):
        polygons = [
            points[:, :2] * scale + centre
            for of, points in drawn
            if of is region and round(float(points[0, 2]), 1) == height
        ]
        if polygons:
            _paint(picture, polygons, region.colour or _COLOURS[number % len(_COLOURS)])
    return picture


def _paint(picture: Gray, polygons: list[npt.NDArray[np.float64]], colour: Colour) -> None:
    strong = np.maximum(np.asarray(colour, np.float32), 60)
    closed = [each for each in polygons if len(each) > 2]
    if closed:
        mask = inside(closed, PIXELS, PIXELS)
        picture[mask] = np.rint(0.65 * picture[mask] + 0.35 * strong).astype(np.uint8)
    for polygon in polygons:
        if len(polygon) < 3:
            polygon = np.concatenate([polygon[:1] + corner for corner in _MARK])
        for start, end in pairwise([*polygon, polygon[0]]):
            steps = int(np.abs(end - start).max()) + 1
            points = np.rint(np.linspace(start, end, steps + 1)).astype(int)
            points = np.clip(points, 0, PIXELS - 1)
            picture[points[:, 1], points[:, 0]] = strong.astype(np.uint8)


# --- size ------------------------------------------------------------------------------------------------


def _fitted(plane: Gray, spacing: tuple[float, ...]) -> Gray:
    """The plane in true proportion in the middle of a black square."""
    down, right = (
        spacing if len(spacing) == 2 and min(spacing) > 0 and np.isfinite(spacing).all() else (1.0, 1.0)
    )
    height, width = plane.shape[0] * down, plane.shape[1] * right
    scale = PIXELS / max(height, width)
    rows, columns = (max(1, min(PIXELS, round(size * scale))) for size in (height, width))
    small = display.resized(plane, rows, columns)
    square = np.zeros((PIXELS, PIXELS, *plane.shape[2:]), np.uint8)
    top, left = (PIXELS - rows) // 2, (PIXELS - columns) // 2
    square[top : top + rows, left : left + columns] = small
    return square
