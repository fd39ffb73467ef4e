"""The command line as it is typed: JSON that stays stable, exit codes, sentences instead of tracebacks."""

import json
import os
import resource
import subprocess
import sys
import termios
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
from workbench.tables import SHOWN_ROWS


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


def test_a_host_that_is_not_known_is_a_reason_and_printed_whole(shell: Shell, ct: phantoms.Phantom) -> None:
    shell.home.mkdir()
    (shell.home / "workbench.toml").write_text(
        '[nodes.PACS]\nae_title = "GONE"\nhost = "pacs.invalid"\nport = 104\n'
    )
    said = shell("send", ct.paths[0], "--to", "PACS", code=1).stdout
    assert "PACS (GONE at pacs.invalid:104) cannot be looked up: " in said
    assert "; it is due again at " in said


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
        (["run", "threshold", "--series", "1.2.3"], "no series 1.2.3"),
        (["send", "1.2.3", "--to", "PACS"], "nodes.PACS"),
        (["receive"], "[nodes.NAME]"),
        (["receive", "--anyone-here", "--port", "99999"], "receive_port"),
        (["receive", "--anyone-here", "--ae", "A" * 17], "An AE title is 1 to 16"),
        (["receive", "--anyone-here", "--host", "0.0.0.0"], "needs TLS"),
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
    for content in (b"nodes = [", b"\xff"):
        (shell.home / "workbench.toml").write_bytes(content)
        assert "workbench.toml is no TOML" in shell("series", code=1).stderr


def test_every_command_has_help_with_an_example_and_json() -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    groups = [(name, each) for name, each in commands.items() if hasattr(each, "commands")]
    for name, group in groups:
        assert f"Example: workbench {name}" in group.help
        commands = {key: each for key, each in commands.items() if key != name}
        commands |= {f"{name} {each}": command for each, command in group.commands.items()}
    assert {name for name, _ in groups} == {"cohort"}
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


def test_a_folder_that_can_be_no_bench_is_a_sentence(shell: Shell, tmp_path: Path) -> None:
    shell.home.write_text("a file")
    assert "cannot be the folder of a bench: file exists" in shell("series", code=1).stderr
    assert "bench" in shell.json("series", code=1)["error"]


