"""Images of a series as planes: frames of enhanced objects and SPECT, tiles of mosaics; the others whole."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from catalog.errors import HeaderError
from catalog.headers import read_dataset
from catalog.records import InstanceRecord
from pipelines.axes import makers, mosaic
from pipelines.axes.cine import frame_times_s
from pipelines.axes.diffusion import IN_PLANE_PHASE_ENCODING_DIRECTION, diffusion_of
from pipelines.axes.functional_groups import (
    MULTI_FRAME,
    Concatenation,
    concatenation_of,
    frames_of,
    is_enhanced,
)
from pipelines.axes.private import PrivateElements, read_private
from pipelines.axes.reconstruction import is_reconstructed, slices_of
from pipelines.axes.repeats import COUNTED, Axis
from pipelines.decoding.frames import open_frames


@dataclass(frozen=True, slots=True)
class Expanded:
    """An image with what its header says of its frames."""

    planes: tuple[InstanceRecord, ...]
    """Frames of an enhanced object or of SPECT or tiles of a mosaic one by one; any other image as it is."""
    times: Axis | None = None
    """When the frames of a cine were taken, where it says so for all at once."""
    concatenation: Concatenation | None = None
    """Where it is a part of an object that several instances hold."""


def expanded(image: InstanceRecord) -> Expanded:
    """Look into the header of an image that may consist of several planes.

    Raises
    ------
    DecodeError
        If the file does not hold as many frames as its header promises.
    HeaderError
        If its functional groups cannot be read.
    """
    maker = makers.maker(image)
    count = image.number_of_frames or 1
    if _is_single(image):
        return Expanded(_tiles(image, maker) if maker else (image,))
    with open_frames(replace(image, rot="")):  # what is stored of it already stays
        pass  # before anything is made for each frame: the file holds as many as its header promises
    ds = read_dataset(image.path)
    values = frame_times_s(ds, count).values if count > 1 else None
    times = None if values is None else Axis("time", "s", values)
    if is_enhanced(ds):
        return Expanded(frames_of(image, ds), times, concatenation_of(ds))
    return Expanded(slices_of(image, ds) if is_reconstructed(image) else (image,), times)


def are_told(images: Sequence[InstanceRecord]) -> bool:
    """Whether records tell all that `expanded` and `informed` know of images: no header is looked into."""
    places = _places(images)
    return not any(
        makers.maker(each) or not _is_single(each) or _shares_place(each, places) for each in images
    )


def _is_single(image: InstanceRecord) -> bool:
    return (image.number_of_frames or 1) == 1 and image.sop_class_uid not in MULTI_FRAME


def timed(planes: Sequence[InstanceRecord], axes: Sequence[Axis], times: Axis | None) -> tuple[Axis, ...]:
    """Axes of a stack with the times of its frames, where nothing better is known of what they differ by.

    Parameters
    ----------
    times
        What the header of the first plane's instance says of all its frames.
    """
    is_known = bool(axes) and axes[0].name != COUNTED
    if times is None or is_known or not _are_all_frames(planes, len(times.values)):
        return tuple(axes)
    return (times,)


def _are_all_frames(planes: Sequence[InstanceRecord], count: int) -> bool:
    """Whether these are the frames of one instance in their order, at one place."""
    if planes[0].frame_index is None:
        return True
    numbers = [(each.sop_instance_uid, each.frame_index) for each in planes]
    uid, places = planes[0].sop_instance_uid, {each.image_position_patient for each in planes}
    return numbers == [(uid, index) for index in range(count)] and len(places) == 1


def joined(found: Sequence[Expanded]) -> list[InstanceRecord]:
    """All planes of a series; those of a concatenation as of one instance, or with what is wrong with it."""
    parts: dict[str, list[Expanded]] = {}
    for each in found:
        if each.concatenation is not None:
            parts.setdefault(each.concatenation.uid, []).append(each)
    obstacles = {name: _incomplete(several) for name, several in parts.items()}
    numbers = {
        name: min(plane.instance_number or 0 for each in several for plane in each.planes)
        for name, several in parts.items()
    }
    planes: list[InstanceRecord] = []
    for each in found:
        of = each.concatenation
        planes += (
            each.planes
            if of is None
            else (
                replace(
                    plane,
                    obstacle=obstacles[of.uid] or plane.obstacle,
                    instance_number=numbers[of.uid],
                    in_concatenation_number=of.number,
                )
                for plane in each.planes
            )
        )
    return planes


def informed(planes: Sequence[InstanceRecord]) -> list[InstanceRecord]:
    """Planes with what else is known of them, where several lie at one place: diffusion, times, energy.

    A second look into the header of single images, which those that do not repeat are spared.
    """
    places = _places(planes)
    known: dict[str, PrivateElements] = {}
    return [
        _informed(each, known)
        if _shares_place(each, places) and (each.frame_index is None or each.mosaic is not None)
        else each
        for each in planes
    ]


type _Place = tuple[tuple[float, ...] | None, tuple[float, ...] | None]


def _places(planes: Sequence[InstanceRecord]) -> Counter[_Place]:
    """How many planes lie at each place."""
    return Counter((each.image_position_patient, each.image_orientation_patient) for each in planes)


def _shares_place(plane: InstanceRecord, places: Counter[_Place]) -> bool:
    position = plane.image_position_patient
    return position is not None and places[position, plane.image_orientation_patient] > 1


_ASKED: Mapping[str, tuple[int, bytes]] = {
    "nominal_percentage_of_cardiac_phase": (0x00209241, b"FD"),
    "nominal_interval": (0x00181062, b"IS"),
    "cardiac_number_of_images": (0x00181090, b"IS"),
    "repetition_time": (0x00180080, b"DS"),
    "number_of_temporal_positions": (0x00200105, b"IS"),
    "acquisition_duration": (0x00189073, b"FD"),
    "kvp": (0x00180060, b"DS"),
}
"""Field of an instance record to its element and what that is where the file does not say it."""
_COUNTS = frozenset({"cardiac_number_of_images", "number_of_temporal_positions"})


def _informed(image: InstanceRecord, known: dict[str, PrivateElements]) -> InstanceRecord:
    uid = image.sop_instance_uid
    if uid not in known:
        asked = (IN_PLANE_PHASE_ENCODING_DIRECTION, *(tag for tag, _ in _ASKED.values()))
        try:
            known[uid] = read_private(image.path, *asked)
        except HeaderError:  # what is wrong with it is said where its pixel data are read
            known[uid] = PrivateElements({}, little_endian=True)
    private = known[uid]
    image = replace(image, **_values(private))
    if image.diffusion_b_value is not None:
        return image
    diffusion = diffusion_of(image, private)
    if diffusion is None:
        return image
    return replace(
        image,
        diffusion_b_value=diffusion.b_value,
        diffusion_gradient_orientation=diffusion.direction,
    )


def _values(private: PrivateElements) -> dict[str, Any]:
    """What the header says of time and energy, GE and Philips in private attributes."""
    found: dict[str, Any] = {}
    for name, (tag, vr) in _ASKED.items():
        value = next(iter(private.public(tag, vr)), None)
        if value is not None and math.isfinite(value):
            found[name] = int(value) if name in _COUNTS else value
    duration = private.numbers(0x0019, "GEMS_ACQU_01", 0x5A, b"FL")  # us
    begin = private.numbers(0x2005, "Philips MR Imaging DD 001", 0xA0, b"FL")  # Dynamic Scan Begin Time, s
    if len(duration) == 1 and math.isfinite(duration[0]):
        found.setdefault("acquisition_duration", duration[0] / 1e6)
    if len(begin) == 1 and math.isfinite(begin[0]):
        found["temporal_position_time_offset"] = begin[0]
    return found


def _incomplete(parts: Sequence[Expanded]) -> str:
    """Why the parts are not the whole object; empty where they are."""
    known = [(each.concatenation, len(each.planes)) for each in parts if each.concatenation]
    known.sort(key=lambda each: each[0].number)
    total = max(each.total or each.number for each, _ in known)
    missing = sorted(set(range(1, total + 1)) - {each.number for each, _ in known})
    if missing:
        which = ", ".join(map(str, missing[:4])) + (" ..." if missing[4:] else "")
        return f"part {which} of {total} of its concatenation is missing"
    if len(known) > total:
        return f"its concatenation has {len(known)} parts and says that there are {total}"
    before = 0
    for each, frames in known:
        if each.first_frame not in (None, before):
            return f"part {each.number} of {total} of its concatenation does not go on after frame {before}"
        before += frames
    return ""


def _tiles(image: InstanceRecord, maker: str) -> tuple[InstanceRecord, ...]:
    """The tiles of a mosaic; the image with the reason where it cannot be unfolded."""
    try:
        if maker == makers.SIEMENS:
            return mosaic.siemens_tiles(image, read_private(image.path))
        return mosaic.united_imaging_tiles(image, read_dataset(image.path))
    except HeaderError as error:
        return (replace(image, obstacle=f"mosaic that cannot be unfolded: {error}"),)
