"""FFmpeg's demuxer by PyAV, and the index of a video made from its packets alone.

The packets are passed once to learn where groups of pictures begin and in which order frames are shown; then
a frame is decoded from the key frame of its group on. All of it runs in a child process
(`pipelines.video.projector`), so that it imports little.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from catalog.errors import CodecMissingError, DecodeError
from pipelines.decoding.fragments import Reader
from pipelines.video.frame_index import FRAME_LIMIT, LARGEST_FRAME_PIXELS, FrameIndex, Place

if TYPE_CHECKING:
    import av

_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,mpeg,mpegts,mpegvideo,h264,hevc"
"""FFmpeg's demuxers that read the file they are given and nothing else."""
_ELEMENTARY = frozenset({"mpegvideo", "h264", "hevc"})
"""Streams without a container, and so without times of their own."""
_CODECS = frozenset({"mpeg1video", "mpeg2video", "mpeg4", "h264", "hevc"})
_REORDERED = 64
"""How many packets a frame may be decoded before or after its turn; H.264 and HEVC allow 16."""
_BUFFER_BYTES = 256 << 10


# --- the demuxer -----------------------------------------------------------------------------------------


class Demuxer:
    """An open demuxer with its decoder; for one thread at a time."""

    def __init__(self, reader: Reader) -> None:
        """Open a stream; it is closed with the demuxer."""
        self.container: av.container.InputContainer
        self._reader = reader
        try:
            with in_words():
                self.container = pyav().open(
                    self._reader,
                    "r",
                    container_options={"format_whitelist": _FORMATS},
                    buffer_size=_BUFFER_BYTES,
                )
                self.stream = self._video()
        except BaseException:
            self._reader.close()
            raise
        self.is_elementary = self.container.format.name in _ELEMENTARY
        self.seeks_bytes = "mp4" not in self.container.format.name

    def _video(self) -> "av.VideoStream":
        for stream in self.container.streams.video:
            context = stream.codec_context
            if context is None or context.name not in _CODECS:
                continue
            if not 0 < context.width * context.height <= LARGEST_FRAME_PIXELS:
                raise DecodeError(f"frames of {context.height} x {context.width} pixels")
            context.thread_count = 1  # Dask has threads, and FFmpeg's within a frame hide that it is damaged
            context.options = {"max_pixels": str(LARGEST_FRAME_PIXELS)}
            return stream
        raise DecodeError("has no stream of MPEG-2, H.264 or HEVC")

    def packets(self) -> Iterator["av.Packet[av.VideoStream]"]:
        """Packets from where the demuxer stands."""
        return (packet for packet in self.container.demux(self.stream) if packet.size)  # the last has none

    def frames(
        self, place: Place, key: int, *, is_skipped: Callable[[int], bool] = lambda _: False
    ) -> Iterator["av.VideoFrame"]:
        """Decode from a key frame on, in order of presentation; `pts` becomes the number of the packet.

        Frames that are skipped do not come, unless others depend on them. After a damaged packet it goes on
        with the next key frame.
        """
        context = self.stream.codec_context
        is_lost = False
        for number, packet in self._numbered(place):
            is_lost = is_lost and not packet.is_keyframe
            if number < key or is_lost:
                continue
            packet.pts, packet.dts = number, None
            context.skip_frame = "NONREF" if is_skipped(number) else "DEFAULT"
            frames = None if packet.is_corrupt else self._decoded(packet)
            if frames is None:
                yield from self._decoded(None) or ()
                context.flush_buffers()
                is_lost = True
            else:
                yield from frames
        yield from self._decoded(None) or ()

    def _numbered(self, place: Place) -> Iterator[tuple[int, "av.Packet[av.VideoStream]"]]:
        """Packets from a place on with their numbers."""
        self.container.seek(place.seek, stream=self.stream, unsupported_byte_offset=self.seeks_bytes)
        number: int | None = None
        for packet in self.packets():
            if number is not None or place.offset in (None, packet.pos):
                number = place.packet if number is None else number + 1
                yield number, packet
        if number is None:
            raise DecodeError("a key frame is not found again")

    def _decoded(self, packet: "av.Packet[av.VideoStream] | None") -> "list[av.VideoFrame] | None":
        """Frames that a packet, or the end, brings forth; `None` if it cannot be decoded."""
        try:
            return self.stream.codec_context.decode(packet)
        except pyav().MemoryError:
            raise MemoryError from None
        except pyav().FFmpegError:
            return None

    def close(self) -> None:
        """Close the stream and its file."""
        self.container.close()
        self._reader.close()


