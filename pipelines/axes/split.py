"""One series into parts: each is one regular volume, or a stack of frames with the reason; no I/O.

Images are told apart in this order, and parts never depend on the order of the input:

1. kind of image: multi-frame objects each by itself, mosaics that could not be unfolded, colour, images
   without a place in the patient;
2. size, photometric interpretation, bits, units; localizer or not; orientation and pixel spacing;
3. where positions repeat, the first of `SEPARATORS` that gives every position equally often, then the next,
   until no position repeats; last of all the order of Instance Number at each position;
4. where nothing does, copies of single planes are set apart from the volume (`pipelines.axes.copies`).

Volumes that were set apart by the third and have one grid and one Image Type are joined again, along axes
named for what varies (`pipelines.axes.repeats`). One or two planes are too few for a grid; where they repeat,
the images of each are a stack with such axes.

Volumes come before stacks, larger parts before smaller ones, and siblings in the order of what separates
them.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from catalog.records import InstanceRecord
from pipelines import geometry
from pipelines.axes.copies import named, several, without_copies
from pipelines.axes.repeats import Along, Axis, join, times_of_frames
from pipelines.geometry import Grid

type Key = tuple[Any, ...]
"""Comparable values; images with equal keys stay together."""


@dataclass(frozen=True, slots=True)
class Part:
    """Images of a series that belong into one array."""

    instances: tuple[InstanceRecord, ...]
    """In the order of the planes of the array."""
    grid: Grid | None
    """`None` for a stack; `grid.order` is 0, 1, 2 ..."""
    label: str
    """What sets the part apart from its siblings; empty where there is one part."""
    reason: str
    """Why it is a stack; empty for a volume."""
    axes: tuple[Axis, ...] = ()
    """Along which a volume, or the one plane of a stack, repeats, outermost first; the planes of the first
    volume come first."""
    along: tuple[Along, ...] = ()
    """What else is known of each volume, or image of the plane."""
    are_copies: bool = False
    """Whether they are second images of planes that a volume of the series has already."""


@dataclass(frozen=True, slots=True)
class Separator:
    """An attribute that tells images at one position apart."""

    key: Callable[[InstanceRecord], Key]
    words: Callable[[Key, int, int], str]
    """From a key, its number from 1 and the count of keys."""


def _counted(noun: str) -> Callable[[Key, int, int], str]:
    return lambda _, number, count: f"{noun} {number} of {count}"


def _type_words(key: Key) -> str:
    return "type " + str(key[0]).replace("\\", "/")


SEPARATORS = (
    Separator(lambda each: (each.image_type or "",), lambda key, *_: _type_words(key)),
    Separator(
        lambda each: (each.echo_numbers or 0, each.echo_time or 0.0),
        lambda key, number, _: f"echo {number} ({key[1]:g} ms)",
    ),
    Separator(lambda each: (each.diffusion_b_value or 0.0,), lambda key, *_: f"b-value {key[0]:g} s/mm2"),
    Separator(lambda each: (each.inversion_time or 0.0, each.flip_angle or 0.0), _counted("contrast")),
    Separator(lambda each: (each.kvp or 0.0,), lambda key, *_: f"{key[0]:g} kV"),
    Separator(
        lambda each: (each.diffusion_b_value or 0.0, *(each.diffusion_gradient_orientation or ())),
        _counted("direction"),
    ),
    Separator(lambda each: (each.temporal_position_identifier or 0,), _counted("time point")),
    Separator(lambda each: (each.temporal_position_time_offset or 0.0,), _counted("time point")),
    Separator(lambda each: (each.nominal_percentage_of_cardiac_phase or 0.0,), _counted("phase")),
    Separator(lambda each: (each.trigger_time or 0.0,), _counted("phase")),
    Separator(lambda each: (each.acquisition_number or 0,), _counted("acquisition")),
    Separator(
        lambda each: (each.acquisition_date or "", each.acquisition_time or ""), _counted("time point")
    ),
    Separator(lambda each: (each.content_time or "",), _counted("time point")),
    Separator(lambda each: tuple(index for _, index in each.dimension_indices), _counted("dimension")),
    Separator(
        lambda each: ("" if each.frame_index is None else each.sop_instance_uid,), _counted("instance")
    ),
)
"""Tried in this order where positions repeat."""


def split(instances: Sequence[InstanceRecord]) -> tuple[Part, ...]:
    """Split the images of one series into volumes and stacks.

    Instances without pixel data are not images and must have been left out. Any order of the same input
    gives the same parts in the same order.
    """
    ordered = sorted(instances, key=_serial)
    parts: list[Part] = []
    for images in _groups(ordered, _image_key).values():
        obstacle = _obstacle(images[0])
        if obstacle:
            parts.append(Part(tuple(images), None, "", obstacle, times_of_frames(images)))
            continue
        for group in _alike(images):
            parts.extend(_by_position(group))
    parts.sort(
        key=lambda part: (part.grid is None, -len(part.instances))
    )  # stable: siblings keep their order
    return _labelled(parts)


# --- images that are never planes of a volume ------------------------------------------------------------


def _identity(image: InstanceRecord) -> tuple[str, int]:
    return image.sop_instance_uid, image.frame_index or 0


def _serial(image: InstanceRecord) -> Key:
    return image.instance_number or 0, image.in_concatenation_number or 0, *_identity(image)


def _is_many(image: InstanceRecord) -> bool:
    """Whether a record stands for several frames of which nothing tells where they lie."""
    return image.frame_index is None and (image.number_of_frames or 1) > 1


def _own_object(image: InstanceRecord) -> str:
    """What the frames of one multi-frame object share, where nothing tells where they lie; else empty."""
    is_frame = image.frame_index is not None and image.mosaic is None and (image.number_of_frames or 1) > 1
    if not (_is_many(image) or (is_frame and _obstacle(image))):
        return ""
    is_part = is_frame and image.in_concatenation_number is not None  # its number is that of the whole object
    return f"instance {image.instance_number}" if is_part else image.sop_instance_uid


def _obstacle(image: InstanceRecord) -> str:
    if image.obstacle:
        return image.obstacle
    if _is_many(image):
        return f"multi-frame object of {image.number_of_frames} frames"
    if "MOSAIC" in (image.image_type or "") and image.mosaic is None:
        return "mosaic: several planes tiled in one image"
    if (image.samples_per_pixel or 1) > 1 or image.photometric_interpretation == "PALETTE COLOR":
        return "colour images"
    if not geometry.is_placed(image):
        return "no usable position, orientation or pixel spacing in the patient"
    return ""


def _image_key(image: InstanceRecord) -> Key:
    return (
        image.rows,
        image.columns,
        image.samples_per_pixel,
        image.photometric_interpretation,
        image.bits_allocated,
        image.bits_stored,
        image.pixel_representation,
        image.pixel_data.tag if image.pixel_data else 0,
        image.rescale_type,
        image.units,
        "LOCALIZER" in (image.image_type or ""),
        _obstacle(image),
        image.mosaic,
        _own_object(image),
    )


def _alike(images: Sequence[InstanceRecord]) -> list[list[InstanceRecord]]:
    """Images grouped by orientation and pixel spacing, each compared with the first of its group."""
    groups: list[list[InstanceRecord]] = []
    for image in images:
        for group in groups:
            if geometry.same_orientation(group[0], image) and geometry.same_spacing(group[0], image):
                group.append(image)
                break
        else:
            groups.append([image])
    return groups


# --- images that share positions -------------------------------------------------------------------------


type Labelled = list[tuple[str, list[InstanceRecord]]]
"""What sets a group apart, and its images, no two at one position."""


def _by_position(images: list[InstanceRecord]) -> list[Part]:
    position = _position_numbers(images)
    counts = Counter(position.values())
    if max(counts.values()) == 1:
        return [_part("", images)]
    if len(counts) < geometry.MINIMUM_PLANES:
        return _plane_by_plane(images, position)
    groups = _separated(images, position, SEPARATORS) or _unequally_separated(images, position)
    if groups is None:
        return _set_apart(images, position) or [_unordered(images, position)]
    return _rejoined([_part(label, group) for label, group in groups])


def _set_apart(images: list[InstanceRecord], position: Mapping[Key, int]) -> list[Part]:
    """Volumes, and the copies that kept them from being some; nothing where that is not the reason."""
    rest, copies = without_copies(
        images, lambda each: position[_identity(each)], [each.key for each in SEPARATORS[:-1]]
    )
    groups = _separated(rest, position, SEPARATORS) if copies else None
    parts = [] if groups is None else _rejoined([_part(label, group) for label, group in groups])
    if not parts or any(part.grid is None for part in parts):
        return []
    reason = f"second images of planes that the volume has already: {named(copies)}"
    return [*parts, Part(_along_normal(copies), None, "copies", reason, are_copies=True)]


def _unordered(images: list[InstanceRecord], position: Mapping[Key, int]) -> Part:
    counts = _counts(images, position)
    reason = (
        f"{len(images)} images at {len(counts)} positions, and nothing that sets their order; "
        f"at one position lie {several(images, position)}"
    )
    return Part(_along_normal(images), None, "", reason)


def _plane_by_plane(images: list[InstanceRecord], position: Mapping[Key, int]) -> list[Part]:
    """Each of one or two planes, and each Image Type of it, as a part of its own."""
    planes = _groups(images, lambda each: (position[_identity(each)],))
    found = []
    for number, plane in enumerate((planes[key] for key in sorted(planes)), start=1):
        types = _groups(plane, lambda each: (each.image_type or "",))
        for key in sorted(types):
            words = (
                f"plane {number} of 2" if len(planes) > 1 else "",
                _type_words(key) if types.keys() - {key} else "",
            )
            found.append(_one_plane(types[key], _joined(*words)))
    return found


def _one_plane(images: list[InstanceRecord], label: str) -> Part:
    """Images of one plane, along what varies from one to the next."""
    reason = "one plane only" + (f", {len(images)} images of it" if len(images) > 1 else "")
    groups = _separated(images, {_identity(each): 0 for each in images}, SEPARATORS)
    if len(images) == 1 or groups is None:  # nothing tells them apart
        ordered = sorted(images, key=lambda each: (*_rank_key(each), *_identity(each)))
        return Part(tuple(ordered), None, label, reason)
    repeats = join([tuple(group) for _, group in groups])
    ordered = [image for volume in repeats.volumes for image in volume]
    return Part(tuple(ordered), None, label, reason, repeats.axes, repeats.along)


def _rejoined(parts: Sequence[Part]) -> list[Part]:
    """Volumes of one grid and one Image Type as one part; everything else as it is."""
    groups: dict[Key, list[Part]] = {}
    for number, part in enumerate(parts):
        image_type = part.instances[0].image_type or ""
        key = (number,) if part.grid is None else (image_type, part.grid.shape, _rounded(part.grid))
        groups.setdefault(key, []).append(part)
    types = {key[0] for key in groups if len(key) > 1}
    return [
        _repeating(siblings, _type_words(key) if len(types) > 1 else siblings[0].label)
        for key, siblings in groups.items()
    ]


def _rounded(grid: Grid) -> Key:
    """Numbers that are equal for grids of one place."""
    return tuple(round(number / geometry.SAME_POSITION_MM) for row in grid.affine_lps for number in row)


def _repeating(parts: Sequence[Part], label: str) -> Part:
    if len(parts) == 1:
        return replace(parts[0], label=label)
    repeats = join([part.instances for part in parts])
    images = tuple(image for volume in repeats.volumes for image in volume)
    words = label if label.startswith("type ") else ""
    return Part(images, parts[0].grid, words, "", repeats.axes, repeats.along)


def _part(label: str, images: Sequence[InstanceRecord]) -> Part:
    fault = geometry.find_fault(images)
    ordered = _along_normal(images)
    if fault is not None:
        return Part(ordered, None, label, fault.reason)
    return Part(ordered, geometry.grid(ordered), label, "")


def _position_numbers(images: Sequence[InstanceRecord]) -> dict[Key, int]:
    """Identity of an image to the number of its position; images at one position share a number."""
    ordered = _along_normal(images)
    points = geometry.positions_lps_mm(ordered)
    moved = np.linalg.norm(np.diff(points, axis=0), axis=1) > geometry.SAME_POSITION_MM
    numbers = np.concatenate([[0], np.cumsum(moved)])
    return {_identity(each): int(number) for each, number in zip(ordered, numbers, strict=True)}


def _along_normal(images: Sequence[InstanceRecord]) -> tuple[InstanceRecord, ...]:
    return tuple(images[index] for index in geometry.plane_order(images))


def _separated(
    images: list[InstanceRecord], position: Mapping[Key, int], separators: Sequence[Separator]
) -> Labelled | None:
    """Equal groups that hold every position once, by the first separators that will do; else `None`."""
    counts = _counts(images, position)
    if max(counts.values()) == 1:
        return [("", images)]
    for used, separator in enumerate(separators, start=1):
        groups = _groups(images, separator.key)
        if len(groups) > 1 and len({frozenset(_counts(g, position).items()) for g in groups.values()}) == 1:
            inner = [
                (
                    separator.words(key, number, len(groups)),
                    _separated(groups[key], position, separators[used:]),
                )
                for number, key in enumerate(sorted(groups), start=1)
            ]
            if all(each is not None for _, each in inner):
                return [
                    (_joined(outer, label), group) for outer, each in inner for label, group in each or ()
                ]
    return _ranked(images, position) if len(set(counts.values())) == 1 else None


def _unequally_separated(images: list[InstanceRecord], position: Mapping[Key, int]) -> Labelled | None:
    """Groups with distinct positions where some are incomplete, as when a scan was stopped."""
    times = max(_counts(images, position).values())
    for separator in SEPARATORS:
        groups = _groups(images, separator.key)
        if len(groups) == times and all(max(_counts(g, position).values()) == 1 for g in groups.values()):
            return [
                (separator.words(key, number, times), groups[key])
                for number, key in enumerate(sorted(groups), start=1)
            ]
    ranked = _ranked(images, position) or []
    numbers = [sorted(each.instance_number or 0 for each in group) for _, group in ranked]
    in_turn = all(earlier[-1] < later[0] for earlier, later in pairwise(numbers))
    return ranked if ranked and in_turn else None


def _ranked(images: Sequence[InstanceRecord], position: Mapping[Key, int]) -> Labelled | None:
    """The first image at each position, the second, and so on; `None` where two have the same rank."""
    by_position = defaultdict(list)
    for image in images:
        by_position[position[_identity(image)]].append(image)
    groups: dict[int, list[InstanceRecord]] = defaultdict(list)
    for there in by_position.values():
        if len({_rank_key(each) for each in there}) < len(there):
            return None
        for rank, image in enumerate(sorted(there, key=_rank_key)):
            groups[rank].append(image)
    return [(f"time point {rank + 1} of {len(groups)}", groups[rank]) for rank in sorted(groups)]


def _rank_key(image: InstanceRecord) -> Key:
    return (
        image.temporal_position_identifier or 0,
        image.temporal_position_time_offset or 0.0,
        image.nominal_percentage_of_cardiac_phase or 0.0,
        image.acquisition_date or "",
        image.acquisition_time or "",
        image.trigger_time or 0.0,
        image.content_time or "",
        image.instance_number or 0,
        image.frame_index or 0,
    )


def _counts(images: Sequence[InstanceRecord], position: Mapping[Key, int]) -> Counter[int]:
    return Counter(position[_identity(each)] for each in images)


def _groups(
    images: Sequence[InstanceRecord], key: Callable[[InstanceRecord], Key]
) -> dict[Key, list[InstanceRecord]]:
    groups: dict[Key, list[InstanceRecord]] = {}
    for image in images:
        groups.setdefault(key(image), []).append(image)
    return groups


# --- labels ----------------------------------------------------------------------------------------------


def _labelled(parts: Sequence[Part]) -> tuple[Part, ...]:
    described = [_description(part) for part in parts]
    differs = [len(set(column)) > 1 for column in zip(*described, strict=True)]
    labels = [
        _joined(*(words for words, wanted in zip(each, differs, strict=True) if wanted), part.label)
        for part, each in zip(parts, described, strict=True)
    ]
    return tuple(
        replace(part, label=_numbered(labels, index) if len(parts) > 1 else "")
        for index, part in enumerate(parts)
    )


def _numbered(labels: Sequence[str], index: int) -> str:
    """The label with its number where several parts have the same."""
    count, number = labels.count(labels[index]), labels[: index + 1].count(labels[index])
    return labels[index] if count == 1 else _joined(labels[index], f"{number} of {count}")


def _description(part: Part) -> tuple[str, ...]:
    first = part.instances[0]
    placed = geometry.is_placed(first)
    return (
        "localizer" if "LOCALIZER" in (first.image_type or "") else "",
        geometry.orientation_name(first) if placed else "no place in the patient",
        f"{first.rows} rows x {first.columns} columns",
        f"{first.bits_stored} bits {first.photometric_interpretation}",
        f"instance {first.instance_number}" if _own_object(first) else "",
    )


def _joined(*words: str) -> str:
    return ", ".join(word for word in words if word)
