"""One step applied to one series: everything a Dask worker does, from records to a record."""

import shutil
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from time import perf_counter
from typing import TYPE_CHECKING, Any

import dask

from catalog.durable import file_digest
from catalog.errors import EncodeError, HeaderError, WorkbenchError
from catalog.identifiers import folder_name
from catalog.records import ArrayRecord, OutputRecord, RunItem
from pipelines.runs.code import Step, step_name
from pipelines.runs.derived import folder_digest
from pipelines.runs.results import Destination, Made, make

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

REASON_LENGTH = 500


@dataclass(frozen=True, slots=True)
class RunInput:
    """One array a step is applied to, with the files its objects refer to."""

    array: ArrayRecord
    instances: tuple[str, ...] = ()
    """Paths of the source instances, in any order; read only when an object is encoded."""


@dataclass(frozen=True, slots=True)
class Application:
    """A step with its parameters, in one run."""

    step: Step
    version: str
    parameters: Mapping[str, Any]
    run: str
    outputs_folder: Path


def apply_step(application: Application, given: RunInput, key: str, previous: RunItem | None) -> RunItem:
    """Apply a step to one array; whatever the step raises becomes the reason of a failed item.

    Parameters
    ----------
    previous
        An item of an earlier run under the same key; reused when its outputs are still what they were.
    """
    array, started = given.array, perf_counter()
    if previous is not None and all(_is_there(output) for output in previous.outputs):
        return replace(previous, state="reused", seconds=perf_counter() - started)
    folder = (
        application.outputs_folder
        / application.run
        / f"{folder_name(array.series_instance_uid)}-{array.part}"
    )
    try:
        made = _apply(application, given, folder)
    except (Exception, SystemExit) as error:  # the step is the user's: one that fails stops no others
        shutil.rmtree(folder, ignore_errors=True)
        reason, seconds = reason_of(error, application.step), perf_counter() - started
        return RunItem(array.series_instance_uid, array.part, key, "failed", reason, seconds)
    seconds = perf_counter() - started
    return RunItem(
        array.series_instance_uid, array.part, key, "succeeded", made.remark, seconds, made.outputs, made.rows
    )


def _apply(application: Application, given: RunInput, folder: Path) -> Made:
    from pipelines.encode.algorithm import Algorithm, shortened
    from pipelines.volumes import open_array

    algorithm = Algorithm(
        shortened(step_name(application.step)), application.version, application.run, application.parameters
    )
    destination = Destination(
        folder, given.array.series_instance_uid, algorithm, lambda: read_sources(given.instances)
    )
    with _COMPUTING_HERE:
        volume = open_array(given.array)
        result = application.step(volume, **application.parameters)
        return make(result, volume, destination)


def read_sources(paths: Sequence[str]) -> "list[Dataset]":
    """Headers of the source instances, without their pixel data.

    Raises
    ------
    EncodeError
        If one cannot be read; names the file.
    """
    from catalog.headers import read_dataset

    headers = []
    for path in paths:
        try:
            headers.append(read_dataset(path))
        except HeaderError as error:
            raise EncodeError(f"source {path} {error}; index the archive again") from error
    return headers


def reason_of(error: BaseException, step: Step) -> str:
    """Why a step failed: the error in one line, and the line of the step it came from."""
    text = " ".join(str(error).split())[:REASON_LENGTH]
    if isinstance(error, WorkbenchError):
        return text
    reason = f"{type(error).__name__}: {text}" if text else type(error).__name__
    code = getattr(step, "__code__", None)
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if code is not None and frame.filename == code.co_filename
    ]
    return f"{reason} (line {lines[-1]} of {Path(code.co_filename).name})" if lines and code else reason


def _is_there(output: OutputRecord) -> bool:
    path = Path(output.path)
    try:
        return output.digest == (folder_digest(path) if path.is_dir() else file_digest(path))
    except OSError:
        return False


class _ComputingHere:
    """While a step runs on a worker, its thread computes what it asks of dask, and its prints go to stderr.

    Otherwise dask would ask the cluster again, and a print end up amid what the command line prints for
    machines. Both are set for the whole process, and a worker may run several steps at once: the first one
    in sets them, the last one out gives them back.
    """

    def __init__(self) -> None:
        self._lock, self._inside = Lock(), 0
        self._setting = ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0 and _in_worker():
                self._setting.enter_context(dask.config.set(scheduler="synchronous"))
                self._setting.enter_context(redirect_stdout(sys.stderr))
            self._inside += 1

    def __exit__(self, *_error: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._setting.close()


_COMPUTING_HERE = _ComputingHere()


def _in_worker() -> bool:
    """Whether this is a task on a Dask worker; elsewhere the user's own scheduler is right."""
    if "distributed.worker" not in sys.modules:
        return False
    from distributed import get_worker

    try:
        get_worker()
    except ValueError:
        return False
    return True
