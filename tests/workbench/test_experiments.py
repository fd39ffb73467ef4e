"""The surgeon's experiment: animals by time points, what is missing, one volume, one lazy tree, a run."""

import json
import random
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pydicom
import pytest

import workbench
from catalog.errors import NotFoundError, QuestionError, SheetError
from pipelines import phantoms
from workbench.experiments import Experiment
from workbench.session import Bench
from workbench.sheets import MOST_INFLATED, read_sheet

TABLE = """animal;arm;time_point;patient_id;study_date;weight
7;sham;before;P7;5.1.2026;30,5
7;sham;after;P7;12.1.2026;31
8;<b>graft;before;P8;5.1.2026;28
8;<b>graft;after;P8;12.1.2026;
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "animals.csv"
    path.write_bytes(TABLE.encode("utf-8-sig"))
    return path


@pytest.fixture
def pigs(tmp_path: Path) -> list[str]:
    """UIDs of P7 before, P7 after, P8 before; P8 was not scanned after."""
    uids = []
    for seed, (patient, day) in enumerate((("P7", "20260105"), ("P7", "20260112"), ("P8", "20260105"))):
        made = phantoms.write_series(
            tmp_path / "pigs" / str(seed), planes=4, rows=16, columns=12, seed=seed, patient_id=patient,
            patient_name=f"Pig^{patient}", study=f"{patient} {day}",
        )  # fmt: skip
        for path in made.paths:
            ds = pydicom.dcmread(path)
            ds.StudyDate, ds.PatientSpeciesDescription = day, "Sus scrofa"
            ds.save_as(path)
        uids.append(made.series_instance_uid)
    return uids


@pytest.fixture
def bench(any_bench: Bench) -> Bench:
    return any_bench


@pytest.fixture
def pig(bench: Bench, tmp_path: Path, pigs: list[str], table: Path) -> Experiment:
    bench.index(tmp_path / "pigs", quiet=True)
    return bench.experiment("pig-liver", table=table)


def test_an_experiment_shows_animals_by_time_points_and_names_what_is_missing(
    bench: Bench, pig: Experiment, pigs: list[str], table: Path
) -> None:
    assert pig.line() == "2 animals × 2 time points, 1 visit missing · 1 thing to look at: .problems"
    assert "missing: animal 8 after" in repr(pig)
    assert repr(bench.experiment("pig-liver")) == repr(pig)
    html = pig._repr_html_()
    assert "&lt;b&gt;graft" in html
    assert "<b>" not in html
    (lost,) = pig.missing
    assert (lost["animal"], lost["time_point"]) == (8, "after")
    assert lost["reason"] == "of 1 series with its patient_id none has its study_date"
    assert "1 visit missing" in repr(pig.missing)
    assert [each.row for each in pig.problems] == [5]
    assert [each.series_instance_uid for each in pig] == pigs
    assert pig.table.iloc[0].tolist() == ["7", "sham", "before", "P7", "5.1.2026", "30,5"]
    frame = pig.to_pandas()
    assert frame["weight"].tolist() == [30.5, 31.0, 28.0]
    assert set(frame["patient_species_description"]) == {"Sus scrofa"}
    assert "pig-liver" in repr(bench.experiments)


def test_a_visit_is_selected_as_a_volume_with_its_columns(pig: Experiment) -> None:
    volume = pig.sel(animal=7, time_point="after")
    assert volume.dims == ("z", "y", "x")
    assert volume.coords["arm"].item() == "sham"
    assert volume.coords["weight"].item() == 31.0
    assert volume.coords["patient_species_description"].item() == "Sus scrofa"
    assert pig.sel(subject="8", modality="CT").shape == (4, 16, 12)
    with pytest.raises(NotFoundError, match="2 series are as asked; add a column"):
        pig.sel(animal=7)
    with pytest.raises(QuestionError, match="no column 'anmal'; did you mean 'animal'"):
        pig.sel(anmal=7)
    with pytest.raises(NotFoundError, match="this visit is missing: of 1 series"):
        pig.sel(animal=8, time_point="after")
    with pytest.raises(NotFoundError, match="no time_point of the table is as asked; there are bef"):
        pig.sel(animal=8, time_point="later")
    with pytest.raises(NotFoundError, match="no animal of the table is as asked"):
        pig.sel(animal=70)


def test_an_experiment_opens_as_one_lazy_tree(bench: Bench, pig: Experiment, pigs: list[str]) -> None:
    left = pig.tree(ingest=False)
    assert "was not ingested; bench.ingest(experiment) does it" in left["sham/7/before"].attrs["reason"]
    assert not bench.arrays()
    tree = pig.tree()
    assert set(tree.children) == {"sham", "<b>graft"}
    node = tree["sham/7/after"]
    assert node.coords["time_point"].item() == "after"
    assert node["ct"].chunks is not None
    np.testing.assert_array_equal(node["ct"].values, bench.volume(pigs[1]).values)
    assert not tree["<b>graft/8/after"].data_vars
    assert "none has its study_date" in tree["<b>graft/8/after"].attrs["reason"]


def mean(volume: Any) -> list[dict[str, Any]]:
    return [{"name": "mean", "value": float(volume.mean()), "unit": "1"}]


def test_a_run_over_an_experiment_has_the_columns_of_its_table(
    tmp_path: Path, scheduler: str, pigs: list[str], table: Path
) -> None:
    with workbench.open(tmp_path / "bench", scheduler=scheduler) as bench:
        bench.index(tmp_path / "pigs", quiet=True)
        pig = bench.experiment("pig-liver", table)
        run = bench.run("threshold", pig, above=300, quiet=True)
        assert {each.series_instance_uid for each in run} == set(pigs)
        found = run.table
        assert set(found["animal"]) == {7, 8}
        assert set(found["time_point"]) == {"before", "after"}
        assert "run" in found
        cohort = bench.freeze("pigs-2026", pig)
        assert {each.series_instance_uid for each in cohort} == set(pigs)


def test_a_data_frame_and_parquet_are_tables_too(bench: Bench, tmp_path: Path, pigs: list[str]) -> None:
    bench.index(tmp_path / "pigs", quiet=True)
    frame = pd.DataFrame({
        "Tier": [7, 7, None, 8],
        "day": [0, 7, None, 0],
        "uid": [*pigs[:2], None, pigs[2]],
        "when": pd.to_datetime(["2026-01-05", None, None, "2026-01-05"]),
    })  # fmt: skip
    match = {"uid": "series_instance_uid", "day": "time_point"}
    pig = bench.experiment("a", frame, match=match)
    assert pig.arranged.subjects == (7, 8)
    assert pig.arranged.time_points == (0, 7)
    assert pig[0].values["when"] == "2026-01-05"
    assert [(each.subject, each.time_point) for each in pig.arranged.missing] == [(8, 7)]
    frame.to_parquet(tmp_path / "a.parquet")
    again = bench.experiment("b", tmp_path / "a.parquet", match=match)
    assert again.arranged == pig.arranged


@pytest.mark.parametrize("index", [["animal"], ["animal", "time point"]])
def test_what_is_in_a_named_index_is_a_column(index: list[str]) -> None:
    frame = pd.DataFrame({"animal": [7, 8], "time point": ["before", "after"], "patient_id": ["P7", "P8"]})
    sheet = read_sheet(frame.set_index(index))
    assert sheet.columns == tuple(frame.columns)
    assert sheet.rows == ((7, "before", "P7"), (8, "after", "P8"))


def test_only_the_named_levels_of_an_index_are_columns_and_none_is_lost() -> None:
    frame = pd.DataFrame({"animal": [7, 8], "patient_id": ["P7", "P8"]})
    assert read_sheet(frame.set_index(["animal", pd.Index([3, 4])])).columns == ("animal", "patient_id")
    with pytest.raises(SheetError, match="two columns 'animal'"):
        read_sheet(frame.set_index("animal", drop=False))


def test_levels_of_columns_are_joined_where_they_tell_columns_apart() -> None:
    frame = pd.DataFrame({"patient_id": ["P7", "P7"], "weight": [30, 32]})
    told = frame.groupby("patient_id").agg({"weight": ["mean", "max"]})
    assert read_sheet(told).columns == ("patient_id", "mean", "max")
    both = frame.groupby("patient_id", as_index=False).agg({"weight": ["mean", "max"]})
    assert read_sheet(both).columns == ("patient_id", "weight mean", "weight max")
    assert read_sheet(pd.concat({"pigs": frame}, axis=1)).columns == ("patient_id", "weight")


def test_what_is_no_table_is_a_sentence(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"animals\.csv is no file"):
        bench.experiment("a", "animals.csv")
    wrong = {
        "a.pdf": "none of .csv",
        "a.parquet": "cannot be read as Parquet",
        "a.csv": "the table is empty",
    }
    for name, words in wrong.items():
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(SheetError, match=words):
            bench.experiment("a", tmp_path / name)
    (tmp_path / "a.xlsx").write_bytes(b"PK")
    with pytest.raises(SheetError, match="Excel file"):
        bench.experiment("a", tmp_path / "a.xlsx")
    with pytest.raises(SheetError, match="not int"):
        bench.experiment("a", 7)  # type: ignore[arg-type]
    with pytest.raises(NotFoundError, match="no experiment 'a'; there is none yet"):
        bench.experiment("a")


def test_an_excel_file_without_openpyxl_says_what_to_install(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(tmp_path / "animals.xlsx", "w") as file:
        file.writestr("xl/workbook.xml", "<workbook/>")
    monkeypatch.setitem(sys.modules, "openpyxl", None)  # as where it is not installed

    with pytest.raises(SheetError, match=r"pip install openpyxl; or save the table as CSV"):
        bench.experiment("a", tmp_path / "animals.xlsx")


def test_an_excel_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = pd.DataFrame(
        {
            "Tier": [7, 8],
            "Arm": ["sham", None],
            "Datum": pd.to_datetime(["2026-01-31", None]),
            "kg": [31.5, 30.0],
        }
    )
    written.to_excel(tmp_path / "animals.xlsx", index=False)
    sheet = read_sheet(tmp_path / "animals.xlsx")
    assert (sheet.columns, sheet.numbers) == (("Tier", "Arm", "Datum", "kg"), (2, 3))
    assert sheet.rows == read_sheet(written).rows
    assert sheet.rows[1] == (8, None, None, 30.0)


def test_a_damaged_excel_file_is_a_sentence_whatever_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "animals.xlsx"
    pd.DataFrame({"animal": range(50), "arm": "sham"}).to_excel(path, index=False)
    sound, dice = path.read_bytes(), random.Random(5)
    refused = 0
    for _ in range(150):
        damaged = bytearray(sound[: dice.choice([len(sound), dice.randrange(len(sound))])])
        for _ in range(dice.randint(1, 20)):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        path.write_bytes(damaged)
        try:
            read_sheet(path)
        except SheetError as error:
            refused += 1
            assert "animals.xlsx" in str(error)  # noqa: PT017
    assert refused > 50


def test_an_excel_file_that_explodes_is_not_inflated(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.xlsx", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("xl/workbook.xml", bytes(MOST_INFLATED + 1))
    with pytest.raises(SheetError, match="MiB inflated"):
        read_sheet(tmp_path / "a.xlsx")


def workbench_command(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "workbench", *arguments, "--home", str(home)]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_command_line_records_an_experiment_and_says_what_is_missing(
    bench: Bench, pig: Experiment, table: Path, tmp_path: Path
) -> None:
    home = bench.settings.home
    done = workbench_command("experiment", "pig-2", "--table", str(table), "--json", home=home)
    said = json.loads(done.stdout)
    assert (done.returncode, said["subjects"], len(said["visits"])) == (0, [7, 8], 4)
    assert "1 visit missing" in workbench_command("experiment", "pig-liver", home=home).stdout
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("animal,pateint_id\n7,P7\n")
    done = workbench_command("experiment", "pig-3", "--table", str(wrong), home=home)
    assert done.returncode == 1
    assert "is 'pateint_id' patient_id?" in done.stderr
    more = ("--match", "pateint_id=patient_id")
    assert workbench_command("experiment", "pig-3", "--table", str(wrong), *more, home=home).returncode == 0
