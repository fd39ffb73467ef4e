"""The program of a child process that decodes frames for its parent; started as a script by `pipelines.jail`.

It imports numpy and whatever library it is asked for, and nothing of the workbench, so that it starts fast. A
request is a line of JSON that says where in the shared memory the encoded frames are and which function to
give them to; the answer is one that says what came of each. It ends when its parent does: the pipe closes.
"""

import json
import mmap
import os
import resource
import sys
import time
from importlib import import_module
from typing import Any

STATM = "/proc/self/statm"
"""Where Linux tells of the memory of a process, in pages; the sixth number is what RLIMIT_DATA counts."""
_OPEN_FILES = 64  # libraries are loaded when their first frame comes


def main() -> None:
    """Serve requests until the pipe closes; arguments: descriptor of the memory, folders of libraries."""
    shared = int(sys.argv[1])
    sys.path += json.loads(sys.argv[2])
    requests, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):  # what a library prints goes nowhere
        os.dup2(nothing, descriptor)
    os.close(nothing)
    for limit, most in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 0)):
        resource.setrlimit(limit, (most, most))
    _set_soft(resource.RLIMIT_NOFILE, _OPEN_FILES)
    memory = None
    with open(requests, "rb") as lines, open(answers, "wb", buffering=0) as out:  # noqa: PTH123 (descriptors)
        out.write(b"\n")  # has started
        for line in lines:
            request = json.loads(line)
            if memory is None or len(memory) != request["size"]:
                memory = mmap.mmap(shared, request["size"])
            _limit(request["memory_bytes"], request["cpu_seconds"])
            out.write(json.dumps([_answer(call, memory) for call in request["calls"]]).encode() + b"\n")


def _set_soft(limit: int, most: int) -> None:
    hard = resource.getrlimit(limit)[1]
    resource.setrlimit(limit, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _limit(memory_bytes: int, cpu_seconds: int) -> None:
    """So much more memory, where the system can tell and limit it, and so much more processor time."""
    _set_soft(resource.RLIMIT_CPU, int(time.process_time()) + 1 + cpu_seconds)
    try:
        with open(STATM, "rb") as file:  # noqa: PTH123 (pathlib would be the slowest import of all)
            used = int(file.read().split()[5]) * mmap.PAGESIZE
    except OSError:
        return
    _set_soft(resource.RLIMIT_DATA, used + memory_bytes)


def _answer(call: dict[str, Any], memory: mmap.mmap) -> dict[str, Any]:
    """Call one function; the shape and type of what it gave, or what it said went wrong."""
    try:
        return _called(call, memory)
    except ImportError:
        return {"missing": call["function"]}
    except MemoryError:
        return {"memory": True}
    except Exception as error:  # a library may raise anything at bytes that are not what they should be
        return {"error": str(error)[:500] or type(error).__name__}


def _called(call: dict[str, Any], memory: mmap.mmap) -> dict[str, Any]:
    import numpy as np

    module, name = call["function"].split(":")
    function = getattr(import_module(module), name, None)
    if function is None:
        raise ImportError(name)
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
