"""Runs: a step over many arrays, here or on a Dask cluster, recorded so that it can be told and repeated."""

import json
import uuid
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catalog.identifiers import digest_of_texts
from catalog.records import ArrayRecord, Progress, RunItem, RunRecord, no_progress
from pipelines.runs.application import Application, RunInput, apply_step, reason_of
from pipelines.runs.code import Step, bound_parameters, code_digest, qualified_name, source_of, step_version
from pipelines.runs.environment import environment

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["RunInput", "keys", "run_step"]

IN_FLIGHT_PER_THREAD = 3
"""Series a cluster holds at a time for each of its threads: enough to keep it busy, few enough to forget."""

SAVE_EVERY = 200
"""Items between two calls of `save`."""


def keys(step: Step, parameters: Mapping[str, Any], inputs: Sequence[RunInput]) -> list[str]:
    """Keys of the items a run would have: the same key means the same code, parameters and input.

    Raises
    ------
    StepError
        If the step cannot be called with these parameters.
    """
    return _keys(step, code_digest(step), bound_parameters(step, parameters), inputs)


def run_step(
    step: Step,
    parameters: Mapping[str, Any],
    inputs: Sequence[RunInput],
    *,
    outputs_folder: Path,
    client: "Client | None" = None,
    previous: Mapping[str, RunItem] | None = None,
    progress: Progress = no_progress,
    save: Callable[[RunRecord], object] | None = None,
) -> RunRecord:
    """Apply a step to every input and record inputs, code, parameters, environment and outputs.

    One input that fails is an item with its reason, not the end of the run. Ctrl-C ends the run early:
    what is pending is cancelled, and the record holds the items that are done and no `finished`.

    Parameters
    ----------
    step
        A function of a volume and keyword parameters.
    inputs
        Arrays with the paths of their source instances; workers get these and never the catalog.
    outputs_folder
        Reachable from the workers under the same path.
    client
        Of the cluster to run on; in this process, one after another, when left out.
    previous
        Items of earlier runs by key (see `keys`); what is in there and still whole is not computed again.

    save
        Given the record with the items done since it was given last, now and then: what is on record
        survives the end of this process. The record that is returned has all items.

    Raises
    ------
    StepError
        If the step cannot be called with these parameters; nothing has run then.
    """
    digest = code_digest(step)
    bound = bound_parameters(step, parameters)
    application = Application(
        step, step_version(step, digest), bound, uuid.uuid4().hex, Path(outputs_folder).absolute()
    )
    tasks = [
        (given, key, (previous or {}).get(key))
        for given, key in zip(inputs, _keys(step, digest, bound, inputs), strict=True)
    ]
    record = RunRecord(
        run=application.run,
        step=qualified_name(step),
        code_digest=digest,
        version=application.version,
        parameters=bound,
        environment={**environment(), "source": source_of(step)},
        started=datetime.now(UTC),
        finished=None,
    )
    done: dict[int, RunItem] = {}
    unsaved: list[RunItem] = []
    items = _here(application, tasks) if client is None else _on_cluster(application, tasks, client)
    try:
        for index, item in items:
            done[index] = item
            unsaved.append(item)
            if save is not None and len(unsaved) >= SAVE_EVERY:
                save(replace(record, items=tuple(unsaved)))
                unsaved.clear()
            progress(len(done), len(tasks))
        record = replace(record, finished=datetime.now(UTC))
    except KeyboardInterrupt:
        items.close()
    return replace(record, items=tuple(item for _, item in sorted(done.items())))


type _Task = tuple[RunInput, str, RunItem | None]
type _Items = Generator[tuple[int, RunItem]]


def _keys(step: Step, digest: str, bound: Mapping[str, Any], inputs: Sequence[RunInput]) -> list[str]:
    applied = (qualified_name(step), digest, json.dumps(bound, sort_keys=True))
    return [digest_of_texts((*applied, *_identity(given.array))) for given in inputs]


def _identity(array: ArrayRecord) -> tuple[str, ...]:
    return array.series_instance_uid, str(array.part), array.input_digest


def _here(application: Application, tasks: Sequence[_Task]) -> _Items:
    for index, task in enumerate(tasks):
        yield index, apply_step(application, *task)


def _on_cluster(application: Application, tasks: Sequence[_Task], client: Any) -> _Items:
    """Items as they are done; only a window of tasks is with the cluster at any time."""
    from distributed import as_completed

    waiting = iter(enumerate(tasks))
    window = IN_FLIGHT_PER_THREAD * max(1, sum(client.nthreads().values()))
    pending: dict[Any, int] = {}

    def submit(index: int, task: _Task) -> Any:
        future = client.submit(apply_step, application, *task, pure=False)
        pending[future] = index
        return future

    first = [submit(*each) for each in islice(waiting, window)]
    completed: Any = as_completed(first, loop=client.loop)  # type: ignore[no-untyped-call]  # distributed has few types
    try:
        for future in completed:
            index = pending.pop(future)
            yield index, _item_of(future, tasks[index], application)
            for each in islice(waiting, 1):
                completed.add(submit(*each))
    finally:
        client.cancel(list(pending))


def _item_of(future: Any, task: _Task, application: Application) -> RunItem:
    """Return the item, or a failed one where the worker died or could not call the step."""
    error = future.exception()
    if error is None:
        item: RunItem = future.result()
        return item
    from distributed import KilledWorker

    given, key, _ = task
    ended = "its worker process ended each time the step was tried: out of memory, or a crash in a library"
    reason = ended if isinstance(error, KilledWorker) else reason_of(error, application.step)
    return RunItem(given.array.series_instance_uid, given.array.part, key, "failed", reason)
