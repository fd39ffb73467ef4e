"""The journal of a harvest: a file of events, one a line, each durable before what comes after it is begun.

It is only ever added to. A crash leaves the beginning of a line at most, which is not read and goes with the
next one. It has accession numbers: only its owner may read it.
"""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from catalog.durable import make_folder, sync
from catalog.errors import JournalError, words_of
from workbench.harvest.state import Event, State, state_of

JOURNAL = "journal.jsonl"


class Journal:
    """The events of one harvest, in its folder; whoever adds to it holds the folder's lock."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / JOURNAL

    def events(self) -> list[Event]:
        """Every event; none where there is no such harvest.

        Raises
        ------
        catalog.errors.JournalError
            If it cannot be read, or has a line that is none of its own.
        """
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise JournalError(f"{self.path} cannot be read: {words_of(error)}") from None
        events: list[Event] = []
        try:
            events.extend(json.loads(line) for line in content[: content.rfind(b"\n") + 1].splitlines())
        except ValueError:
            raise self._is_odd(len(events) + 1) from None
        return events

    def state(self) -> State:
        """How far the harvest is; without a plan where there is none; raises as `events`."""
        number = 0

        def counted() -> Iterator[Event]:
            nonlocal number
            for number, event in enumerate(self.events(), start=1):  # noqa: B007 - it is told below
                if not isinstance(event, Mapping):
                    raise TypeError
                yield event

        try:
            return state_of(counted())
        except (ValueError, LookupError, TypeError, AttributeError):
            raise self._is_odd(number) from None

    def _is_odd(self, number: int) -> JournalError:
        return JournalError(
            f"line {number:,} of {self.path} is not what a harvest writes; put back a copy of the file, or "
            "move it away and give the harvest its table or question again: what came is not fetched twice"
        )

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
