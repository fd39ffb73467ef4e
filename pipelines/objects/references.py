"""What objects say of the images they refer to, and where these are in an array."""

import math
from collections.abc import Mapping

import numpy as np
from pydicom.dataset import Dataset

from pipelines.objects.file import numbers
from pipelines.presentation.scene import Scene

type Planes = Mapping[tuple[str, int], tuple[int, ...]]
"""SOP Instance UID and frame number, from 1, to the index of the plane in the array."""


def planes_of(scene: Scene) -> Planes:
    """Where each image, or frame of one, is in the array of a scene."""
    uids, shape = scene.sop_instance_uids, scene.shape
    found: dict[tuple[str, int], tuple[int, ...]] = {}
    for at in range(math.prod(shape) if uids else 0):
        uid = uids[at if len(uids) > 1 else 0]
        frame = scene.frame_numbers[at] if scene.frame_numbers else 1
        found.setdefault((uid, frame), tuple(int(each) for each in np.unravel_index(at, shape)))
    return found


def referred(reference: Dataset) -> tuple[str, int]:
    """SOP Instance UID and frame number, from 1, of an item of a sequence of references."""
    frame = numbers(reference.get("ReferencedFrameNumber"))
    return str(reference.get("ReferencedSOPInstanceUID") or ""), int(frame[0]) if frame else 1
