import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import dask
import numpy as np
import pandas as pd
import pydicom
import pytest
import xarray as xr
from distributed import Client, LocalCluster

from catalog.errors import StepError
from pipelines import phantoms
from pipelines.runs.application import RunInput
from pipelines.runs.code import bound_parameters, code_digest, find_step
from pipelines.runs.derived import open_derived
from pipelines.runs.run import keys, run_step
from pipelines.steps.threshold import threshold


@pytest.fixture(scope="session")
def client() -> Iterator[Client]:
    """Two worker processes on loopback."""
    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
        ) as cluster,
        Client(cluster, set_as_default=False) as connected,  # else every later test computes on it
    ):
        yield connected


@pytest.fixture
def run_inputs(indexed) -> Callable[[Path], list[RunInput]]:
    """Index and ingest an archive: one input for each array, in the order of series numbers."""

    def inputs_of(archive: Path) -> list[RunInput]:
        found = sorted(indexed(archive), key=lambda each: each.series.series_number or 0)
        return [
            RunInput(array, tuple(instance.path for instance in each.instances))
            for each in found
            for array in each.ingest().arrays
        ]

    return inputs_of


@pytest.fixture
def inputs(ct, run_inputs) -> list[RunInput]:
    return run_inputs(ct.paths[0].parent)


@pytest.fixture
def three(tmp_path, run_inputs) -> list[RunInput]:
    for number in (1, 2, 3):
        phantoms.write_series(
            tmp_path / "archive" / str(number), series_number=number, seed=number, description=f"no. {number}"
        )
    return run_inputs(tmp_path / "archive")


def step_in(path: Path, text: str):
    path.write_text(text)
    return find_step(f"{path}:step")


def counting_step(tmp_path: Path, body: str = "volume > above"):
    """A step that leaves a byte in a file each time it is called."""
    log = tmp_path / "calls"
    text = (
        "def step(volume, *, above=0):\n"
        f"    with open({str(log)!r}, 'a') as log:\n        log.write('.')\n    return {body}\n"
    )
    return step_in(tmp_path / "step.py", text), lambda: len(log.read_text()) if log.exists() else 0


def outputs_by_kind(item) -> dict:
    return {output.kind: output for output in item.outputs}


# --- what comes out --------------------------------------------------------------------------------------


def test_the_sphere_s_volume_is_voxel_count_times_voxel_volume(ct, inputs, tmp_path):
    record = run_step(threshold, {"above": 0}, inputs, outputs_folder=tmp_path / "out")
    (item,) = record.items
    assert (item.state, item.reason) == ("succeeded", "")
    rows = {row["name"]: row for row in item.measurements}
    inside = ct.modality_values > 0
    assert rows["volume"]["value"] == pytest.approx(inside.sum() * 0.8 * 0.7 * 2.5)
    assert rows["mean"]["value"] == pytest.approx(ct.modality_values[inside].mean(dtype=np.float64))
    assert {(row["segment"], row["label"]) for row in item.measurements} == {(1, "mask")}


def test_a_mask_becomes_an_array_a_segmentation_and_a_report_of_this_run(ct, inputs, tmp_path):
    record = run_step(threshold, {"above": 0}, inputs, outputs_folder=tmp_path / "out")
    outputs = outputs_by_kind(record.items[0])
    assert set(outputs) == {"array", "SEG", "SR"}
    mask = open_derived(Path(outputs["array"].path))
    assert np.array_equal(mask, ct.modality_values > 0)
    assert tuple(mask["sop_instance_uid"].values) == ct.sop_instance_uids
    for kind in ("SEG", "SR"):
        ds = pydicom.dcmread(outputs[kind].path)
        assert ds.SOPInstanceUID == outputs[kind].sop_instance_uid
        assert ds.StudyInstanceUID == ct.study_instance_uid
        assert record.run in ds.to_json()
        assert outputs[kind].run == record.run


def test_the_record_says_what_ran_on_what(inputs, tmp_path):
    record = run_step(threshold, {"above": np.float32(0.5)}, inputs, outputs_folder=tmp_path / "out")
    assert record.step == "pipelines.steps.threshold:threshold"
    assert record.parameters == {"above": 0.5, "below": None}
    assert record.code_digest == code_digest(threshold)
    assert record.environment["python"] == sys.version.split()[0]
    assert record.environment["highdicom"]
    assert "volume > above" in record.environment["source"]
    assert record.finished is not None
    assert record.started <= record.finished


