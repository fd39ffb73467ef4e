"""A step's code: found by its name, bound to parameters, and digested with everything of its own it uses."""

import difflib
import hashlib
import importlib
import importlib.util
import inspect
import json
import math
import pkgutil
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.machinery import SourceFileLoader
from importlib.metadata import version as distribution_version
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from catalog.errors import StepError
from pipelines import steps

type Step = Callable[..., Any]
"""A function on volumes: the volume first, then keyword-only parameters."""


# --- finding ---------------------------------------------------------------------------------------------


def find_step(name: str) -> Step:
    """Find a step by name.

    Parameters
    ----------
    name
        `threshold` of `pipelines.steps`, `package.module:function`, or `path/to/file.py:function`.
        The module or file is executed.

    Raises
    ------
    StepError
        If there is no such step, with the names that are near.
    """
    place, _, function = name.rpartition(":")
    if not place:
        return _shipped(name)
    module = _from_file(Path(place)) if place.endswith(".py") else _from_module(place)
    found = getattr(module, function, None)
    if not callable(found):
        near = _near(function, [each for each in vars(module) if not each.startswith("_")])
        raise StepError(f"{place} has no function {function!r}{near}")
    return found  # type: ignore[no-any-return]  # a callable, by the line above


def _shipped(name: str) -> Step:
    names = [module.name for module in pkgutil.iter_modules(steps.__path__)]
    if name not in names:
        raise StepError(
            f"no step {name!r}{_near(name, names)}; steps here are {', '.join(names)}, "
            "others are written package.module:function or path/to/file.py:function"
        )
    return getattr(importlib.import_module(f"{steps.__name__}.{name}"), name)  # type: ignore[no-any-return]


def _from_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (ImportError, ValueError) as error:
        raise StepError(f"the module {name} of the step cannot be imported: {error}") from error


def _from_file(path: Path) -> ModuleType:
    """Execute a file as a module that is not registered: its functions then travel to workers by value."""
    spec = importlib.util.spec_from_file_location(path.stem, path, loader=_Reading(path.stem, str(path)))
    if spec is None or spec.loader is None or not path.is_file():
        raise StepError(f"there is no file {path}; a step in a file is written path/to/file.py:function")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # the file is the user's: whatever it raises is the reason
        raise StepError(f"{path} cannot be executed: {type(error).__name__}: {error}") from error
    return module


class _Reading(SourceFileLoader):
    """Reads a file as it is: bytecode beside it, known by second and size, may be of the one before."""

    def get_code(self, fullname: str) -> CodeType:
        """Return the file's code."""
        return self.source_to_code(self.get_data(self.path), self.path)


def _near(name: str, names: list[str]) -> str:
    near = difflib.get_close_matches(name, names, n=3)
    return f", did you mean {' or '.join(near)}?" if near else ""


# --- names and parameters --------------------------------------------------------------------------------


def step_name(step: Step) -> str:
    """Name of a step as a person says it: `threshold`."""
    return getattr(step, "__name__", type(step).__name__)


def qualified_name(step: Step) -> str:
    """Module and name of a step; `__main__` for one written in a notebook."""
    return f"{getattr(step, '__module__', '')}:{getattr(step, '__qualname__', step_name(step))}"


def step_version(step: Step, digest: str) -> str:
    """Version of the package a step came with, else the first digits of the digest of its code."""
    package = _top(step)
    if package == __name__.partition(".")[0]:
        return distribution_version("imaging-workbench")
    return str(getattr(sys.modules.get(package), "__version__", "") or f"code {digest[:12]}")


