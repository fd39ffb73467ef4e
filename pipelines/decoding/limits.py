"""What reading pixels may take: a setting of the environment, so that Dask workers obey it, too."""

import os
from collections.abc import Mapping

from catalog.errors import DecodeError

FRAME_VARIABLE = "WORKBENCH_FRAME_MIB"
FRAME_MIB = 1024
"""The largest frame that is read where the variable is not set; a larger claim takes no memory."""


def largest_frame_bytes(environment: Mapping[str, str] = os.environ) -> int:
    """Bytes that the stored values of one frame may take.

    Raises
    ------
    DecodeError
        If the variable is no whole number of MiB, 1 or more.
    """
    said = environment.get(FRAME_VARIABLE, "").strip() or str(FRAME_MIB)
    if not said.isascii() or not said.isdigit() or not 0 < len(said) < 10 or int(said) < 1:
        raise DecodeError(f"{FRAME_VARIABLE} is to be a whole number of MiB, such as {FRAME_MIB}")
    return int(said) << 20


def check_frame(frame_bytes: int) -> None:
    """Refuse a frame that is larger than allowed; raises `DecodeError`, which says how to allow it."""
    most = largest_frame_bytes()
    if frame_bytes > most:
        raise DecodeError(
            f"a frame exceeds {most >> 20} MiB: it has {frame_bytes / (1 << 20):,.1f}; to read it, set "
            f"{FRAME_VARIABLE} in the environment of the session and of its workers"
        )