def test_an_empty_mask_is_a_result_without_objects(inputs, tmp_path):
    (item,) = run_step(threshold, {"above": 9999}, inputs, outputs_folder=tmp_path / "out").items
    assert item.state == "succeeded"
    assert "mask is empty" in item.reason
    assert set(outputs_by_kind(item)) == {"array"}
    assert {row["name"]: row["value"] for row in item.measurements} == {"voxels": 0, "volume": 0}


def test_labels_are_measured_each(inputs, tmp_path):
    def two(volume):
        return (volume > 0).astype("uint8") + 4 * (volume > 300)

    (item,) = run_step(two, {}, inputs, outputs_folder=tmp_path / "out").items
    assert {(row["segment"], row["label"]) for row in item.measurements} == {(1, "ct 1"), (2, "ct 5")}


def test_an_image_becomes_an_array(ct, inputs, tmp_path):
    (item,) = run_step(lambda volume: volume * 2, {}, inputs, outputs_folder=tmp_path / "out").items
    doubled = open_derived(Path(outputs_by_kind(item)["array"].path))
    assert np.array_equal(doubled, ct.modality_values * 2)
    assert doubled.attrs["units"] == "HU"


@pytest.mark.parametrize(
    ("result", "rows"),
    [
        (0.25, [{"name": "step", "value": 0.25, "unit": ""}]),
        (np.float32(0.5), [{"name": "step", "value": 0.5, "unit": ""}]),
        (float("nan"), [{"name": "step", "value": None, "unit": ""}]),
        ({"a": 1, "b": 2}, [{"name": "a", "value": 1, "unit": ""}, {"name": "b", "value": 2, "unit": ""}]),
        ([{"name": "x", "value": 3, "unit": "mm"}], [{"name": "x", "value": 3, "unit": "mm"}]),
        (pd.DataFrame({"name": ["x"], "value": [3.0]}), [{"name": "x", "value": 3.0}]),
    ],
)
def test_numbers_and_tables_become_rows(inputs, tmp_path, result, rows):
    def step(volume):
        return result

    (item,) = run_step(step, {}, inputs, outputs_folder=tmp_path / "out").items
    assert (item.state, list(item.measurements), item.outputs) == ("succeeded", rows, ())


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (None, "returned a NoneType"),
        ([1, 2], "returned a list"),
        (xr.DataArray(np.zeros((2, 2), bool), dims=("y", "x")), "lies on the volume's own grid"),
        ({"a": object()}, "a number or a text, not a object"),
    ],
)
def test_a_result_that_is_none_fails_in_words(inputs, tmp_path, result, reason):
    (item,) = run_step(lambda volume: result, {}, inputs, outputs_folder=tmp_path / "out").items
    assert item.state == "failed"
    assert reason in item.reason


def test_an_integer_image_is_not_taken_for_a_mask(inputs, tmp_path):
    (item,) = run_step(
        lambda volume: (volume + 2000).astype("uint16") + np.arange(24, dtype="uint16") * 40,
        {}, inputs, outputs_folder=tmp_path / "out",
    ).items  # fmt: skip
    assert item.state == "failed"
    assert "return an image as floating point" in item.reason


# --- what fails ------------------------------------------------------------------------------------------


def test_one_that_fails_does_not_stop_the_others(three, tmp_path):
    step = step_in(
        tmp_path / "step.py",
        "def step(volume, *, bad):\n"
        "    if volume.attrs['series_instance_uid'] == bad:\n"
        "        raise ValueError('too\\nfew counts')\n"
        "    return float(volume.mean())\n",
    )
    bad = three[1].array.series_instance_uid
    record = run_step(step, {"bad": bad}, three, outputs_folder=tmp_path / "out")
    assert [item.state for item in record.items] == ["succeeded", "failed", "succeeded"]
    assert record.items[1].reason == "ValueError: too few counts (line 3 of step.py)"
    assert record.finished is not None


