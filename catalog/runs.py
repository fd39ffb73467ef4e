"""Runs on record: what was applied to what, and what came of it."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from catalog.database import Catalog
from catalog.errors import NotFoundError
from catalog.models import outputs, run_items, runs
from catalog.records import OutputRecord, RunItem, RunRecord

REUSABLE = ("succeeded", "reused")
"""States of an item whose outputs stand for the same key again."""

_AT_ONCE = 500
"""Values in one IN list; databases have a limit."""

_MADE_FROM = outputs.join(run_items, outputs.c.run_item == run_items.c.id)


def save_run(catalog: Catalog, record: RunRecord) -> None:
    """Put a run on record: its row, and those items that are not there yet, in one transaction.

    May be called again as the run goes on: what is there stays, `finished` is brought up to date.
    """
    with catalog.transaction() as connection:
        number = _run_row(connection, record)
        known = _item_numbers(connection, number)
        new = [item for item in record.items if (item.series_instance_uid, item.part) not in known]
        if not new:
            return
        connection.execute(sa.insert(run_items), [_item_values(number, item) for item in new])
        known = _item_numbers(connection, number)
        made = [
            _output_values(known[item.series_instance_uid, item.part], output)
            for item in new
            for output in item.outputs
        ]
        if made:
            connection.execute(sa.insert(outputs), made)


def load_run(catalog: Catalog, run: str) -> RunRecord:
    """Return a run with all its items, in the order they were put on record.

    Parameters
    ----------
    run
        Its identifier, or the beginning of it where no other run begins so.

    Raises
    ------
    NotFoundError
        If no run, or more than one, begins so.
    """
    with catalog.reading() as connection:
        found = connection.execute(
            sa.select(runs).where(runs.c.run.startswith(run, autoescape=True)).limit(2)
        ).all()
        if len(found) != 1:
            many = "more than one run begins with" if found else "there is no run"
            raise NotFoundError(f"{many} {run!r}; list them with list_runs")
        items = connection.execute(
            sa.select(run_items).where(run_items.c.run == found[0].id).order_by(run_items.c.id)
        ).all()
        return _record(found[0], _items(connection, items))


def list_runs(catalog: Catalog) -> list[RunRecord]:
    """Every run, the latest first, without its items."""
    with catalog.reading() as connection:
        rows = connection.execute(sa.select(runs).order_by(runs.c.id.desc())).all()
    return [_record(row, ()) for row in rows]


def find_items(catalog: Catalog, keys: Iterable[str]) -> dict[str, RunItem]:
    """Items that succeeded under these keys in any run, the latest for each key."""
    found: dict[str, RunItem] = {}
    with catalog.reading() as connection:
        for some in _portions(list(keys)):
            rows = connection.execute(
                sa.select(run_items)
                .where(run_items.c.key.in_(some), run_items.c.state.in_(REUSABLE))
                .order_by(run_items.c.id)
            ).all()
            found |= {item.key: item for item in _items(connection, rows)}
    return found


def find_output(catalog: Catalog, sop_instance_uid: str) -> OutputRecord | None:
    """Output of a run by its SOP Instance UID, or `None` where no run made it."""
    query = _select_outputs().where(outputs.c.sop_instance_uid == sop_instance_uid).limit(1)
    with catalog.reading() as connection:
        row = connection.execute(query.order_by(outputs.c.id)).first()
    return None if row is None else _output(row)


def output_paths(catalog: Catalog) -> set[str]:
    """Paths of every output of every run."""
    with catalog.reading() as connection:
        return set(connection.scalars(sa.select(outputs.c.path)))


# --- rows to records and back ----------------------------------------------------------------------------


def _run_row(connection: sa.Connection, record: RunRecord) -> int:
    """Return the number of the run's row, made when there is none."""
    number = connection.scalar(sa.select(runs.c.id).where(runs.c.run == record.run))
    if number is not None:
        connection.execute(sa.update(runs).where(runs.c.id == number).values(finished=record.finished))
        return int(number)
    values = {
        "run": record.run,
        "step": record.step,
        "code_digest": record.code_digest,
        "version": record.version,
        "parameters": dict(record.parameters),
        "environment": dict(record.environment),
        "started": record.started,
        "finished": record.finished,
    }
    key = connection.execute(sa.insert(runs).values(values)).inserted_primary_key
    return int(key[0]) if key else 0


def _item_numbers(connection: sa.Connection, run: int) -> dict[tuple[str, int], int]:
    rows = connection.execute(
        sa.select(run_items.c.series_instance_uid, run_items.c.part, run_items.c.id).where(
            run_items.c.run == run
        )
    )
    return {(uid, part): number for uid, part, number in rows}


def _item_values(run: int, item: RunItem) -> dict[str, Any]:
    return {
        "run": run,
        "series_instance_uid": item.series_instance_uid,
        "part": item.part,
        "key": item.key,
        "state": item.state,
        "reason": item.reason,
        "seconds": item.seconds,
        "measurements": [dict(row) for row in item.measurements],
    }


def _output_values(item: int, output: OutputRecord) -> dict[str, Any]:
    return {
        "run_item": item,
        "run": output.run,
        "kind": output.kind,
        "path": output.path,
        "digest": output.digest,
        "sop_instance_uid": output.sop_instance_uid,
    }


def _record(row: sa.Row[Any], items: Iterable[RunItem]) -> RunRecord:
    return RunRecord(
        run=row.run,
        step=row.step,
        code_digest=row.code_digest,
        version=row.version,
        parameters=row.parameters,
        environment=row.environment,
        started=row.started,
        finished=row.finished,
        items=tuple(items),
    )


def _items(connection: sa.Connection, rows: Sequence[sa.Row[Any]]) -> Iterator[RunItem]:
    """Items of rows of `run_items`, with their outputs."""
    made: Mapping[int, list[OutputRecord]] = defaultdict(list)
    for some in _portions([row.id for row in rows]):
        query = _select_outputs().where(outputs.c.run_item.in_(some)).order_by(outputs.c.id)
        for row in connection.execute(query):
            made[row.run_item].append(_output(row))
    for row in rows:
        yield RunItem(
            series_instance_uid=row.series_instance_uid,
            part=row.part,
            key=row.key,
            state=row.state,
            reason=row.reason,
            seconds=row.seconds,
            outputs=tuple(made[row.id]),
            measurements=tuple(row.measurements),
        )


def _select_outputs() -> sa.Select[Any]:
    return sa.select(outputs, run_items.c.series_instance_uid).select_from(_MADE_FROM)


def _output(row: sa.Row[Any]) -> OutputRecord:
    return OutputRecord(
        kind=row.kind,
        path=row.path,
        digest=row.digest,
        series_instance_uid=row.series_instance_uid,
        run=row.run,
        sop_instance_uid=row.sop_instance_uid,
    )


def _portions[T](values: list[T]) -> Iterator[list[T]]:
    for start in range(0, len(values), _AT_ONCE):
        yield values[start : start + _AT_ONCE]