def test_every_row_is_printed_and_no_control_character(shell: Shell, tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    folder.mkdir()
    for each in range(SHOWN_ROWS + 5):
        header = phantoms.write_series(folder / str(each), planes=1, rows=2, columns=2, seed=each)
        header.paths[0].with_suffix(".txt").write_text("no DICOM")
    (folder / "red\x1b[31m\nline.txt").write_text("no DICOM")
    (folder / os.fsdecode(b"bytes\xff.txt")).write_text("no DICOM")
    shell("index", folder)
    listed = shell("series").stdout
    assert listed.count(" CT ") == SHOWN_ROWS + 5
    assert "not shown" not in listed
    reasons = shell("index", "--last").stdout
    assert len(reasons.splitlines()) == 1 + SHOWN_ROWS + 5 + 2
    assert r"red\x1b[31m\nline.txt: is no DICOM" in reasons
    assert r"bytes\udcff.txt: is no DICOM" in reasons
    paths = {each["path"] for each in shell.json("index", "--last")["rejected"]}
    assert str(folder / os.fsdecode(b"bytes\xff.txt")) in paths


def test_a_terminal_that_lacks_letters_is_no_end(shell: Shell, archive: Path) -> None:
    shell("index", archive)
    for encoding in ("ascii", "latin-1", "utf-8"):
        for words in (["series"], ["series", "--json"]):
            typed = subprocess.run(
                [sys.executable, "-m", "workbench", *words, "--home", shell.home],
                env=os.environ | {"PYTHONIOENCODING": f"{encoding}:strict"},
                capture_output=True,
                check=True,
            )
            assert b"M1" in typed.stdout
            assert words == ["series"] or json.loads(typed.stdout)[0]["patient_name"] == "Müller^Änne"


def test_an_attribute_given_twice_matches_either_value(shell: Shell, archive: Path) -> None:
    shell("index", archive)
    assert len(shell.json("series", "Modality=CT", "Modality=MR")) == 3
    assert len(shell.json("series", "Modality=MR", "Modality=PT")) == 1


def test_export_overwrites_a_file_only_when_it_is_told_to(
    shell: Shell, ct: phantoms.Phantom, tmp_path: Path
) -> None:
    shell("index", ct.paths[0].parent)
    shell("ingest", ct.series_instance_uid)
    target = tmp_path / "mine.nii"
    target.write_text("something else")
    sentence = shell("export", ct.series_instance_uid, "--nifti", target, code=1).stderr
    assert f"{target} is there already" in sentence
    assert target.read_text() == "something else"
    shell("export", ct.series_instance_uid, "--nifti", target, "--overwrite")
    assert target.read_bytes()[344:348] == b"n+1\0"
    assert list(tmp_path.glob(".*.nii")) == []


def test_export_refuses_a_name_that_is_no_nifti_file(shell: Shell, ct: phantoms.Phantom) -> None:
    shell("index", ct.paths[0].parent)
    for name in ("volume.foo", "."):
        sentence = shell("export", ct.series_instance_uid, "--nifti", name, code=1).stderr
        assert "a NIfTI file ends in .nii or .nii.gz" in sentence
    sentence = shell("export", ct.series_instance_uid, "--nifti", "/proc/x.nii", code=1).stderr
    assert sentence == "workbench: /proc/x.nii: no such file or directory\n"


def test_a_run_lists_its_objects_and_why_series_failed(shell: Shell, archive: Path, tmp_path: Path) -> None:
    shell("index", archive)
    run = shell.json("run", "threshold", "-p", "above=150", "--where", "Modality == 'CT'")
    said = shell("run", "threshold", "-p", "above=150", "--where", "Modality == 'CT'").stdout
    uids = [each["sop_instance_uid"] for each in run["outputs"] if each["sop_instance_uid"]]
    assert len(uids) == 4
    assert all(uid in said for uid in uids)
    step = tmp_path / "steps.py"
    reason = "a reason that is longer than any cell of a table on a terminal may be, and ends in a word"
    step.write_text(f"def ends(volume):\n    raise SystemExit({reason!r})\n")
    assert shell("run", f"{step}:ends", code=1).stdout.count(f"SystemExit: {reason} (line 2") == 3


def test_a_bar_is_shown_to_a_terminal_and_to_nothing_else(shell: Shell, archive: Path) -> None:
    words = [sys.executable, "-m", "workbench", "index", str(archive), "--home", str(shell.home)]
    logged = subprocess.run(words, capture_output=True, text=True, check=True)
    assert logged.stderr == ""
    parent, child = os.openpty()
    termios.tcsetwinsize(child, (24, 80))
    code = "import time; from workbench.progress import bar\nwith bar('look', 'files') as p:\n"
    code += "    p(1, 4); time.sleep(0.3); p(2, 4); p(4, 4)"
    subprocess.run([sys.executable, "-c", code], stderr=child, check=True)
    assert b"look" in os.read(parent, 10_000)
    os.close(child)
    os.close(parent)


def test_a_run_shows_what_was_measured(shell: Shell, ct: phantoms.Phantom) -> None:
    shell("index", ct.paths[0].parent)
    measured = shell.json("run", "statistics")["measurements"]
    assert {each["series_instance_uid"] for each in measured} == {ct.series_instance_uid}
    by_name = {each["name"]: each["value"] for each in measured}
    shown = shell("run", "statistics").stdout  # nothing is computed again, and all is shown again
    for name, value in by_name.items():
        (row,) = [line for line in shown.splitlines() if line.startswith(name)]
        assert f"{value:.5g}" in row
    assert f"{len(measured)} measurements" in shown


def test_what_a_step_prints_is_no_part_of_the_json(
    shell: Shell, ct: phantoms.Phantom, tmp_path: Path
) -> None:
    step = tmp_path / "steps.py"
    step.write_text("def talks(volume):\n    print('HELLO')\n    return 1\n")
    shell("index", ct.paths[0].parent)
    environment = {name: value for name, value in os.environ.items() if name != "WORKBENCH_SCHEDULER"}
    typed = subprocess.run(
        [sys.executable, "-m", "workbench", "run", f"{step}:talks", "--json", "--home", shell.home],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(typed.stdout)["succeeded"] == 1
    assert "HELLO" in typed.stderr


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [("NODES", "x", "nodes"), ("CATALOG", "mysql://x", "postgresql://"), ("THREADS", "0", "threads")],
)
def test_a_strange_environment_is_a_sentence(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, name: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv(f"WORKBENCH_{name}", value)
    assert sentence in shell("series", code=1).stderr


def test_output_that_cannot_be_written_is_a_sentence(shell: Shell, archive: Path) -> None:
    shell("index", archive)
    with Path("/dev/full").open("w") as full:
        typed = subprocess.run(
            [sys.executable, "-m", "workbench", "series", "--home", shell.home],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert typed.returncode == 1
    assert "no space left on device" in typed.stderr
    assert "Traceback" not in typed.stderr


def test_an_ingest_that_cannot_write_says_what_is_kept_and_goes_on_later(shell: Shell, archive: Path) -> None:
    phantoms.write_series(archive / "large", planes=4, rows=512, columns=512, noise=200)
    shell("index", archive)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))  # as on a disk that takes no more
    try:
        said = shell("ingest", "--all", code=1).stderr
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "mend that: what was done is kept, and the same command goes on from there" in said
    assert "Traceback" not in said
    assert shell.json("ingest", "--all")["rejected"] == []
    assert shell.json("verify", "--all")["mismatches"] == []