def test_a_source_that_is_gone_is_a_reason(inputs, ct, tmp_path):
    ct.paths[3].unlink()
    (item,) = run_step(threshold, {"above": 0}, inputs, outputs_folder=tmp_path / "out").items
    assert item.state == "failed"
    assert f"source {ct.paths[3]} cannot be opened" in item.reason


def test_what_failed_leaves_nothing_behind(inputs, ct, tmp_path):
    ct.paths[3].unlink()
    run_step(threshold, {"above": 0}, inputs, outputs_folder=tmp_path / "out")
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []


def test_an_array_that_was_altered_is_a_reason(inputs, tmp_path):
    (Path(inputs[0].array.path) / "zarr.json").unlink()
    (item,) = run_step(threshold, {"above": 0}, inputs, outputs_folder=tmp_path / "out").items
    assert item.state == "failed"
    assert "ingest its series again" in item.reason


def test_ctrl_c_keeps_what_is_done(three, tmp_path):
    def stop(done: int, _total: int | None) -> None:
        if done == 2:
            raise KeyboardInterrupt

    record = run_step(threshold, {"above": 0}, three, outputs_folder=tmp_path / "out", progress=stop)
    assert [item.state for item in record.items] == ["succeeded", "succeeded"]
    assert record.finished is None


def test_what_is_done_is_saved_as_the_run_goes_on(inputs, tmp_path):
    many = [replace(inputs[0], array=replace(inputs[0].array, part=each)) for each in range(450)]
    saved = []

    def step(volume):
        return 1

    record = run_step(step, {}, many, outputs_folder=tmp_path / "out", save=saved.append)
    assert [len(each.items) for each in saved] == [200, 200]
    assert {each.finished for each in saved} == {None}
    assert [item for each in saved for item in each.items] == list(record.items[:400])


# --- twice is once ---------------------------------------------------------------------------------------


def again(record) -> dict:
    return {item.key: item for item in record.items}


def test_a_second_run_computes_nothing_and_has_the_same_outputs(inputs, tmp_path):
    step, calls = counting_step(tmp_path)
    first = run_step(step, {"above": 0}, inputs, outputs_folder=tmp_path / "out")
    second = run_step(step, {"above": 0}, inputs, outputs_folder=tmp_path / "out", previous=again(first))
    assert calls() == 1
    assert [item.state for item in second.items] == ["reused"]
    assert second.items[0].outputs == first.items[0].outputs
    assert second.items[0].measurements == first.items[0].measurements


@pytest.mark.parametrize("kind", ["SEG", "array"])
@pytest.mark.parametrize("lost", [True, False])
def test_an_output_that_is_lost_or_altered_is_made_again(inputs, tmp_path, kind, lost):
    step, calls = counting_step(tmp_path)
    first = run_step(step, {}, inputs, outputs_folder=tmp_path / "out")
    path = Path(outputs_by_kind(first.items[0])[kind].path)
    path = path / "zarr.json" if path.is_dir() else path
    path.unlink() if lost else path.write_bytes(path.read_bytes() + b" ")
    second = run_step(step, {}, inputs, outputs_folder=tmp_path / "out", previous=again(first))
    assert calls() == 2
    assert second.items[0].state == "succeeded"


def test_another_parameter_is_another_key(inputs, tmp_path):
    step, calls = counting_step(tmp_path)
    first = run_step(step, {"above": 0}, inputs, outputs_folder=tmp_path / "out")
    run_step(step, {"above": 1}, inputs, outputs_folder=tmp_path / "out", previous=again(first))
    assert calls() == 2


def test_a_default_that_is_written_out_is_the_same_key(inputs, tmp_path):
    step, _ = counting_step(tmp_path)
    assert keys(step, {}, inputs) == keys(step, {"above": 0}, inputs)


def test_other_code_is_another_key(inputs, tmp_path):
    step, calls = counting_step(tmp_path)
    first = run_step(step, {}, inputs, outputs_folder=tmp_path / "out")
    changed, _ = counting_step(tmp_path, "volume >= above")
    run_step(changed, {}, inputs, outputs_folder=tmp_path / "out", previous=again(first))
    assert calls() == 2


def test_other_input_is_another_key(inputs):
    changed = [replace(each, array=replace(each.array, input_digest="other")) for each in inputs]
    assert keys(threshold, {"above": 0}, inputs) != keys(threshold, {"above": 0}, changed)


