"""The doctor: what it finds, what it removes, and what it leaves alone."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import workbench
from catalog import locks
from catalog.backup import back_up
from catalog.identifiers import folder_name
from pipelines import phantoms
from pipelines.store.places import at
from workbench.cli import app
from workbench.demo import start_node
from workbench.doctor import LEAST_FREE_BYTES, examine, has_codec, room
from workbench.pacs.posting import post
from workbench.session import Bench

NOW = datetime.now(UTC)


@pytest.fixture
def home(tmp_path: Path, ct: phantoms.Phantom) -> Path:
    """A bench with an array, outputs of a run, and a copy in the outbox; each named by a row."""
    with workbench.open(tmp_path / "bench") as bench:
        bench.index(ct.paths[0].parent, quiet=True)
        bench.ingest(quiet=True)
        post(bench.catalog, ct.paths[0], "PACS", outbox_folder=bench.settings.outbox_folder, now=NOW)
    return tmp_path / "bench"


def states(home: Path, **more: Any) -> dict[str, str]:
    """Subject to state, the worst where there are several."""
    order = ["fine", "note", "mend"]
    findings = sorted(examine(home, now=NOW, **more), key=lambda each: order.index(each.state))
    return {each.subject: each.state for each in findings}


def doctor(home: Path, *words: str) -> tuple[int, Any]:
    result = CliRunner().invoke(app, ["doctor", *words, "--json", "--home", str(home)])
    return result.exit_code, json.loads(result.stdout)


def test_a_bench_in_order_has_nothing_to_mend(home: Path) -> None:
    code, report = doctor(home)
    assert (code, report["healthy"], report["removed"]) == (0, True, [])
    assert {each["state"] for each in report["findings"]} <= {"fine", "note"}
    said = CliRunner().invoke(app, ["doctor", "--home", str(home)])
    assert said.stdout.endswith("nothing to be mended\n")
    assert "\\n" not in said.stdout


def test_where_there_is_no_bench_none_is_made(tmp_path: Path) -> None:
    code, report = doctor(tmp_path / "none" / "yet")
    assert code == 0
    assert "workbench index" in next(each["mend"] for each in report["findings"] if each["subject"] == "home")
    assert not (tmp_path / "none").exists()


def array_folder(home: Path) -> Path:
    (folder,) = (each for each in (home / "arrays").iterdir() if each.is_dir())
    return folder


def half_array(home: Path, _: Path) -> Path:
    return array_folder(home) / ".partial-0-0123456789abcdef"


def old_array(home: Path, _: Path) -> Path:
    return array_folder(home) / "0-0123456789abcdef"


def array_of_a_vanished_series(home: Path, _: Path) -> Path:
    return home / "arrays" / folder_name("1.2.3") / "0-0123456789abcdef"


def half_level(home: Path, _: Path) -> Path:
    (group,) = (each for each in array_folder(home).iterdir() if each.is_dir())
    return group / ".partial-level-1"


def outputs_of_no_run(home: Path, _: Path) -> Path:
    return home / "outputs" / ("0123abcd" * 4) / f"{folder_name('1.2.3')}-0"


def unqueued_copy(home: Path, _: Path) -> Path:
    return home / "outbox" / f"{'0123abcd' * 8}.dcm"


def half_copy(home: Path, _: Path) -> Path:
    return home / "outbox" / f"{'0123abcd' * 8}.dcm.0a1b2c3d.partial"


@pytest.mark.parametrize(
    "place",
    [
        half_array,
        half_level,
        old_array,
        array_of_a_vanished_series,
        outputs_of_no_run,
        unqueued_copy,
        half_copy,
    ],
)
def test_what_no_row_names_is_told_and_removed_on_request(
    home: Path, tmp_path: Path, place: Callable[[Path, Path], Path]
) -> None:
    before = tree(home)
    path = place(home, tmp_path)
    if path.parent == home / "outbox":
        path.write_bytes(bytes(1000))
    else:
        (path / "values").mkdir(parents=True)
        (path / "values" / "zarr.json").write_bytes(bytes(1000))
    code, report = doctor(home)
    assert (code, report["removed"]) == (1, [])
    (finding,) = (each for each in report["findings"] if each["state"] == "mend")
    assert "1,000 bytes" in finding["said"]
    assert finding["mend"] == "workbench doctor --repair"
    assert path.exists()
    code, report = doctor(home, "--repair")
    assert code == 0
    assert [(each["where"], each["bytes"]) for each in report["removed"]] == [(str(path), 1000)]
    assert tree(home) == before
    assert doctor(home)[0] == 0


def tree(home: Path) -> dict[str, bytes]:
    kept = (path for name in ("arrays", "outputs", "outbox") for path in (home / name).rglob("*"))
    return {str(path): path.read_bytes() for path in kept if path.is_file() and path.name != locks.LOCK}


def test_repair_leaves_what_it_does_not_know(home: Path) -> None:
    for path in (home / "arrays" / "mine", array_folder(home) / "notes.txt", home / "outbox" / "list.txt"):
        path.write_text("kept")
    before = tree(home)
    doctor(home, "--repair")
    assert tree(home) == before


def test_repair_keeps_the_outputs_of_every_run_on_record(bench: Bench, ct: phantoms.Phantom) -> None:
    from pipelines.steps.threshold import threshold

    bench.index(ct.paths[0].parent, quiet=True)
    run = bench.run(threshold, quiet=True, above=0)
    (bench.settings.outputs_folder / run.record.run / "another").mkdir()
    assert examine(bench.settings.home, now=NOW, repair=True).removed
    assert all(Path(each.path).exists() for each in run.outputs)
    assert bench.run(threshold, quiet=True, above=0).record.items[0].state == "reused"


@pytest.mark.parametrize(
    ("place", "holder"), [(old_array, "arrays"), (outputs_of_no_run, "outputs"), (half_copy, "outbox")]
)
def test_nothing_is_removed_where_somebody_is_at_work(
    home: Path, place: Callable[[Path, Path], Path], holder: str
) -> None:
    path = place(home, home)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"being written")
    with locks.shared(home / holder):
        diagnosis = examine(home, now=NOW, repair=True)
    assert (diagnosis.healthy, diagnosis.removed) == (True, ())
    assert any("at work" in each.said or "put into it" in each.said for each in diagnosis)
    assert path.exists()
    examine(home, now=NOW, repair=True)
    assert not path.exists()


AT_WORK = """
import sys
import workbench
from pipelines import ingest
write = ingest.arrays.write_attributes
def wait(*given):
    print("writing", flush=True)
    sys.stdin.readline()
    write(*given)
