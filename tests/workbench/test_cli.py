"""The command line as it is typed: JSON that stays stable, exit codes, sentences instead of tracebacks."""

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from click.testing import Result
from typer.main import get_command
from typer.testing import CliRunner

from pipelines import phantoms
from workbench.cli import app


class Shell:
    """Types commands on one bench."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def __call__(self, *words: str | Path, code: int = 0) -> Result:
        result = CliRunner().invoke(app, [*map(str, words), "--home", str(self.home)])
        assert result.exit_code == code, result.output
        return result

    def json(self, *words: str | Path, code: int = 0) -> Any:
        return json.loads(self(*words, "--json", code=code).stdout)


@pytest.fixture
def shell(tmp_path: Path, scheduler: str, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.setenv("WORKBENCH_SCHEDULER", scheduler)
    return Shell(tmp_path / "bench")


def test_index_counts_every_file_and_the_second_time_says_that_nothing_changed(
    shell: Shell, archive: Path
) -> None:
    (archive / "notes.txt").write_text("no DICOM")
    first = shell.json("index", archive)
    assert (first["added"], first["updated"], first["unchanged"]) == (24, 0, 0)
    (rejected,) = first["rejected"]
    assert rejected["path"] == str(archive / "notes.txt")
    assert "DICOM" in rejected["reason"]
    second = shell.json("index", archive)
    assert (second["added"], second["updated"], second["unchanged"]) == (0, 0, 24)
    assert "nothing changed" in shell("index", archive).stdout
    assert "notes.txt: " in shell("index", "--last").stdout


def test_series_lists_what_matches(shell: Shell, archive: Path) -> None:
    shell("index", archive)
    assert {each["modality"] for each in shell.json("series")} == {"CT", "MR"}
    (found,) = shell.json("series", "Modality=CT", "--where", "SliceThickness < 2")
    assert found["series_description"] == "sphere two"
    assert found["instances"] == 8
    assert found["series_instance_uid"] in shell("series", "sphere", "two").stdout
    assert shell.json("series", "nothing like it") == []


def test_ingest_verify_and_export(shell: Shell, ct: phantoms.Phantom, tmp_path: Path) -> None:
    shell("index", ct.paths[0].parent)
    ingested = shell.json("ingest", ct.series_instance_uid)
    (array,) = ingested["arrays"]
    assert (array["kind"], array["shape"], ingested["rejected"]) == ("volume", [8, 32, 24], [])
    assert shell.json("verify", "--all") == {"frames": 8, "mismatches": []}
    shell("export", ct.series_instance_uid, "--nifti", tmp_path / "volume.nii.gz")
    image = nibabel.load(tmp_path / "volume.nii.gz")
    np.testing.assert_allclose(np.diag([-1, -1, 1, 1]) @ image.affine, ct.affine_lps, atol=1e-4)
    np.testing.assert_array_equal(np.asarray(image.dataobj).T, ct.modality_values)


def test_verify_fails_and_names_the_file_where_a_byte_has_changed(shell: Shell, ct: phantoms.Phantom) -> None:
    shell("index", ct.paths[0].parent)
    shell("ingest", "--all")
    content = bytearray(ct.paths[2].read_bytes())
    content[-100] ^= 0x10
    ct.paths[2].write_bytes(content)
    answer = shell.json("verify", "--all", code=1)
    assert {Path(each["path"]).name for each in answer["mismatches"]} == {"0002.dcm"}


def test_run_then_send_to_a_node_of_the_settings(shell: Shell, ct: phantoms.Phantom, tmp_path: Path) -> None:
    from workbench.pacs.embedded import start

    shell("index", ct.paths[0].parent)
    run = shell.json("run", "threshold", "--where", "Modality == 'CT'", "-p", "above=150")
    assert (run["succeeded"], run["failed"]) == (1, [])
    objects = [each["sop_instance_uid"] for each in run["outputs"] if each["sop_instance_uid"]]
    assert len(objects) == 2
    with start(tmp_path / "pacs", ae_title="ARCHIVE") as pacs:
        (shell.home / "workbench.toml").write_text(
            f'[nodes.PACS]\nae_title = "ARCHIVE"\nhost = "127.0.0.1"\nport = {pacs.node.port}\n'
        )
        sent = shell.json("send", *objects, "--to", "PACS")
    assert {each["state"] for each in sent["deliveries"]} == {"confirmed"}
    assert [each["sop_instance_uid"] for each in sent["deliveries"]] == objects
    assert {each["reason"] for each in sent["deliveries"]} == {""}


def test_send_to_a_node_that_is_down_fails_and_keeps_the_object(shell: Shell, ct: phantoms.Phantom) -> None:
    shell.home.mkdir()
    (shell.home / "workbench.toml").write_text(
        '[nodes.PACS]\nae_title = "GONE"\nhost = "127.0.0.1"\nport = 1\nconnection_seconds = 1\n'
    )
    answer = shell.json("send", ct.paths[0], "--to", "PACS", code=1)
    (delivery,) = answer["deliveries"]
    assert delivery["state"] == "queued"
    assert "GONE" in delivery["reason"] or "PACS" in delivery["reason"]


def test_a_failing_series_is_listed_and_the_exit_code_says_so(
    shell: Shell, archive: Path, tmp_path: Path
) -> None:
    step = tmp_path / "steps.py"
    step.write_text(
        "def fragile(volume):\n"
        "    if volume.attrs['modality'] == 'MR':\n"
        "        raise ValueError('no HU in an MR')\n"
        "    return {'maximum': float(volume.max())}\n"
    )
    shell("index", archive)
    answer = shell.json("run", f"{step}:fragile", code=1)
    assert answer["succeeded"] == 2
    (failed,) = answer["failed"]
    assert "no HU in an MR" in failed["reason"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["index", "nowhere"], "nowhere"),
        (["index", "--last"], "nothing was indexed yet"),
        (["series", "--where", "SliceThicknes < 1"], "SliceThickness"),
        (["series", "--where", "SliceThickness <"], "where expression"),
        (["ingest", "1.2.3"], "1.2.3"),
        (["export", "1.2.3", "--nifti", "x.nii"], "1.2.3"),
        (["run", "treshold"], "threshold"),
        (["send", "1.2.3", "--to", "PACS"], "nodes.PACS"),
    ],
)
def test_a_mistake_is_a_sentence_and_not_a_traceback(shell: Shell, words: list[str], sentence: str) -> None:
    result = shell(*words, code=1)
    assert result.stderr.startswith("workbench: ")
    assert sentence in result.stderr
    assert isinstance(result.exception, SystemExit)


def test_broken_settings_are_a_sentence(shell: Shell) -> None:
    shell.home.mkdir()
    (shell.home / "workbench.toml").write_text("[nodes.PACS]\nae_title = 'X'\nhost = 'h'\nport = 99999\n")
    assert "port" in shell("series", code=1).stderr
    (shell.home / "workbench.toml").write_text("nodes = [")
    assert "workbench.toml" in shell("series", code=1).stderr


def test_every_command_has_help_with_an_example_and_json() -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    assert set(commands) >= {"demo", "index", "series", "ingest", "verify", "export", "run", "send", "lab"}
    for name, command in commands.items():
        assert f"Example: workbench {name}" in command.help, name
        options = {option for parameter in command.params for option in parameter.opts}
        assert "--home" in options, name
        assert name == "lab" or "--json" in options, name


def test_every_command_is_in_the_readme() -> None:
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text()
    for name in get_command(app).commands:  # type: ignore[attr-defined]
        assert f"workbench {name}" in readme or f"make {name}" in readme, name


def test_no_patient_data_is_printed_by_errors_or_reports(shell: Shell, tmp_path: Path) -> None:
    phantom = phantoms.write_series(tmp_path / "archive", patient_name="Geheim^Gerda", patient_id="PID-4711")
    content = phantom.paths[0].read_bytes()
    phantom.paths[0].write_bytes(content[:-100])
    (tmp_path / "archive" / "cut.dcm").write_bytes(content[:700])
    said = [
        shell("index", tmp_path / "archive"),
        shell("index", "--last"),
        shell("ingest", "--all"),
        shell("verify", "--all"),
        shell("run", "threshold", "-p", "above=5000"),
        shell("run", "threshold", "-p", "over=1", code=1),
    ]
    for result in said:
        assert "Geheim" not in result.output
        assert "4711" not in result.output