HELPED = """
LIMIT = {limit}
def inner(volume):
    return volume {sign} LIMIT
def step(volume):
    return inner(volume)
"""


def test_a_changed_constant_or_inner_function_changes_the_digest(tmp_path):
    digests = {
        code_digest(step_in(tmp_path / "step.py", HELPED.format(limit=limit, sign=sign)))
        for limit, sign in ((1, ">"), (2, ">"), (1, "<"))
    }
    assert len(digests) == 3


def test_the_same_code_has_the_same_digest_in_another_process(tmp_path):
    step = step_in(tmp_path / "step.py", HELPED.format(limit=1, sign=">"))
    name = f"{tmp_path / 'step.py'}:step"
    code = f"from pipelines.runs.code import *; print(code_digest(find_step({name!r})))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == code_digest(step)


def test_a_default_of_an_inner_function_and_a_decorator_change_the_digest(tmp_path):
    text = """
import functools
LIMIT = {limit}
def twice(step):
    @functools.wraps(step)
    def wrapper(volume):
        return {wrapped}
    return wrapper
def inner(volume, limit=LIMIT):
    return volume > limit
@twice
def step(volume):
    return inner(volume)
"""
    digests = {
        code_digest(step_in(tmp_path / "step.py", text.format(limit=limit, wrapped=wrapped)))
        for limit, wrapped in ((1, "step(volume)"), (2, "step(volume)"), (1, "step(volume * 2)"))
    }
    assert len(digests) == 3


def test_constants_and_arrays_count_by_value_and_libraries_by_name(tmp_path):
    text = """
import numpy as np
TABLE = np.array({values})
NAMES = {names}
def step(volume):
    return TABLE, NAMES, np
"""
    digests = [
        code_digest(step_in(tmp_path / "step.py", text.format(values=values, names=names)))
        for values, names in (([1, 2], {"a": 1}), ([1, 2], {"a": 1}), ([1, 3], {"a": 1}), ([1, 2], {"a": 2}))
    ]
    assert [digests.count(each) for each in digests] == [2, 2, 1, 1]


def test_a_closed_over_value_changes_the_digest():
    def made(limit):
        return lambda volume: volume > limit

    assert code_digest(made(1)) != code_digest(made(2))
    assert code_digest(made(1)) == code_digest(made(1))


# --- finding and calling ---------------------------------------------------------------------------------


def test_a_step_is_found_by_its_name_its_module_or_its_file(tmp_path):
    assert find_step("threshold") is threshold
    assert find_step("pipelines.steps.threshold:threshold") is threshold
    assert step_in(tmp_path / "mine.py", "def step(volume):\n    return 1\n")(None) == 1


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("treshold", "did you mean threshold"),
        ("pipelines.steps.threshold:treshold", "did you mean threshold"),
        ("no.such.module:step", "cannot be imported"),
        ("no/such/file.py:step", "there is no file"),
        ("", "no step ''"),
    ],
)
def test_a_step_that_is_not_there_is_told_with_near_names(name, words):
    with pytest.raises(StepError, match=words):
        find_step(name)


