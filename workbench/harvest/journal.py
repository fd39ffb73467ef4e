"""The journal of a harvest: a file of events, one a line, each durable before what comes after it is begun.

It is only ever added to. A crash leaves the beginning of a line at most, which is not read and goes with the
next one. It has accession numbers: only its owner may read it.
"""

import json
import os
from pathlib import Path

from catalog.durable import make_folder, sync
from workbench.harvest.state import Event

JOURNAL = "journal.jsonl"


class Journal:
    """The events of one harvest, in its folder; whoever adds to it holds the folder's lock."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / JOURNAL

    def events(self) -> list[Event]:
        """Every event; none where there is no such harvest."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in content[: content.rfind(b"\n") + 1].splitlines()]

    def add(self, event: Event) -> None:
        """Add an event; it is on the disk when this returns.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        make_folder(self.path.parent)
        is_new = not self.path.exists()
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            end = _whole(descriptor)
            os.ftruncate(descriptor, end)
            line = json.dumps(event, separators=(",", ":")).encode() + b"\n"
            while line:
                end += (written := os.pwrite(descriptor, line, end))
                line = line[written:]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if is_new:
            sync(self.path.parent)


def _whole(descriptor: int) -> int:
    """Bytes of the lines that end."""
    size = os.fstat(descriptor).st_size
    if not size or os.pread(descriptor, 1, size - 1) == b"\n":
        return size
    return os.pread(descriptor, size, 0).rfind(b"\n") + 1