ingest.arrays.write_attributes = wait
with workbench.open(sys.argv[1]) as bench:
    bench.index(sys.argv[2], quiet=True)
    bench.ingest(quiet=True)
"""


def test_repair_does_not_disturb_an_ingest_of_another_process(home: Path, tmp_path: Path) -> None:
    archive = phantoms.write_series(tmp_path / "more", seed=5, series_number=9).paths[0].parent
    process = subprocess.Popen(
        [sys.executable, "-c", AT_WORK, str(home), str(archive)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": "."},
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    diagnosis = examine(home, now=NOW, repair=True)
    assert diagnosis.removed == ()
    process.communicate("go on\n")
    assert process.returncode == 0
    assert examine(home, now=NOW, repair=True).removed == ()
    with workbench.open(home) as bench:
        assert len(bench.arrays()) == 2
        assert not bench.verify(quiet=True).mismatches


def test_arrays_that_are_gone_are_told_and_ingest_brings_them_back(home: Path) -> None:
    shutil.rmtree(array_folder(home))
    code, report = doctor(home)
    assert code == 1
    (finding,) = (each for each in report["findings"] if each["state"] == "mend")
    command, subcommand, uid = finding["mend"].split()
    assert CliRunner().invoke(app, [subcommand, uid, "--home", str(home)]).exit_code == 0
    assert (command, doctor(home)[0]) == ("workbench", 0)


# --- S3 --------------------------------------------------------------------------------------------------


@pytest.fixture
def in_s3(tmp_path: Path, ct: phantoms.Phantom, s3_server: Any) -> Path:
    """A bench whose arrays lie in a bucket, by its settings file."""
    home = tmp_path / "bench"
    home.mkdir()
    prefix = f"{tmp_path.parent.name}/{tmp_path.name}"
    (home / "workbench.toml").write_text(
        f'arrays = "s3://bench/{prefix}"\narrays_endpoint = "{s3_server.endpoint}"\n'
        'arrays_region = "us-east-1"\n'
    )
    return home


def test_arrays_of_a_bench_may_lie_in_a_bucket(in_s3: Path, ct: phantoms.Phantom) -> None:
    with workbench.open(in_s3) as bench:
        bench.index(ct.paths[0].parent, quiet=True)
        volume = bench.volume(ct.series_instance_uid)
        assert (volume.to_numpy() == ct.modality_values).all()
        assert not bench.verify(quiet=True).mismatches
        (record,) = bench.arrays()
        assert record.path.startswith("s3://bench/")
        assert os.environ["AWS_SECRET_ACCESS_KEY"] not in (in_s3 / "catalog.sqlite").read_bytes().decode(
            "latin-1"
        )
    code, report = doctor(in_s3)
    assert (code, report["healthy"]) == (0, True)
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in json.dumps(report)


def test_leftovers_in_a_bucket_are_collected_when_they_are_a_day_old(
    in_s3: Path, ct: phantoms.Phantom
) -> None:
    with workbench.open(in_s3) as bench:
        bench.index(ct.paths[0].parent, quiet=True)
        bench.ingest(quiet=True)
        root = at(bench.settings.arrays_address)
        (record,) = bench.arrays()
    left = root / folder_name(ct.series_instance_uid) / "0-0123456789abcdef-01234567"
    left.write("values/zarr.json", bytes(1000))
    assert examine(in_s3, now=datetime.now(UTC), repair=True).removed == ()
    later = datetime.now(UTC) + timedelta(days=2)
    (removed,) = examine(in_s3, now=later, repair=True).removed
    assert (removed.where, removed.bytes) == (str(left), 1000)
    with workbench.open(in_s3) as bench:
        assert list(bench.arrays()) == [record]
        assert not bench.verify(quiet=True).mismatches


def test_arrays_that_another_bench_keeps_in_the_same_bucket_stay(
    in_s3: Path, ct: phantoms.Phantom, tmp_path: Path
) -> None:
    with workbench.open(in_s3) as bench:
        bench.index(ct.paths[0].parent, quiet=True)
        bench.ingest(quiet=True)
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(in_s3 / "workbench.toml", other)
    with workbench.open(other) as bench:
        bench.index(ct.paths[0].parent, quiet=True)
    diagnosis = examine(other, now=datetime.now(UTC) + timedelta(days=2), repair=True)
    assert diagnosis.removed == ()
    assert any("another bench" in each.said for each in diagnosis)
    with workbench.open(in_s3) as bench:
        assert not bench.verify(quiet=True).mismatches


def test_a_bucket_that_cannot_be_written_is_told(in_s3: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
    code, report = doctor(in_s3)
    assert code == 1
    (finding,) = (each for each in report["findings"] if each["subject"] == "arrays")
    assert "environment" in finding["said"]
    assert "wrong-secret" not in json.dumps(report)


# --- the rest --------------------------------------------------------------------------------------------


def test_settings_that_cannot_be_are_told(home: Path) -> None:
    (home / "workbench.toml").write_text("ae_title = 5")
    assert states(home)["settings"] == "mend"


def test_credentials_in_the_settings_are_refused_and_not_repeated(home: Path) -> None:
    (home / "workbench.toml").write_text(
        'arrays = "s3://bucket/arrays"\narrays_endpoint = "https://me:a-password@host"\n'
    )
    code, report = doctor(home)
    (finding,) = (each for each in report["findings"] if each["subject"] == "settings")
    assert (code, finding["state"]) == (1, "mend")
    assert "environment" in finding["said"]
    assert "a-password" not in json.dumps(report)


def test_a_damaged_catalog_is_told(home: Path) -> None:
    (home / "catalog.sqlite").write_bytes(b"no database at all" * 100)
    assert states(home)["catalog"] == "mend"


def test_a_node_is_asked_by_c_echo(home: Path) -> None:
    with workbench.open(home) as bench, start_node(bench) as pacs:
        (home / "workbench.toml").write_text(
            f'[nodes.PACS]\nae_title = "{pacs.node.ae_title}"\nhost = "127.0.0.1"\nport = {pacs.node.port}\n'
        )
        assert states(home)["node PACS"] == "fine"
    found = next(each for each in examine(home, now=NOW) if each.subject == "node PACS")
    assert found.state == "mend"
    assert "[nodes.PACS]" in found.mend


def test_a_scheduler_is_asked(home: Path, scheduler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_SCHEDULER", scheduler)
    assert states(home)["scheduler"] == "fine"
    monkeypatch.setenv("WORKBENCH_SCHEDULER", "tcp://127.0.0.1:1")
    assert states(home)["scheduler"] == "mend"


def test_a_disk_that_is_nearly_full_must_be_mended(tmp_path: Path) -> None:
    assert room(tmp_path, LEAST_FREE_BYTES).state == "fine"
    assert room(tmp_path, LEAST_FREE_BYTES - 1).state == "mend"


def test_a_codec_that_is_missing_is_noticed() -> None:
    assert has_codec("imagecodecs:jpegls_decode")
    assert not has_codec("imagecodecs:nothing_decode")
    assert not has_codec("nothing_at_all:decode")


def test_copies_of_the_catalog_are_told_and_stay_what_a_crash_left_of_them_goes(home: Path) -> None:
    database = home / "catalog.sqlite"
    kept = back_up(database, "0012", NOW)
    half = kept.with_name(f"{kept.name}.0a1b2c3d.partial")
    half.write_bytes(bytes(1000))

    code, report = doctor(home)
    (told,) = (each for each in report["findings"] if each["subject"] == "backup")
    assert (code, told["state"]) == (1, "note")
    assert told["said"].startswith(f"{kept}: schema 0012, as it was ")
    assert "to go back: end what uses the catalog" in told["mend"]
    assert half.exists()

    code, report = doctor(home, "--repair")
    assert code == 0
    assert [(each["where"], each["bytes"]) for each in report["removed"]] == [(str(half), 1000)]
    assert kept.exists()
