"""Opens, indexes and decodes one video, in a child process that `pipelines.video.decoders` starts.

It imports PyAV, numpy and what the index needs, and no pydicom, so that it starts fast. Numbers of an index
and frames go through the shared memory, from its first byte on.
"""

import mmap
import os
import resource
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from catalog.errors import CodecMissingError, DecodeError
from pipelines.decoding.cell import used_bytes
from pipelines.decoding.fragments import Reader
from pipelines.video.demux import Demuxer, Packets, in_words, index_of, number_of, packets_of, pyav
from pipelines.video.frame_index import FrameIndex

if TYPE_CHECKING:
    import av

PICTURE = 4
"""Bytes of a pixel, with what FFmpeg adds to a picture."""


class Projector:
    """Answers the requests about one open video."""

    def __init__(self, descriptor: str) -> None:
        """Take the number of a file that is open, and load PyAV before limits count."""
        with suppress(CodecMissingError):  # said when it is asked for
            pyav()
        self._descriptor = int(descriptor)
        self._fragments: list[tuple[int, int]] = []
        self._demuxer: Demuxer | None = None
        self._packets: Packets | None = None
        self._reel: Reel | None = None
        self._index: FrameIndex | None = None
        self._answers = {
            "open": self._open, "pass": self._pass, "index": self._make_index, "tell": self._tell,
            "take": self._take, "read": self._read,
        }  # fmt: skip

    def __call__(self, request: dict[str, Any], memory: mmap.mmap) -> dict[str, Any]:
        """Answer one request; raises `DecodeError` with what FFmpeg says."""
        try:
            with in_words():
                return self._answers[request["do"]](request, np.frombuffer(memory, np.uint8))
        except BaseException:
            is_full = self._is_full()
            self._close()
            if is_full:
                raise MemoryError from None
            raise

    def _is_full(self) -> bool:
        """Whether not one more picture fits into the memory: FFmpeg has many words for that."""
        if self._demuxer is None or (used := used_bytes()) is None:
            return False
        context = self._demuxer.stream.codec_context
        most, _ = resource.getrlimit(resource.RLIMIT_DATA)
        return most != resource.RLIM_INFINITY and used + context.width * context.height * PICTURE > most

    def _opened(self) -> Demuxer:
        if self._demuxer is None:
            self._demuxer = Demuxer(Reader(os.dup(self._descriptor), self._fragments))
        return self._demuxer

    def _close(self) -> None:
        if self._demuxer is not None:
            self._demuxer.close()
        self._demuxer = self._reel = None

    def _open(self, request: dict[str, Any], memory: npt.NDArray[np.uint8]) -> dict[str, Any]:
        """Take where the fragments of the stream are in the file."""
        numbers = memory[: 16 * request["fragments"]].view(np.int64)
        self._fragments = [(offset, length) for offset, length in numbers.reshape(-1, 2).tolist()]
        return {}

    def _pass(self, _: dict[str, Any], __: npt.NDArray[np.uint8]) -> dict[str, Any]:
        """Pass the packets; how many there are, and the size of a frame."""
        self._packets = packets_of(self._opened())
        context = self._opened().stream.codec_context
        return {"packets": len(self._packets.pts), "pixels": context.width * context.height}

    def _make_index(self, _: dict[str, Any], __: npt.NDArray[np.uint8]) -> dict[str, Any]:
        """Make the index of the packets that were passed; all but its numbers."""
        assert self._packets is not None
        self._index = index_of(self._opened(), self._packets)
        self._packets = None
        self._close()
        return self._index.described()

    def _tell(self, _: dict[str, Any], memory: npt.NDArray[np.uint8]) -> dict[str, Any]:
        """Write the numbers of the index."""
        assert self._index is not None
        flat = self._index.flat()
        memory[: flat.nbytes] = flat.view(np.uint8)
        return {}

    def _take(self, request: dict[str, Any], memory: npt.NDArray[np.uint8]) -> dict[str, Any]:
        """Take an index that was made before."""
        described = request["index"]
        flat = memory[: 8 * FrameIndex.flat_size(described)].view(np.int64)
        self._index = FrameIndex.of(described, flat)
        return {}

    def _read(self, request: dict[str, Any], memory: npt.NDArray[np.uint8]) -> dict[str, Any]:
        """Decode frames into the memory."""
        index = self._index
        assert index is not None
        shape = (request["count"], index.rows, index.columns, 3)
        frames = memory[: int(np.prod(shape))].reshape(shape)
        if self._reel is None:
            self._reel = Reel(self._opened(), index)
        self._reel.read(request["start"], frames)
        return {}


class Reel:
    """Decodes ranges of frames, going on from the range before where that is shorter."""

    def __init__(self, demuxer: Demuxer, index: FrameIndex) -> None:
        self._demuxer, self._index = demuxer, index
        self._shown_at = {int(packet): frame for frame, packet in enumerate(index.packets)}
        self._reformatter = pyav().video.reformatter.VideoReformatter()
        self._frames: Iterator[av.VideoFrame] = iter(())
        self._next, self._first_wanted = -1, 0

    def read(self, start: int, out: npt.NDArray[np.uint8]) -> None:
        """Fill `out` with the frames from one on; raises `DecodeError` where one cannot be decoded."""
        self._first_wanted = start
        if not self._index.is_ahead(start, self._next):
            group = self._index.group(start)
            key = int(self._index.keys[group])
            self._frames = self._demuxer.frames(self._index.places[group], key, is_skipped=self._is_skipped)
        for offset, pixels in enumerate(out):
            self._load(start + offset, pixels)
            self._next = start + offset + 1

    def _load(self, number: int, pixels: npt.NDArray[np.uint8]) -> None:
        first = self._index.firsts[self._index.group(number)]
        for frame in self._frames:
            shown = self._shown_at.get(number_of(frame), -1)
            if shown < min(first, number):
                continue
            if shown > number or frame.is_corrupt:  # a damaged frame damages those that depend on it
                break
            if shown < number:
                continue
            if (frame.height, frame.width) != pixels.shape[:2]:
                raise DecodeError(f"frame {number + 1} has {frame.height} x {frame.width} pixels")
            pixels[...] = self._reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray()
            return
        raise DecodeError(f"frame {number + 1} of {len(self._index.packets)} is damaged or depends on one")

    def _is_skipped(self, packet: int) -> bool:
        return self._shown_at.get(packet, -1) < self._first_wanted
