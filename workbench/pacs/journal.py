"""What a receiver tells of its work: lines of JSON and counts for Prometheus, never anything of a patient."""

import json
from collections import Counter
from datetime import UTC, datetime
from threading import Lock
from typing import TextIO

PREFIX = "workbench_receive_"


class Journal:
    """Lines for a log, and counts; for any number of threads.

    Parameters
    ----------
    stream
        Where lines go; `None` keeps quiet.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._counts: Counter[tuple[str, str]] = Counter()
        self._lock = Lock()

    def say(self, event: str, **details: str | float) -> None:
        """Write one line: moment, event, and names of nodes, counts or seconds."""
        if self._stream is None:
            return
        line = json.dumps(
            {"at": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **details}
        )
        with self._lock:
            self._stream.write(line + "\n")
            self._stream.flush()

    def count(self, name: str, outcome: str = "") -> None:
        """Count one."""
        with self._lock:
            self._counts[name, outcome] += 1

    def metrics(self) -> str:
        """The counts as Prometheus reads them."""
        with self._lock:
            counts = sorted(self._counts.items())
        lines: list[str] = []
        for (name, outcome), count in counts:
            full = f"{PREFIX}{name}_total"
            if f"# TYPE {full} counter" not in lines:
                lines.append(f"# TYPE {full} counter")
            lines.append(f'{full}{{outcome="{outcome}"}} {count}' if outcome else f"{full} {count}")
        return "\n".join(lines) + "\n"
