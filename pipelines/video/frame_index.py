"""Where every frame of a video is found.

The frames of a video depend on each other from one key frame to the next, a group of pictures. The index goes
between processes as one array of numbers and a few words.
"""

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

type Numbers = npt.NDArray[np.int64]

FRAME_LIMIT = 4_000_000
"""How many packets a video may have: 18 hours of 60 frames a second."""
LARGEST_FRAME_PIXELS = 1 << 26
"""Rows times columns of the largest frame that is decoded; 8K has half of it."""

_NONE = -1


@dataclass(frozen=True, slots=True)
class Place:
    """How the demuxer gets to a key frame; FFmpeg names a packet by the offset of its first byte."""

    seek: int
    """A time in MP4, which lands exactly; else an offset in the stream, some packets early."""
    packet: int
    """Number of the packet from which on packets are counted again."""
    offset: int | None
    """Its offset; `None` for the first packet of the stream."""


@dataclass(frozen=True, slots=True, eq=False)
class FrameIndex:
    """Where every frame of a video is found; frames in order of presentation, packets in that of decoding."""

    codec: str
    rows: int
    columns: int
    packets: Numbers
    """Number of the packet of each frame."""
    firsts: Numbers
    """First frame of each group of pictures, which is its key frame but for frames before the first one."""
    keys: Numbers
    """Number of the packet of each group's key frame."""
    places: tuple[Place, ...]
    """Of each group's key frame."""
    times_s: npt.NDArray[np.float64]
    """From the first frame, by the stream; empty where it has none."""
    rate: float | None
    """Frames a second that the stream announces."""
    reason: str
    """Why frames are missing; empty where none is."""

    @property
    def has_times(self) -> bool:
        """Whether the stream says when each frame is presented."""
        return len(self.times_s) > 0

    def group(self, frame: int) -> int:
        """Return the number of the group of a frame, from 0."""
        return int(np.searchsorted(self.firsts, frame, side="right")) - 1

    def is_ahead(self, frame: int, following: int) -> bool:
        """Whether a decoder whose next frame is `following` comes to a frame with no key frame nearer."""
        return int(self.firsts[self.group(frame)]) <= following <= frame

    def described(self) -> dict[str, Any]:
        """What `flat` does not say."""
        return {
            "frames": len(self.packets), "groups": len(self.firsts), "has_times": self.has_times,
            "codec": self.codec, "rows": self.rows, "columns": self.columns, "rate": self.rate,
            "reason": self.reason,
        }  # fmt: skip

    def flat(self) -> Numbers:
        """All that there is one of for each frame or group, one after another."""
        places = [
            (each.seek, each.packet, _NONE if each.offset is None else each.offset) for each in self.places
        ]
        return np.concatenate(
            [
                self.packets,
                self.firsts,
                self.keys,
                np.array(places, np.int64).ravel(),
                self.times_s.view(np.int64),
            ]
        )

    @classmethod
    def of(cls, described: Any, flat: Numbers) -> Self:
        """Join what `described` and `flat` say; raises `ValueError` where that is no index of a video."""
        size = cls.flat_size(described)
        match described:
            case {
                "codec": str(codec), "rows": int(rows), "columns": int(columns), "reason": str(reason),
                "rate": (int() | float() | None) as rate,
            } if 0 < rows * columns <= LARGEST_FRAME_PIXELS:  # fmt: skip
                frames, groups = described["frames"], described["groups"]
            case _:
                raise ValueError("no index of a video")
        if len(flat) != size:
            raise ValueError(f"{len(flat)} numbers of an index, expected {size}")
        ends = np.cumsum([frames, groups, groups, 3 * groups])
        packets, firsts, keys, places, times = (part.copy() for part in np.split(flat, ends))
        if firsts[0] != 0 or firsts[-1] >= frames or (np.diff(firsts) <= 0).any():
            raise ValueError("groups of pictures that are not in order")
        return cls(
            codec[:50], rows, columns, packets, firsts, keys,
            tuple(
                Place(seek, packet, None if offset == _NONE else offset)
                for seek, packet, offset in places.reshape(-1, 3).tolist()
            ),
            times.view(np.float64), float(rate) if rate and math.isfinite(rate) else None, reason[:500],
        )  # fmt: skip

    @staticmethod
    def flat_size(described: Any) -> int:
        """How many numbers `flat` has; raises `ValueError` where that is no index of a video."""
        match described:
            case {"frames": int(frames), "groups": int(groups), "has_times": bool(has_times)}:
                if 0 < groups <= frames <= FRAME_LIMIT:
                    return frames * (1 + has_times) + groups * 5
        raise ValueError("no index of a video")
