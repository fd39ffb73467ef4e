"""Second images of one plane at one time, as when an image was sent again under another UID; no I/O."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from catalog.identifiers import short_uid
from catalog.records import InstanceRecord

NAMED = 4
"""So many are named in a reason."""


def without_copies(
    images: Sequence[InstanceRecord],
    position: Callable[[InstanceRecord], int],
    keys: Sequence[Callable[[InstanceRecord], Hashable]],
) -> tuple[list[InstanceRecord], list[InstanceRecord]]:
    """Images of which each plane is there once, and the copies; no copies where it is not sure what is one.

    A copy lies where another image does, differs from it in none of the keys, and has its Instance Number
    (0020,0013), its Acquisition Time (0008,0032) or its Content Time (0008,0033). The image with the lowest
    Instance Number stays, then that with the lowest UID. Where half of the planes have copies, they may as
    well be a second acquisition.

    Parameters
    ----------
    images
        In order of Instance Number, then of SOP Instance UID.
    position
        Number of the place of an image.
    keys
        What tells images at one place apart.
    """
    first: dict[Hashable, InstanceRecord] = {}
    copies = []
    for image in images:
        key = (position(image), *(each(image) for each in keys))
        other = first.setdefault(key, image)
        if other is not image and _are_of_one_time(image, other):
            copies.append(image)
    if 2 * len(copies) >= len({position(each) for each in images}):
        return list(images), []
    surplus = {(each.sop_instance_uid, each.frame_index) for each in copies}
    return [each for each in images if (each.sop_instance_uid, each.frame_index) not in surplus], copies


def named(images: Sequence[InstanceRecord]) -> str:
    """Instance numbers, or UIDs where there are none, in words."""
    words = [_name(each) for each in images[:NAMED]]
    return ", ".join(words) + (" ..." if len(images) > NAMED else "")


def several(images: Sequence[InstanceRecord], position: Mapping[tuple[Any, ...], int]) -> str:
    """Name the images of the first place that has more than others, in words."""
    places: dict[int, list[InstanceRecord]] = {}
    for image in images:
        places.setdefault(position[image.sop_instance_uid, image.frame_index or 0], []).append(image)
    most = max(places.values(), key=len)
    return named(most)


def _name(image: InstanceRecord) -> str:
    number = "" if image.instance_number is None else f"instance {image.instance_number} "
    frame = "" if image.frame_index is None else f"frame {image.frame_index + 1} "
    return f"{number}{frame}({short_uid(image.sop_instance_uid)})"


def _are_of_one_time(image: InstanceRecord, other: InstanceRecord) -> bool:
    return any(
        mine is not None and mine == theirs
        for mine, theirs in (
            (image.instance_number, other.instance_number),
            (image.acquisition_time, other.acquisition_time),
            (image.content_time, other.content_time),
        )
    )
