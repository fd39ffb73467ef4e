"""Decoders of videos: child processes, few at a time, each with one file open and nothing else.

FFmpeg meets the bytes of a video there (`pipelines.video.projector`): what crashes it or makes it run away
ends a child, and is the error of the frames that were asked for. The video can be read on; another
child does it.
"""

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt

from catalog.errors import CodecMissingError, DecodeError
from pipelines.decoding.child import Child, Children, fault_in, no_answer
from pipelines.decoding.codecs import Limits
from pipelines.video.bitstream import Bitstream
from pipelines.video.frame_index import LARGEST_FRAME_PIXELS, FrameIndex

DECODERS = 4
"""How many decoders a process has at a time, of all its videos together."""
TOGETHER_BYTES = 16 << 20
"""How many bytes of frames, one at least, come back together."""
LIBRARIES = ("numpy", "av", "catalog", "pipelines")
"""What a child can import besides the standard library."""

type Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Allowance:
    """What decoders may take, some times what the hungriest and the slowest streams took."""

    opening_bytes: int = 2 << 30
    """Memory, until the size of a frame is known."""
    bytes_a_second: int = 4 << 20
    """How fast packets are passed at least."""
    memory_bytes: int = 256 << 20
    """For a frame of no size."""
    memory_bytes_of_pixel: int = 96
    """For the frames that others depend on, 16 at most, with 6 bytes for a pixel."""
    cpu_seconds: float = 20.0
    """For nothing; a second is the least that a system limits."""
    cpu_seconds_of_pixel: float = 100e-9
    wall_seconds: float = 60.0
    wall_of_cpu: float = 4.0
    """How many times the processor time may pass, as the machine may be busy."""

    def of_stream(self, size: int) -> Limits:
        """Limits of passing the packets of a stream of so many bytes."""
        return self._limits(self.opening_bytes, size / self.bytes_a_second)

    def of_frames(self, pixels: int, frames: int) -> Limits:
        """Limits of decoding so many frames of so many pixels."""
        memory_bytes = self.memory_bytes + self.memory_bytes_of_pixel * pixels
        return self._limits(memory_bytes, self.cpu_seconds_of_pixel * pixels * frames)

    def _limits(self, memory_bytes: int, seconds: float) -> Limits:
        wall_seconds = self.wall_seconds + self.wall_of_cpu * seconds
        return Limits(memory_bytes, math.ceil(self.cpu_seconds + seconds), wall_seconds)


ALLOWANCE = Allowance()


class Decoder:
    """A child with one video open."""

    def __init__(self, stream: Bitstream, allowance: Allowance) -> None:
        """Start it; raises `DecodeError` if the file changed or no process can be started."""
        if find_spec("av") is None:
            raise CodecMissingError("videos need PyAV: pip install 'imaging-workbench[video]'")
        self.stream = stream
        self._allowance, self._is_open = allowance, False
        self._index: FrameIndex | None = None
        self._next = -1
        descriptor = stream.open()
        try:
            answerer = ("pipelines.video.projector:Projector", str(descriptor))
            self.child = Child(LIBRARIES, answerer, (descriptor,))
        finally:
            os.close(descriptor)

    def index(self) -> FrameIndex:
        """Make the index of the video; raises `DecodeError` if it has no frame that can be decoded."""
        self._open()
        limits = self._allowance.of_stream(sum(length for _, length in self.stream.fragments))
        passed = self._asked({"do": "pass"}, limits)
        match passed:
            case {"packets": int(packets), "pixels": int(pixels)} if 0 < pixels <= LARGEST_FRAME_PIXELS:
                limits = self._allowance.of_frames(pixels, packets)
            case _:
                raise no_answer()
        described = self._asked({"do": "index"}, limits)
        try:
            size = FrameIndex.flat_size(described)
            memory = self.child.room(8 * size)
            self._asked({"do": "tell"}, limits)
            self._index = FrameIndex.of(described, np.frombuffer(memory, np.int64, size))
        except DecodeError:
            raise
        except ValueError:
            raise no_answer() from None
        return self._index

    def reaches(self, frame: int) -> bool:
        """Whether a frame is ahead, with no key frame between that would be nearer."""
        return self._index is not None and self._index.is_ahead(frame, self._next)

    def read(self, index: FrameIndex, start: int, out: Pixels) -> DecodeError | None:
        """Fill `out` with the frames from one on; why that cannot be done; raises `ChildLostError`."""
        if self._index is None:
            self._give(index)
        together = max(1, TOGETHER_BYTES // out[0].nbytes)
        for at in range(0, len(out), together):
            if fault := self._read(index, start + at, out[at : at + together]):
                self._next = -1
                return fault
            self._next = start + at + len(out[at : at + together])
        return None

    def _read(self, index: FrameIndex, start: int, out: Pixels) -> DecodeError | None:
        before = self._next if self.reaches(start) else int(index.firsts[index.group(start)])
        limits = self._allowance.of_frames(index.rows * index.columns, start + len(out) - before)
        memory = self.child.room(out.nbytes)
        answer = self.child.ask({"do": "read", "start": start, "count": len(out)}, limits)
        if fault := fault_in(answer, limits):
            return fault
        if answer != {}:
            raise no_answer()
        out[...] = np.frombuffer(memory, np.uint8, out.nbytes).reshape(out.shape)
        self.child.release()
        return None

    def _give(self, index: FrameIndex) -> None:
        self._open()
        flat = index.flat()
        self.child.room(flat.nbytes)[: flat.nbytes] = flat.tobytes()
        self._asked({"do": "take", "index": index.described()}, self._allowance.of_stream(0))
        self._index = index

    def _open(self) -> None:
        numbers = np.array(self.stream.fragments, np.int64).tobytes()
        self.child.room(len(numbers))[: len(numbers)] = numbers
        self._asked({"do": "open", "fragments": len(self.stream.fragments)}, self._allowance.of_stream(0))

    def _asked(self, request: dict[str, Any], limits: Limits) -> Any:
        answer = self.child.ask(request, limits)
        if fault := fault_in(answer, limits):
            raise fault
        return answer


class Decoders:
    """The decoders of a process; the ones of a video go on from where they are."""

    def __init__(self, size: int) -> None:
        self._children: Children[Decoder] = Children(size)

    @contextmanager
    def decoder(self, stream: Bitstream, allowance: Allowance, start: int = 0) -> Iterator[Decoder]:
        """Borrow one of a stream, where possible one that is on its way to a frame."""

        def nearest(idle: Sequence[Decoder]) -> Decoder | None:
            own = [each for each in idle if each.stream is stream]
            return next((each for each in own if each.reaches(start)), own[-1] if own else None)

        with self._children.borrowed(lambda: Decoder(stream, allowance), nearest) as decoder:
            yield decoder

    def end(self, stream: Bitstream) -> None:
        """End those of a stream that nobody reads."""
        self._children.end_idle(lambda each: each.stream is stream)

    def close(self) -> None:
        """End all of them."""
        self._children.close()


VIDEO_DECODERS = Decoders(DECODERS)
"""Those of this process; no child is started before the first video is opened."""
