"""Milliseconds to take one random frame of a ten-minute H.264 video, by the distance of its key frames.

`python tests/benchmarks/video_speed.py [seconds]`; 1280 × 720 at 25 frames a second.
"""

import random
import resource
import statistics
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import av
import numpy as np

from pipelines.video.opening import open_video

LIMIT_MS = 100
ROWS, COLUMNS, RATE = 720, 1280, 25
GROUPS = (12, 25, 250)
REPEATS = 41


def write_video(path: Path, frames: int, group: int) -> None:
    """A spot that moves over a textured ground."""
    ground = np.random.default_rng(0).integers(60, 120, (ROWS // 8, COLUMNS // 8, 3), np.uint8)
    ground = ground.repeat(8, 0).repeat(8, 1)
    with av.open(str(path), "w", format="mp4") as output:
        stream = output.add_stream("libx264", rate=RATE, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = COLUMNS, ROWS, "yuv420p"
        stream.codec_context.gop_size = group
        for number in range(frames):
            frame = ground.copy()
            frame[100:160, number % (COLUMNS - 60) :][:, :60] = 250
            output.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        output.mux(stream.encode())


def median_ms(path: Path, repeats: int = REPEATS) -> tuple[float, float]:
    """Milliseconds to open, and the median of a frame in random order."""
    started = perf_counter()
    video = open_video(path)
    opened = (perf_counter() - started) * 1000
    numbers = random.Random(0).choices(range(video.sizes["time"]), k=repeats)
    times = []
    for number in numbers:
        started = perf_counter()
        video[number].to_numpy()
        times.append((perf_counter() - started) * 1000)
    return opened, statistics.median(times)


def main(seconds: int = 600) -> None:
    """Print the table."""
    sys.stdout.write(f"one random frame of {seconds} s of {COLUMNS} x {ROWS}, H.264 (limit {LIMIT_MS} ms)\n")
    for group in GROUPS:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "video.mp4"
            write_video(path, seconds * RATE, group)
            opened, frame = median_ms(path)
        sys.stdout.write(f"  a key frame each {group:>3}: open {opened:6.0f} ms, a frame {frame:6.1f} ms\n")
        sys.stdout.flush()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    sys.stdout.write(f"  peak memory, writing included: {peak} MiB\n")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