def test_a_file_that_cannot_be_executed_is_told(tmp_path):
    with pytest.raises(StepError, match=r"step\.py cannot be executed: NameError"):
        step_in(tmp_path / "step.py", "nonsense\n")


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"abov": 1}, "did you mean above"),
        ({}, "missing.*above"),
        ({"above": object()}, "is a object, which cannot be recorded"),
        ({"above": float("nan")}, "finite numbers"),
        ({"above": 1e400}, "above of threshold is inf, or too large for a number of 64 bits"),
    ],
)
def test_parameters_are_checked_before_anything_runs(inputs, tmp_path, parameters, words):
    with pytest.raises(StepError, match=words):
        run_step(threshold, parameters, inputs, outputs_folder=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_parameters_are_recorded_as_plain_values():
    assert bound_parameters(threshold, {"above": np.int16(3)}) == {"above": 3, "below": None}


def test_parameters_a_step_takes_without_naming_them_are_recorded_each():
    def step(volume, above=1, *others, **more):
        return 1

    assert bound_parameters(step, {"below": 2}) == {"above": 1, "below": 2}


@pytest.mark.parametrize("step", [partial(threshold, above=1), np.abs, abs])
def test_what_is_no_function_is_refused_as_its_code_cannot_be_recorded(step):
    with pytest.raises(StepError, match="a step is a function"):
        bound_parameters(step, {})


# --- on a cluster ----------------------------------------------------------------------------------------


WITNESS = """
import os, sys
import dask

def step(volume, *, bad):
    if volume.attrs["series_instance_uid"] == bad:
        raise RuntimeError("no")
    return [
        {"name": "process", "value": os.getpid(), "unit": ""},
        {"name": "catalog is open", "value": "catalog.database" in sys.modules, "unit": ""},
        {"name": "scheduler", "value": dask.config.get("scheduler", None), "unit": ""},
        {"name": "mean", "value": float(volume.mean()), "unit": "HU"},
    ]
"""


def test_workers_run_steps_and_never_open_the_catalog(three, tmp_path, client):
    step = step_in(tmp_path / "step.py", WITNESS)
    seen = []
    record = run_step(
        step, {"bad": three[2].array.series_instance_uid}, three, outputs_folder=tmp_path / "out",
        client=client, progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert [item.state for item in record.items] == ["succeeded", "succeeded", "failed"]
    assert record.items[2].reason == "RuntimeError: no (line 7 of step.py)"
    assert seen == [(1, 3), (2, 3), (3, 3)]
    for item in record.items[:2]:
        rows = {row["name"]: row["value"] for row in item.measurements}
        assert rows["process"] != os.getpid()
        assert rows["catalog is open"] is False
        assert rows["scheduler"] == "synchronous"  # a step does not ask the cluster it runs on
    assert set(client.run(lambda: dask.config.get("scheduler", None)).values()) == {None}


def test_a_cluster_gives_what_this_process_gives(three, tmp_path, client):
    here = run_step(threshold, {"above": 0}, three, outputs_folder=tmp_path / "here")
    there = run_step(threshold, {"above": 0}, three, outputs_folder=tmp_path / "there", client=client)
    assert [item.key for item in here.items] == [item.key for item in there.items]
    assert [item.measurements for item in here.items] == [item.measurements for item in there.items]
    assert [len(item.outputs) for item in there.items] == [3, 3, 3]
    reused = run_step(
        threshold,
        {"above": 0},
        three,
        outputs_folder=tmp_path / "there",
        client=client,
        previous=again(there),
    )
    assert {item.state for item in reused.items} == {"reused"}


def test_more_inputs_than_are_in_flight_are_all_done_in_order(inputs, tmp_path, client):
    many = [replace(inputs[0], array=replace(inputs[0].array, input_digest=str(each))) for each in range(40)]
    step = step_in(tmp_path / "step.py", "def step(volume):\n    return float(volume.max())\n")
    record = run_step(step, {}, many, outputs_folder=tmp_path / "out", client=client)
    assert [item.key for item in record.items] == keys(step, {}, many)
    assert {item.state for item in record.items} == {"succeeded"}


def test_ctrl_c_cancels_what_is_pending_on_a_cluster(inputs, tmp_path, client):
    many = [replace(inputs[0], array=replace(inputs[0].array, input_digest=str(each))) for each in range(20)]

    def stop(done: int, _total: int | None) -> None:
        if done == 3:
            raise KeyboardInterrupt

    step, calls = counting_step(tmp_path, "1")
    record = run_step(step, {}, many, outputs_folder=tmp_path / "out", client=client, progress=stop)
    assert (len(record.items), record.finished) == (3, None)
    assert calls() < 20


@pytest.mark.slow
def test_a_step_that_kills_its_worker_fails_alone(three, tmp_path, client):
    step = step_in(
        tmp_path / "step.py",
        "import os\ndef step(volume, *, bad):\n"
        "    if volume.attrs['series_instance_uid'] == bad:\n        os._exit(1)\n    return 1\n",
    )
    parameters = {"bad": three[0].array.series_instance_uid}
    record = run_step(step, parameters, three, outputs_folder=tmp_path / "out", client=client)
    assert [item.state for item in record.items] == ["failed", "succeeded", "succeeded"]
    assert record.items[0].reason.startswith("its worker process ended")
