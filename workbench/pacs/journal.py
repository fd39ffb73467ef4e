"""What a receiver tells of its work: lines of JSON, and counts; never anything of a patient."""

import json
import os
from contextlib import suppress
from datetime import UTC, datetime
from threading import Lock
from typing import TextIO

from workbench.pacs.tallies import Tally


class Journal:
    """Lines for a log, and counts; for any number of threads.

    Parameters
    ----------
    stream
        Where lines go; `None` keeps quiet. Several processes may write to one: a line goes out whole.
    tally
        Where counts go.
    """

    def __init__(self, stream: TextIO | None, tally: Tally | None = None) -> None:
        self._stream = stream
        self.tally = tally or Tally()
        self._lock = Lock()

    def say(self, event: str, **details: str | float) -> None:
        """Write one line: moment, process, event, and names of nodes, counts or seconds.

        A log that takes no more, as on a full disk, ends no work; lines are missing then.
        """
        if self._stream is None:
            return
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"at": at, "process": os.getpid(), "event": event, **details})
        with self._lock, suppress(OSError):
            self._stream.write(line + "\n")
            self._stream.flush()

    def count(self, name: str, outcome: str = "") -> None:
        """Count one, by its name in `tallies.COUNTERS`."""
        self.tally.count(name, outcome)
