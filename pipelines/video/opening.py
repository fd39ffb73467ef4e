"""Videos opened lazily: MPEG-2, H.264 and HEVC in DICOM or in plain files, decoded with PyAV when read.

Decoding runs in child processes (`pipelines.video.decoders`). A frame that cannot be decoded is a
`DecodeError` when it is read; the frames before it can be read, and those from the next key frame on.
"""

import math
import os
import weakref
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Self

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr
from pydicom import Dataset, uid

from catalog.errors import DecodeError, HeaderError
from catalog.headers import read_dataset
from catalog.identifiers import digest_of_texts
from pipelines.axes.cine import frame_times_s
from pipelines.decoding.pixels import VIDEO_CODECS
from pipelines.video.bitstream import Bitstream
from pipelines.video.decoders import ALLOWANCE, VIDEO_DECODERS, Allowance
from pipelines.video.demux import in_words
from pipelines.video.frame_index import FrameIndex

type Pixels = npt.NDArray[np.uint8]

CHUNK_BYTES = 64 << 20
"""A chunk holds as many groups of pictures as fit into this, or an even part of one that does not."""

_STEREO = frozenset({uid.MPEG4HP42STEREO, uid.MPEG4HP42STEREOF})


def open_video(path: str | os.PathLike[str]) -> xr.DataArray:
    """Open a video lazily: red, green and blue, uint8, with dimensions (time, y, x, channel).

    The coordinate `time` is in seconds from the first frame: the presentation times of the stream, or what
    the DICOM header says of the frames where the stream has none (attribute `time_source`); it is absent if
    neither does. Colour is converted as the stream is tagged, without tags by BT.601 as PS3.3 C.7.6.3.1.2 has
    YBR_PARTIAL_420; 10 bits become 8. The attribute `reason` says what is missing or odd.

    Raises
    ------
    DecodeError
        If the file has no video that can be read; when computed, if a frame of it cannot be decoded.
    CodecMissingError
        If PyAV is not installed.
    """
    video = Video.open(path)
    ds = _header(video.stream)
    times, source, remark = _times(video.index, ds)
    name = digest_of_texts((video.stream.path, str(video.stream.size), str(video.stream.mtime_ns)))[:32]
    lazy = da.from_array(  # type: ignore[no-untyped-call]  # dask leaves it untyped
        video,
        chunks=(_chunks(video), *video.shape[1:]),
        name=f"video-{name}",
        meta=np.empty((0,) * 4, np.uint8),
    )
    coordinates: dict[str, Any] = {"channel": ["red", "green", "blue"]}
    if times is not None:
        coordinates["time"] = ("time", times, {"units": "s"})
    attributes = _attributes(video, ds) | {"time_source": source}
    reasons = [video.index.reason, *_contradictions(video, ds), remark]
    attributes["reason"] = "; ".join(reason for reason in reasons if reason)
    array = xr.DataArray(
        lazy,
        dims=("time", "y", "x", "channel"),
        coords=coordinates,
        attrs={key: value for key, value in attributes.items() if value},
        name="video",
    )
    array.set_close(video.close)
    return array


# --- what stands beside the frames -----------------------------------------------------------------------


def _header(stream: Bitstream) -> Dataset:
    if stream.transfer_syntax_uid is None:
        return Dataset()
    try:
        return read_dataset(stream.path)
    except HeaderError as error:
        raise DecodeError(f"{stream.path} {error}") from None


def _times(index: FrameIndex, ds: Dataset) -> tuple[npt.NDArray[np.float64] | None, str, str]:
    """Seconds, where they come from, and why there are none."""
    if index.has_times:
        return index.times_s, "presentation times of the stream", ""
    of_header = frame_times_s(ds, len(index.packets))
    if of_header.values is not None:
        return np.array(of_header.values), of_header.source, of_header.reason
    if index.rate:
        return np.arange(len(index.packets)) / index.rate, "frame rate of the stream", ""
    return None, "", of_header.reason


def _attributes(video: "Video", ds: Dataset) -> dict[str, Any]:
    uids = ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
    return {
        "modality": str(ds.get("Modality") or ""),
        "kind": "video",
        "codec": video.index.codec,
        "transfer_syntax_uid": video.stream.transfer_syntax_uid,
        "sop_instance_uid": str(ds.get(uids[0]) or ""),
        "series_instance_uid": str(ds.get(uids[1]) or ""),
        "study_instance_uid": str(ds.get(uids[2]) or ""),
    }