# --- from packets to the index ---------------------------------------------------------------------------


@dataclass(slots=True)
class Packets:
    """What demuxing tells of the packets of a stream, one entry each."""

    offsets: list[int | None]
    pts: list[int | None]
    is_key: list[bool]
    is_discarded: list[bool]
    """Needed for decoding, never shown (edit lists of MP4)."""
    is_damaged: list[bool]
    """Cut, or with a part missing."""
    fault: str = ""
    """Why the video ends early."""


def index_of(demuxer: Demuxer, packets: Packets) -> FrameIndex:
    """Tell where the frames of a video are, from its packets and by decoding where these do not tell.

    Raises
    ------
    DecodeError
        If no frame of it can be decoded.
    """
    keys = [number for number, is_key in enumerate(packets.is_key) if is_key]
    if not keys:
        raise DecodeError(packets.fault or "no key frame to start from")
    places = {key: _place(demuxer, packets, key) for key in keys}
    order, has_pts = _order(demuxer, packets, places[keys[0]])
    order = _without_leading(demuxer, order, keys[0], places[keys[0]])
    order = _without_damaged(packets, order)
    shown_at = {packet: frame for frame, packet in enumerate(order)}
    firsts, last = {keys[0]: 0}, 0
    for key in keys[1:]:
        if shown_at.get(key, -1) > last:
            firsts[key] = last = shown_at[key]
    ticks = np.array([packets.pts[number] or 0 for number in order], np.float64)
    has_times = has_pts and not demuxer.is_elementary
    context = demuxer.stream.codec_context
    return FrameIndex(
        codec=context.name,
        rows=context.height,
        columns=context.width,
        packets=np.array(order, np.int64),
        firsts=np.array(list(firsts.values()), np.int64),
        keys=np.array(list(firsts), np.int64),
        places=tuple(places[key] for key in firsts),
        times_s=(ticks - ticks[0]) * float(demuxer.stream.time_base or 1) if has_times else ticks[:0],
        rate=float(context.framerate) if context.framerate else None,
        reason=_reason(packets, order),
    )


def packets_of(demuxer: Demuxer) -> Packets:
    """Pass all packets once; at a fault the video ends; raises `DecodeError` if there are too many."""
    found = Packets([], [], [], [], [])
    try:
        for packet in demuxer.packets():
            if len(found.pts) == FRAME_LIMIT:
                raise DecodeError(f"more than {FRAME_LIMIT:,} frames")
            found.offsets.append(packet.pos)
            found.pts.append(packet.pts)
            found.is_key.append(packet.is_keyframe)
            found.is_discarded.append(packet.is_discard)
            found.is_damaged.append(packet.is_corrupt)
    except pyav().MemoryError:
        raise MemoryError from None
    except pyav().FFmpegError as error:
        found.fault = f"the stream is damaged after {len(found.pts)} frames: {words(error)}"
    return found


def _place(demuxer: Demuxer, packets: Packets, key: int) -> Place:
    """The last packets up to a key frame whose offsets are known: one to seek to, one to count from.

    They are two, as what the demuxer gives first after a seek may be the rest of an earlier frame.
    """
    if not demuxer.seeks_bytes:
        return Place(packets.pts[key] or 0, key, packets.offsets[key])
    known = (number for number in range(key, -1, -1) if packets.offsets[number] is not None)
    counted, sought = next(known, None), next(known, None)
    if counted is None or sought is None:
        return Place(0, 0, None)
    return Place(packets.offsets[sought] or 0, counted, packets.offsets[counted])


