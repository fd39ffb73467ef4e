"""What a deflated data set inflates to is read like a file, from anywhere, in little memory."""

import io
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from catalog.errors import DecodeError
from pipelines.decoding import inflated
from pipelines.decoding.inflated import Inflated

ROOT = Path(__file__).resolve().parents[2]
PLAIN = np.random.default_rng(0).integers(0, 64, 300_000).astype(np.uint8).tobytes()


class File:
    def __init__(self, content: bytes) -> None:
        self._file = io.BytesIO(content)

    def read(self, offset: int, count: int) -> bytes:
        return self._file.getvalue()[offset : offset + count]


def deflated(plain: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return stream.compress(plain) + stream.flush()


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("STEP", 10_000), ("_PASSED", 3_000), ("_PACKED", 1_000)):
        monkeypatch.setattr(inflated, name, value)


@pytest.mark.usefixtures("small_steps")
def test_bytes_are_read_from_anywhere_by_many_threads() -> None:
    opened = Inflated(File(b"before" + deflated(PLAIN)), 6, len(PLAIN))
    assert opened.size == len(PLAIN)
    starts = np.random.default_rng(1).integers(0, len(PLAIN) + 10, 300).tolist()

    def is_right(start: int) -> bool:
        count = start * 7 % 20_000
        return opened.read(start, count) == PLAIN[start : start + count]

    with ThreadPoolExecutor(4) as executor:
        assert all(executor.map(is_right, [*starts, *range(0, len(PLAIN), 20_000)]))


@pytest.mark.usefixtures("small_steps")
def test_no_more_is_inflated_than_is_wanted_and_a_cut_stream_ends_early() -> None:
    assert Inflated(File(deflated(PLAIN)), 0, 70_000).size == 70_000
    cut = Inflated(File(deflated(PLAIN)[:100_000]), 0, len(PLAIN))
    assert 0 < cut.size < len(PLAIN)
    assert cut.read(0, len(PLAIN)) == PLAIN[: cut.size]


def test_what_is_not_deflated_says_so() -> None:
    with pytest.raises(DecodeError, match="cannot be inflated"):
        Inflated(File(b"\xff" * 100), 0, 100)


CODE = """
import os, re, sys
from pathlib import Path
from pipelines.decoding.inflated import Inflated
class File:
    descriptor = os.open(sys.argv[1], os.O_RDONLY)
    def read(self, offset, count):
        return os.pread(self.descriptor, count, offset)
opened = Inflated(File(), 0, 1 << 40)
middle = opened.read(opened.size // 2, 1000)
print(opened.size, middle == bytes(1000),
      re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured where Linux tells of it")
def test_three_hundred_megabytes_of_nothing_are_passed_in_little_memory(tmp_path: Path) -> None:
    stream = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    parts = [stream.compress(bytes(1 << 20)) for _ in range(300)]
    (path := tmp_path / "bomb").write_bytes(b"".join((*parts, stream.flush())))
    done = subprocess.run(
        [sys.executable, "-c", CODE, path], capture_output=True, text=True, check=True, cwd=ROOT
    )
    size, is_right, peak_kb = done.stdout.split()
    assert (int(size), is_right) == (300 << 20, "True")
    assert int(peak_kb) < 80 << 10