def _contradictions(video: "Video", ds: Dataset) -> Iterator[str]:
    transfer_syntax = video.stream.transfer_syntax_uid
    if transfer_syntax is None:
        return
    if VIDEO_CODECS[transfer_syntax] != video.index.codec:
        yield f"the transfer syntax is for {VIDEO_CODECS[transfer_syntax]}, the stream is {video.index.codec}"
    if transfer_syntax in _STEREO:
        yield "of the two views of the stereo stream the base view is decoded"
    promised, there = ds.get("NumberOfFrames"), len(video.index.packets)
    if promised is not None and int(promised) != there:
        yield f"Number of Frames (0028,0008) promises {int(promised)}, the stream has {there}"
    size = (ds.get("Rows"), ds.get("Columns"))
    if size != video.shape[1:3]:
        rows, columns = video.shape[1:3]
        yield f"the header says {size[0]} rows and {size[1]} columns, the stream {rows} and {columns}"


def _chunks(video: "Video") -> tuple[int, ...]:
    """Frames of each chunk: whole groups of pictures as far as they fit."""
    most = max(1, CHUNK_BYTES // math.prod(video.shape[1:]))
    ends = [*video.index.firsts[1:].tolist(), video.shape[0]]
    chunks: list[int] = []
    start = 0
    for end, following in zip(ends, [*ends[1:], math.inf], strict=True):
        if following - start <= most:
            continue
        count = math.ceil((end - start) / most)
        marks = [start + (end - start) * part // count for part in range(count + 1)]
        chunks.extend(later - earlier for earlier, later in pairwise(marks))
        start = end
    return tuple(chunks)


# --- decoding --------------------------------------------------------------------------------------------


class Video:
    """The frames of one video, decoded when they are read; for threads to share and workers to receive."""

    def __init__(self, stream: Bitstream, index: FrameIndex, allowance: Allowance = ALLOWANCE) -> None:
        self.stream, self.index, self.allowance = stream, index, allowance
        self.shape = (len(index.packets), index.rows, index.columns, 3)
        self.dtype, self.ndim = np.dtype(np.uint8), 4
        weakref.finalize(self, VIDEO_DECODERS.end, stream).atexit = False

    @classmethod
    def open(cls, path: str | os.PathLike[str], allowance: Allowance = ALLOWANCE) -> Self:
        """Find the video of a file and index it; raises as `open_video` does."""
        stream = Bitstream.of(path)
        with in_words(stream.path), VIDEO_DECODERS.decoder(stream, allowance) as decoder:
            return cls(stream, decoder.index(), allowance)

    def read(self, start: int, stop: int) -> Pixels:
        """Decode frames; shape (stop - start, rows, columns, 3), red, green and blue.

        Raises
        ------
        DecodeError
            If one of them cannot be decoded, or the file changed.
        """
        frames = np.empty((max(stop - start, 0), *self.shape[1:]), np.uint8)
        if len(frames):
            self.stream.check()
            with in_words(self.stream.path):
                with VIDEO_DECODERS.decoder(self.stream, self.allowance, start) as decoder:
                    fault = decoder.read(self.index, start, frames)
                if fault:
                    raise fault
        return frames

    def close(self) -> None:
        """End the decoders that wait for more to do; a frame that is read later starts one again."""
        VIDEO_DECODERS.end(self.stream)

    def __getitem__(self, key: Any) -> Any:
        """Decode what NumPy would give for a key."""
        first, *rest = key if isinstance(key, tuple) else (key,)
        numbers = np.arange(self.shape[0])[first]
        wanted = np.atleast_1d(numbers)
        if wanted.size == 0:
            return np.empty((0, *self.shape[1:]), np.uint8)[(slice(None), *rest)]
        start = int(wanted.min())
        frames = self.read(start, int(wanted.max()) + 1)
        if np.ndim(numbers) == 0:
            return frames[(0, *rest)]
        if isinstance(first, slice) and first.step in (None, 1):
            return frames[(slice(None), *rest)]
        return frames[wanted - start][(slice(None), *rest)]

    def __getstate__(self) -> tuple[Bitstream, FrameIndex, Allowance]:
        return self.stream, self.index, self.allowance

    def __setstate__(self, state: tuple[Bitstream, FrameIndex, Allowance]) -> None:
        self.__init__(*state)  # type: ignore[misc]  # what pickle leaves out is made anew
