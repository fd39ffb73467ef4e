"""The administrator puts right what the archive says; the log says who, and everything can be undone."""

import getpass
import json
import subprocess
import sys
from pathlib import Path

import pytest
import xarray as xr
from click.testing import Result
from typer.testing import CliRunner

from catalog.errors import CorrectionError, NotFoundError
from pipelines.samples.volumes import ct_tilted
from workbench.cli import app
from workbench.session import Bench


@pytest.fixture
def bench(any_bench: Bench) -> Bench:
    return any_bench


def test_corrections_say_who_and_why_and_can_be_undone(bench: Bench, archive: Path) -> None:
    bench.index(archive, quiet=True)
    made = bench.merge_patients("M1", "PHANTOM", why="one person")
    assert not bench.series(patient_id="M1")
    assert made.who == getpass.getuser()
    assert "one person" in repr(bench.corrections)
    assert bench.corrections[0].before["patient_id"] == "M1"
    undone = made.undo(why="two people")
    assert len(bench.series(patient_id="M1")) == 1
    undone.undo(why="one after all")
    assert not bench.series(patient_id="M1")
    assert [each.active for each in bench.corrections] == [True, False, True]
    assert "_undo" not in bench.corrections.to_pandas()
    moved = bench.correct("PHANTOM", why="typing error", patient_id="P-1")
    assert len(bench.series(patient_id="P-1")) == 3
    assert moved.kind == "correct"
    with pytest.raises(CorrectionError, match="needs its reason"):
        bench.delete(bench.series()[0].series_instance_uid, why="")


def test_a_deleted_series_is_in_no_answer_and_its_files_and_arrays_stay(bench: Bench, archive: Path) -> None:
    bench.index(archive, quiet=True)
    uid = bench.series(modality="MR")[0].series_instance_uid
    bench.ingest(uid, quiet=True)
    bench.delete(bench.series(modality="MR")[0], why="consent withdrawn")
    assert not bench.series(modality="MR")
    assert not bench.arrays()
    with pytest.raises(NotFoundError):
        bench.volume(uid)
    with pytest.raises(NotFoundError, match=f"workbench restore {uid}"):
        xr.open_dataset(uid, engine="workbench", home=bench.settings.home)
    bench.index(archive, quiet=True)
    assert not bench.series(modality="MR")
    bench.restore(uid, why="consent given")
    assert len(bench.arrays()) == 1
    assert "mr" in xr.open_dataset(uid, engine="workbench", home=bench.settings.home)
    assert not bench.verify(uid, quiet=True).mismatches


def test_what_is_wrong_with_a_deleted_series_is_not_told(bench: Bench, tmp_path: Path) -> None:
    (folder := tmp_path / "tilted").mkdir()
    ct_tilted(folder)
    bench.index(folder, quiet=True)
    bench.ingest(quiet=True)
    uid = bench.series()[0].series_instance_uid
    before = bench.findings().counts
    assert before
    bench.delete(uid, why="consent withdrawn")
    assert bench.findings().counts == {}
    bench.restore(uid, why="consent given")
    assert bench.findings().counts == before


def test_the_command_line_deletes_restores_and_lists(bench: Bench, archive: Path) -> None:
    bench.index(archive, quiet=True)
    uid = bench.series(modality="MR")[0].series_instance_uid

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", "workbench", *arguments, "--home", str(bench.settings.home)]
        return subprocess.run(words, capture_output=True, text=True)

    assert command("delete", uid, "--why", "test").returncode == 0
    assert not bench.series(modality="MR")
    assert "deleted already" in command("delete", uid, "--why", "test").stderr
    assert command("restore", uid, "--why", "test").returncode == 0
    said = json.loads(command("corrections", "--json").stdout)
    assert [(each["kind"], each["active"]) for each in said] == [("delete", False), ("undo", True)]
    assert command("corrections", "--undo", "2", "--why", "test").returncode == 0
    assert not bench.series(modality="MR")


def test_the_command_line_merges_moves_and_corrects(bench: Bench, archive: Path) -> None:
    bench.index(archive, quiet=True)
    study = bench.series(patient_id="M1")[0].study_instance_uid

    def command(*words: str) -> Result:
        return CliRunner().invoke(app, [*words, "--home", str(bench.settings.home)])

    def holding() -> list[str]:
        said = json.loads(command("corrections", "--json").stdout)
        return [each["kind"] for each in said if each["active"]]

    made = json.loads(command("merge", "M1", "PHANTOM", "--why", "one person", "--json").stdout)
    assert (made["kind"], made["why"], made["number"]) == ("merge", "one person", 1)
    assert not bench.series(patient_id="M1")
    assert command("corrections", "--undo", "1", "--why", "two people").exit_code == 0
    assert command("move", study, "PHANTOM", "--why", "wrong patient chosen").exit_code == 0
    assert not bench.series(patient_id="M1")
    words = ("PatientSex=F", "patient_name=Doe^Jane=")
    assert command("correct", "PHANTOM", *words, "--why", "typing error").exit_code == 0
    assert {each.patient_name for each in bench.series()} == {"Doe^Jane="}
    assert len(bench.series(where="PatientSex = 'F'")) == len(bench.series())
    assert holding() == ["undo", "move", "correct"]

    for wrong in (
        ("merge", "PHANTOM", "PHANTOM", "--why", "x"),
        ("merge", "nobody", "PHANTOM", "--why", "x"),
        ("move", "1.9", "PHANTOM", "--why", "x"),
        ("move", study, "PHANTOM", "--why", " "),
        ("correct", "PHANTOM", "Modality=MR", "--why", "x"),
        ("correct", "PHANTOM", "why=MR", "--why", "x"),
        ("correct", "PHANTOM", "PatientSex", "--why", "x"),
        ("correct", "PHANTOM", "PatientSex=F", "--why", "x"),
        ("merge", "M1", "PHANTOM"),
    ):
        refused = command(*wrong)
        assert refused.exit_code in (1, 2)
        assert refused.stderr
        assert "Traceback" not in refused.output
    assert holding() == ["undo", "move", "correct"]