def bound_parameters(step: Step, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Every parameter a step will be called with, defaults included, as plain values.

    Raises
    ------
    StepError
        If the step is no plain function, or a parameter is unknown, missing, or cannot be written as JSON.
    """
    if not isinstance(step, FunctionType):
        raise StepError(
            f"a step is a function, not a {type(step).__name__}, whose code cannot be recorded; "
            "write def step(volume, *, ...) around it"
        )
    signature = inspect.signature(step)
    takes = [each.name for each in list(signature.parameters.values())[1:]]
    try:
        bound = signature.bind(None, **parameters)
    except TypeError as error:
        unknown = [name for name in parameters if name not in takes]
        near = _near(unknown[0], takes) if unknown else ""
        raise StepError(
            f"{step_name(step)} cannot be called: {error}{near}; "
            f"its parameters are {', '.join(takes) or 'none'}"
        ) from error
    bound.apply_defaults()
    values: dict[str, Any] = {}
    for name, value in list(bound.arguments.items())[1:]:
        match signature.parameters[name].kind:
            case inspect.Parameter.VAR_KEYWORD:
                values |= value
            case inspect.Parameter.VAR_POSITIONAL:
                continue
            case _:
                values[name] = value
    return {name: _plain(step, name, value) for name, value in values.items()}


def _plain(step: Step, name: str, value: Any) -> Any:
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()  # numpy's scalars
    if isinstance(value, float) and not math.isfinite(value):
        raise StepError(
            f"parameter {name} of {step_name(step)} is {value}, or too large for a number of 64 bits; "
            "use finite numbers"
        )
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise StepError(
            f"parameter {name} of {step_name(step)} is a {type(value).__name__}, which cannot be recorded; "
            "use finite numbers, texts, and lists or mappings of them"
        ) from error


# --- digest ----------------------------------------------------------------------------------------------


def source_of(step: Step | ModuleType | type) -> str:
    """Source text of a step, or of what it uses; empty where there is none (compiled, typed at a prompt)."""
    try:
        return inspect.getsource(inspect.unwrap(step) if callable(step) else step)
    except (OSError, TypeError):
        return ""


def code_digest(step: Step) -> str:
    """SHA-256 over the step's code and over what it refers to in its own package, file or notebook.

    Functions and modules of the same top-level package are followed, plain constants count by value, and
    everything else by its name: a library's version is in the run's environment, not in the digest.
    """
    sha = hashlib.sha256(qualified_name(step).encode())
    for part in _parts(step, _top(step), set()):
        sha.update(b"\0" + part.encode())
    return sha.hexdigest()


def _parts(thing: Any, top: str, seen: set[int]) -> Iterator[str]:
    """Texts that stand for a thing's code, those of what it uses after its own."""
    if id(thing) in seen:
        return
    seen.add(id(thing))
    if isinstance(thing, FunctionType):
        yield source_of(thing)
        yield _stand_in([thing.__defaults__, thing.__kwdefaults__])
        yield _bytecode(thing.__code__)  # what runs, should its file have changed since it was imported
        for name, used in sorted(_used(thing).items()):
            yield name
            if _is_own(used, top):
                yield from _parts(used, top, seen)
            else:
                yield _stand_in(used)
    elif isinstance(thing, ModuleType | type):
        yield source_of(thing)
    else:
        yield _stand_in(thing)


def _used(function: FunctionType) -> dict[str, Any]:
    """Globals and closed-over values a function refers to, its inner functions included."""
    names = set(_names(function.__code__))
    used = {name: function.__globals__[name] for name in names if name in function.__globals__}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            used[name] = cell.cell_contents
        except ValueError:  # a cell that is not filled yet: the function refers to itself
            continue
    return used


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _bytecode(code: CodeType) -> str:
    constants = [_bytecode(each) if isinstance(each, CodeType) else repr(each) for each in code.co_consts]
    return f"{code.co_code.hex()} {code.co_names} {constants}"


def _top(thing: Any) -> str:
    name = thing.__name__ if isinstance(thing, ModuleType) else getattr(thing, "__module__", None)
    return (name or "").partition(".")[0]


def _is_own(thing: Any, top: str) -> bool:
    return isinstance(thing, FunctionType | ModuleType | type) and _top(thing) == top


def _stand_in(thing: Any) -> str:
    """A constant by its value, an array by its bytes, anything else by its name."""
    if isinstance(thing, bool | int | float | complex | str | bytes | list | tuple | type(None)):
        return repr(thing)
    if hasattr(thing, "tobytes"):
        return f"{thing.dtype} {thing.shape} {hashlib.sha256(thing.tobytes()).hexdigest()}"
    if isinstance(thing, dict | set):
        return repr(sorted(map(repr, thing.items() if isinstance(thing, dict) else thing)))
    return f"{_top(thing)} {getattr(thing, '__qualname__', type(thing).__qualname__)}"
