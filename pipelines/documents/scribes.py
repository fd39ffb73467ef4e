"""The child processes in which PDF and CDA are read, where a hostile one ends a child and nothing else."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from catalog.errors import DecodeError
from pipelines.decoding.child import Child, Children, fault_in, no_answer
from pipelines.decoding.codecs import Limits

LIBRARIES = ("pypdf", "defusedxml", "catalog", "pipelines")
"""What a child can import besides the standard library."""
LIMITS = Limits(memory_bytes=512 << 20, cpu_seconds=60, wall_seconds=300.0)
"""Of one document."""
TEXT_BYTES = 4_000_000
"""Room for a text: four bytes a character at most."""


@dataclass(frozen=True, slots=True)
class Transcript:
    """The text of a document, and what has to be said of it."""

    text: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Inmate:
    child: Child

    @classmethod
    def started(cls) -> "_Inmate":
        return cls(Child(LIBRARIES, ("pipelines.documents.scribe:Scribe",)))

    @staticmethod
    def last_used(idle: "Sequence[_Inmate]") -> "_Inmate | None":
        return idle[-1] if idle else None


class Scribes:
    """Children that read documents; for all threads of a process."""

    def __init__(self, size: int) -> None:
        self._children: Children[_Inmate] = Children(size)

    def transcript(self, kind: str, encoded: bytes, limits: Limits = LIMITS) -> Transcript:
        """Return the text of a `PDF` or of `CDA`.

        Raises
        ------
        DecodeError
            If it cannot be read within the limits; says why, without a word of the document.
        """
        with self._children.borrowed(_Inmate.started, _Inmate.last_used) as inmate:
            memory = inmate.child.room(max(len(encoded), TEXT_BYTES))
            memory[: len(encoded)] = encoded
            answer = inmate.child.ask({"kind": kind, "length": len(encoded)}, limits)
            if fault := fault_in(answer, limits):
                raise fault
            match answer:
                case {"failed": str(error)}:
                    raise DecodeError(f"cannot be read as {kind} ({error})")
                case {"length": int(length), "reason": str(reason)} if 0 <= length <= TEXT_BYTES:
                    text = memory[:length].decode("utf-8", "replace")
                case _:
                    raise no_answer()
            inmate.child.release()
        return Transcript(text, reason)

    def close(self) -> None:
        """End all children."""
        self._children.close()


SCRIBES = Scribes(os.cpu_count() or 1)
"""Those of this process; no child is started before the first document."""
