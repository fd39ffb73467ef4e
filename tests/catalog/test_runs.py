from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from catalog.errors import NotFoundError
from catalog.records import OutputRecord, RunItem, RunRecord
from catalog.runs import find_items, find_output, list_runs, load_run, save_run

STARTED = datetime(2026, 1, 5, 10, 15, 0, 250, tzinfo=UTC)


def item_of(number: int, *, run: str, state: str = "succeeded") -> RunItem:
    series = f"1.2.{number}"
    made = tuple(
        OutputRecord(kind, f"/outputs/{run}/{number}/{kind}", f"digest {kind}", series, run, uid)
        for kind, uid in (("array", None), ("SEG", f"1.3.{number}"))
    )
    rows = ({"name": "volume", "value": 1.5, "unit": "mm3", "segment": 1},)
    if state == "failed":
        return RunItem(series, 0, f"key {number}", state, "ValueError: no (line 3 of step.py)", 0.5)
    return RunItem(series, 0, f"key {number}", state, "", 0.5, made, rows)


def run_of(run: str, *items: RunItem, finished: bool = True) -> RunRecord:
    return RunRecord(
        run, "pipelines.steps.threshold:threshold", "c0de", "0.1.0", {"above": 300, "below": None},
        {"python": "3.13"}, STARTED, STARTED + timedelta(seconds=2) if finished else None, items,
    )  # fmt: skip


def test_a_run_comes_back_as_it_was_saved(catalog):
    record = run_of("a1", item_of(1, run="a1"), item_of(2, run="a1", state="failed"))
    save_run(catalog, record)
    assert load_run(catalog, "a1") == record


def test_saving_twice_is_saving_once(catalog):
    record = run_of("a1", item_of(1, run="a1"))
    save_run(catalog, record)
    save_run(catalog, record)
    assert load_run(catalog, "a1") == record


def test_a_run_grows_while_it_goes_on(catalog):
    first, second = item_of(1, run="a1"), item_of(2, run="a1")
    save_run(catalog, run_of("a1", first, finished=False))
    assert load_run(catalog, "a1").finished is None
    save_run(catalog, run_of("a1", first, second))
    assert load_run(catalog, "a1") == run_of("a1", first, second)


def test_runs_are_listed_latest_first(catalog):
    for run in ("a1", "b2"):
        save_run(catalog, run_of(run, item_of(1, run=run)))
    assert [record.run for record in list_runs(catalog)] == ["b2", "a1"]


def test_a_run_is_found_by_the_beginning_of_its_name(catalog):
    save_run(catalog, run_of("a1c"))
    save_run(catalog, run_of("a1d"))
    assert load_run(catalog, "a1d").run == "a1d"
    with pytest.raises(NotFoundError, match="more than one"):
        load_run(catalog, "a1")
    with pytest.raises(NotFoundError, match="no run '%'"):
        load_run(catalog, "%")


def test_the_latest_item_of_a_key_is_found_and_failed_ones_are_not(catalog):
    save_run(catalog, run_of("a1", item_of(1, run="a1"), item_of(2, run="a1", state="failed")))
    save_run(catalog, run_of("b2", item_of(1, run="b2")))
    found = find_items(catalog, ["key 1", "key 2", "key 3"])
    assert found == {"key 1": item_of(1, run="b2")}


def test_thousands_of_keys_are_found(catalog):
    items = [item_of(number, run="a1") for number in range(1200)]
    save_run(catalog, run_of("a1", *items))
    assert find_items(catalog, [item.key for item in items]) == {item.key: item for item in items}
    assert len(load_run(catalog, "a1").items) == 1200


def test_an_output_that_was_reused_still_names_the_run_that_made_it(catalog):
    first = item_of(1, run="a1")
    save_run(catalog, run_of("a1", first))
    save_run(catalog, run_of("b2", replace(first, state="reused")))
    (again,) = load_run(catalog, "b2").items
    assert {output.run for output in again.outputs} == {"a1"}


def test_an_output_is_found_by_its_sop_instance_uid(catalog):
    item = item_of(1, run="a1")
    save_run(catalog, run_of("a1", item))
    assert find_output(catalog, "1.3.1") == item.outputs[1]
    assert find_output(catalog, "1.3.2") is None
