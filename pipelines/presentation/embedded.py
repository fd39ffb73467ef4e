"""Overlays in unused bits of pixel data, which stored values do not hold: read from the archive once more."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from catalog.errors import DecodeError
from catalog.records import InstanceRecord
from pipelines.decoding.frames import open_frames
from pipelines.decoding.pixels import Stored
from pipelines.presentation.overlays import GROUPS, bits_of, packed, with_overlays
from pipelines.store.dicom_json import BUDGET, Described

_BIT_POSITION = frozenset(f"{group:04X}0102" for group in GROUPS)


def with_embedded_overlays(described: Described, images: Sequence[InstanceRecord]) -> Described:
    """Add to what the headers say the overlays that lie in the pixel data of the images.

    Parameters
    ----------
    images
        Those of the planes, one a plane.
    """
    if not _BIT_POSITION & {*described.shared, *described.columns}:
        return described
    found: dict[int, dict[int, bytes]] = {}
    known: dict[str, dict[int, bytes]] = {}
    for plane, image in enumerate(images):
        uid = image.sop_instance_uid
        if uid not in known:
            known[uid] = _read(image, bits_of(described.dataset(plane)))
        if known[uid]:
            found[plane] = known[uid]
    return with_overlays(described, found) if found else described


def _read(image: InstanceRecord, bits: Mapping[int, int]) -> dict[int, bytes]:
    """Group to overlay data; nothing where the image is no gray image of whole words."""
    frames, allocated = image.number_of_frames or 1, image.bits_allocated or 0
    points = (image.rows or 0) * (image.columns or 0) * frames
    if not bits or image.mosaic is not None or (image.samples_per_pixel or 1) > 1 or points > 8 * BUDGET:
        return {}
    whole = replace(image, bits_stored=allocated, high_bit=allocated - 1, pixel_representation=0)
    try:
        return {group: _packed(whole, range(frames), bit) for group, bit in bits.items()}
    except DecodeError:  # of a codec that knows no such bits; the pixel data themselves were read before
        return {}


def _packed(whole: InstanceRecord, frames: Iterable[int], bit: int) -> bytes:
    planes = []
    dtype = f"<u{(whole.bits_allocated or 8) // 8}"
    out: Stored = np.empty((whole.rows or 0, whole.columns or 0), dtype)
    with open_frames(whole) as opened:
        for frame in frames:
            opened.load(frame, out)
            planes.append((out >> bit) & 1 != 0)
    return packed(np.stack(planes))
