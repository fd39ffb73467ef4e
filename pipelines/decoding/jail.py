"""Decoders of frames run in child processes, where a crash or a runaway ends a child and nothing else.

Frames go to a child (`pipelines.decoding.child`) and come back through memory that both share. Children are
started when there is work for them, at most one for each core, serve all threads of a process,
and end with it.
"""

import math
import mmap
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from catalog.errors import CodecMissingError, DecodeError
from pipelines.decoding.child import Child, ChildLostError, Children, fault_in, no_answer
from pipelines.decoding.codecs import Call, Limits
from pipelines.decoding.pixels import Stored

CALLS_AT_ONCE = 64
"""How many calls are made with one request, which fits into a pipe."""
LIBRARIES = ("numpy", "imagecodecs")
"""What a child can import besides the standard library."""

_ALIGNMENT = 64
_NUMBERS = frozenset({"|u1", "|i1", "<u2", "<i2", "<u4", "<i4", "<f4", "<f8"})


type Take = Callable[[int, Stored | DecodeError], None]
"""Given the number of a call and its array, which is another one's when it returns, or why there is none."""


@dataclass(frozen=True, slots=True)
class _Decoder:
    """A child that makes calls."""

    child: Child

    @classmethod
    def started(cls) -> "_Decoder":
        return cls(Child(LIBRARIES))

    @staticmethod
    def last_used(idle: "Sequence[_Decoder]") -> "_Decoder | None":
        """As it is warm."""
        return idle[-1] if idle else None


class Jail:
    """Children to run decoders in; for all threads of a process."""

    def __init__(self, size: int) -> None:
        self._children: Children[_Decoder] = Children(size)

    def run(self, calls: Sequence[Call], limits: Limits, take: Take) -> None:
        """Make calls in one child, one after another, and give what came of each to `take`.

        A reason that is a `CodecMissingError` says that the library or the function is not installed, one
        that is a `ChildLostError` that the child died or exceeded a limit. Raises `DecodeError` where no
        child can be started.
        """
        for start in range(0, len(calls), CALLS_AT_ONCE):
            numbers = range(start, min(start + CALLS_AT_ONCE, len(calls)))
            try:
                self._run(calls, numbers, limits, take)
            except ChildLostError as error:
                if len(numbers) == 1:
                    take(start, error)
                    continue
                for number in numbers:  # it was the fault of one of them
                    try:
                        self._run(calls, (number,), limits, take)
                    except ChildLostError as fault:
                        take(number, fault)

    def _run(self, calls: Sequence[Call], numbers: Sequence[int], limits: Limits, take: Take) -> None:
        with self._children.borrowed(_Decoder.started, _Decoder.last_used) as decoder:
            results = _results(decoder.child, [calls[number] for number in numbers], limits)
            for number, result in zip(numbers, results, strict=True):
                take(number, result)
            decoder.child.release()

    def close(self) -> None:
        """End all children."""
        self._children.close()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


JAIL = Jail(_cores())
"""That of this process; no child is started before the first call."""


# --- calls of one child ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in the shared memory a frame is and its array will be."""

    start: int
    at: int


def _results(child: Child, calls: Sequence[Call], limits: Limits) -> list[Stored | DecodeError]:
    """Make calls; arrays are those in the shared memory, until `release`; raises `ChildLostError`."""
    places, size = _places(calls)
    memory = child.room(size)
    for call, place in zip(calls, places, strict=True):
        memory[place.start : place.start + len(call.encoded)] = call.encoded
    request = {"calls": [_wire(call, place) for call, place in zip(calls, places, strict=True)]}
    answers = child.ask(request, limits, len(calls))
    if not isinstance(answers, list) or len(answers) != len(calls):
        raise no_answer()
    return [
        _result(answer, memory, call, place, limits)
        for answer, call, place in zip(answers, calls, places, strict=True)
    ]


def _places(calls: Sequence[Call]) -> tuple[list[_Place], int]:
    """Places of frames and arrays, and the size of the memory that holds them."""
    places, end = [], 0
    for call in calls:
        at = _aligned(end + len(call.encoded))
        places.append(_Place(end, at))
        end = _aligned(at + call.most_bytes)
    return places, max(end, _ALIGNMENT)


def _aligned(position: int) -> int:
    return -(-position // _ALIGNMENT) * _ALIGNMENT


def _wire(call: Call, place: _Place) -> dict[str, Any]:
    return {
        "function": call.function,
        "options": dict(call.options),
        "fills": call.fills,
        "most": call.most_bytes,
        "start": place.start,
        "length": len(call.encoded),
        "at": place.at,
    }


def _result(
    answer: Any, memory: mmap.mmap, call: Call, place: _Place, limits: Limits
) -> Stored | DecodeError:
    """The array of an answer, checked as input from outside is."""
    if fault := fault_in(answer, limits):
        return fault
    match answer:
        case {"missing": _}:
            library = call.function.partition(":")[0]
            return CodecMissingError(f"needs {library} with {call.function}: pip install --upgrade {library}")
        case {"shape": list(shape), "dtype": str(dtype)} if dtype in _NUMBERS:
            if len(shape) <= 4 and all(isinstance(each, int) and each >= 0 for each in shape):
                count = math.prod(shape)
                if count * np.dtype(dtype).itemsize <= call.most_bytes:
                    return np.frombuffer(memory, dtype, count, place.at).reshape(shape)
    return DecodeError("the decoder gave something else than a frame of numbers")
