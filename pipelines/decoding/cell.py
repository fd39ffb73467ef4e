"""The program of a child process in which native code meets bytes of files: `pipelines.decoding.child`.

A request is a line of JSON, and so is the answer; what is large lies in the shared memory. Calls of libraries
are made here, with numpy and the library and nothing of the workbench, so that it starts fast: requests say
where the encoded frames are and which function to give them to. Other requests are answered by whatever the
arguments name. The process ends when its parent does: the pipe closes.
"""

import json
import mmap
import os
import resource
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

STATM = "/proc/self/statm"
"""Where Linux tells of the memory of a process, in pages; the sixth number is what RLIMIT_DATA counts."""
_OPEN_FILES = 64  # libraries are loaded when their first frame comes


def main() -> None:
    """Serve requests until the pipe closes.

    Arguments: the descriptor of the memory and the folders of libraries; then, for what else than calls is
    answered, `module:name` and the arguments to make it with.
    """
    shared, answerer = int(sys.argv[1]), sys.argv[3:]
    sys.path += json.loads(sys.argv[2])
    requests, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):  # what a library prints goes nowhere
        os.dup2(nothing, descriptor)
    os.close(nothing)
    for limit, most in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 0)):
        resource.setrlimit(limit, (most, most))
    _set_soft(resource.RLIMIT_NOFILE, _OPEN_FILES)
    answer = _function(answerer[0])(*answerer[1:]) if answerer else _answers
    memory, used = None, used_bytes()
    with open(requests, "rb") as lines, open(answers, "wb", buffering=0) as out:  # noqa: PTH123 (descriptors)
        out.write(b"\n")  # has started
        for line in lines:
            request = json.loads(line)
            if memory is None or len(memory) != request["size"]:
                memory = mmap.mmap(shared, request["size"])
            if not answerer:  # what one call leaves behind is not the next one's, an open file is
                used = used_bytes()
            _limit(used, request["memory_bytes"], request["cpu_seconds"])
            out.write(json.dumps(_tried(answer, request, memory)).encode() + b"\n")


def _set_soft(limit: int, most: int) -> None:
    hard = resource.getrlimit(limit)[1]
    resource.setrlimit(limit, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def used_bytes() -> int | None:
    """Memory of this process that RLIMIT_DATA counts, where the system can tell."""
    try:
        with open(STATM, "rb") as file:  # noqa: PTH123 (pathlib would be the slowest import of all)
            return int(file.read().split()[5]) * mmap.PAGESIZE
    except OSError:
        return None


def _limit(used: int | None, memory_bytes: int, cpu_seconds: int) -> None:
    """So much more memory than is used, where the system can limit it, and so much more processor time."""
    _set_soft(resource.RLIMIT_CPU, int(time.process_time()) + 1 + cpu_seconds)
    if used is not None:
        _set_soft(resource.RLIMIT_DATA, used + memory_bytes)


def _tried(answer: Callable[..., Any], request: dict[str, Any], memory: mmap.mmap) -> Any:
    """What comes of a request, or what is said to have gone wrong."""
    try:
        return answer(request, memory)
    except ImportError as error:
        return {"missing": str(error)}
    except MemoryError:
        return {"memory": True}
    except Exception as error:  # a library may raise anything at bytes that are not what they should be
        return {"error": str(error)[:500] or type(error).__name__}


def _answers(request: dict[str, Any], memory: mmap.mmap) -> list[Any]:
    """Call functions; of each the shape and type of what it gave."""
    return [_tried(_called, call, memory) for call in request["calls"]]


def _function(name: str) -> Any:
    module, _, name = name.partition(":")
    function = getattr(import_module(module), name, None)
    if function is None:
        raise ImportError(name)
    return function


def _called(call: dict[str, Any], memory: mmap.mmap) -> dict[str, Any]:
    import numpy as np

    function = _function(call["function"])
    encoded = memory[call["start"] : call["start"] + call["length"]]
    room = np.frombuffer(memory, np.uint8, call["most"], call["at"])
    out = None
    if call["fills"]:
        shape, dtype = call["fills"]
        out = room[: int(np.prod(shape)) * np.dtype(dtype).itemsize].view(dtype).reshape(shape)
        out[...] = 0  # what a decoder leaves out must not be of the frame before
    decoded = function(encoded, **call["options"], **({} if out is None else {"out": out}))
    array = np.ascontiguousarray(decoded)  # of what was to be filled it may be a part
    array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    if array.nbytes > call["most"]:
        raise ValueError(f"decodes to {array.nbytes:,} bytes, expected at most {call['most']:,}")
    if array.ctypes.data != room.ctypes.data:
        room[: array.nbytes] = array.reshape(-1).view(np.uint8)
    return {"shape": list(array.shape), "dtype": array.dtype.str}


if __name__ == "__main__":
    main()