def _order(demuxer: Demuxer, packets: Packets, place: Place) -> tuple[list[int], bool]:
    """Numbers of the packets in order of presentation, and whether they have times that say so.

    Streams of H.264 and HEVC without a container have none, joined recordings begin anew: there only decoding
    tells the order.
    """
    shown = [number for number, discarded in enumerate(packets.is_discarded) if not discarded]
    times = {packets.pts[number] for number in shown}
    if None not in times and len(times) == len(shown):
        order = sorted(shown, key=lambda number: packets.pts[number] or 0)
        if all(abs(a - b) <= _REORDERED for a, b in zip(shown, order, strict=True)):
            return order, True
    return [number_of(frame) for frame in demuxer.frames(place, 0)], False


def _without_leading(demuxer: Demuxer, order: list[int], key: int, place: Place) -> list[int]:
    """Leave out frames before the first key frame that cannot be decoded without what came before them.

    Decodes up to that key frame, so that a stream that cannot be decoded at all is refused here.
    """
    if key not in order:  # hidden by an edit list of MP4
        return order
    came = set()
    for frame in demuxer.frames(place, key):
        if number_of(frame) == key:
            at = order.index(key)
            return [number for number in order[:at] if number in came] + order[at:]
        came.add(number_of(frame))
    raise DecodeError("the first key frame cannot be decoded")


def _reason(packets: Packets, order: list[int]) -> str:
    """Why there are fewer frames than packets, or the stream ends early."""
    left_out = packets.is_discarded.count(False) - len(order)
    reasons = (
        [f"{left_out} frames are left out: what they need is missing, cut or damaged"] if left_out else []
    )
    return "; ".join([*reasons, *([packets.fault] if packets.fault else [])])


def _without_damaged(packets: Packets, order: list[int]) -> list[int]:
    """Leave out the frames of damaged packets and what may depend on them, up to the next key frame."""
    shown_at = {packet: frame for frame, packet in enumerate(order)}
    out: set[int] = set()
    is_lost = False
    for number, (is_damaged, is_key) in enumerate(zip(packets.is_damaged, packets.is_key, strict=True)):
        if is_damaged or (is_lost and not is_key):
            out.add(number)
            is_lost = True
        elif is_lost:
            first, following = shown_at.get(number, 0), range(number + 1, number + _REORDERED)
            out.update(each for each in following if shown_at.get(each, first) < first)
            is_lost = False
    return [number for number in order if number not in out]


# --- PyAV ------------------------------------------------------------------------------------------------


def number_of(frame: "av.VideoFrame") -> int:
    """Return the number of the packet that a frame of `Demuxer.frames` comes from."""
    return -1 if frame.pts is None else frame.pts


def pyav() -> Any:
    """Import PyAV; raises `CodecMissingError` where it is not installed."""
    try:
        import av
    except ImportError:
        raise CodecMissingError("videos need PyAV: pip install 'imaging-workbench[video]'") from None
    return av


@contextmanager
def in_words(path: str = "") -> Iterator[None]:
    """Turn what FFmpeg says of a stream into a `DecodeError` that names the file."""
    try:
        yield
    except DecodeError as error:
        if not path or path in str(error) or isinstance(error, CodecMissingError):
            raise
        raise DecodeError(f"{path}: {error}") from None
    except MemoryError:
        raise
    except Exception as error:  # whatever FFmpeg stumbles over in hostile bytes is a fault of the stream
        raise DecodeError(f"{path}: the video cannot be decoded: {words(error)}".lstrip(": ")) from None


def words(error: Exception) -> str:
    """What FFmpeg or the system says, without the arguments of the call."""
    return (getattr(error, "strerror", None) or type(error).__name__).lower()
