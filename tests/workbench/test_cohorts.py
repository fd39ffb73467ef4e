"""Cohorts at work: frozen from a question, run while the approval lasts, taken elsewhere, read by DuckDB."""

import json
import os
import re
import subprocess
import sys
from dataclasses import astuple
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

import workbench
from catalog.cohorts import freeze
from catalog.errors import ApprovalError, CohortError, ExportError, NotFoundError
from catalog.records import CohortRecord, Question
from workbench.cohorts import Cohort
from workbench.session import Bench

TOMORROW = datetime.now(UTC).date() + timedelta(days=1)


def mean(volume: Any) -> Any:
    return float(volume.mean())


@pytest.fixture
def bench(any_bench: Bench) -> Bench:
    return any_bench


@pytest.fixture
def cohort(bench: Bench, archive: Path) -> Cohort:
    bench.index(archive, quiet=True)
    found = bench.series(modality="CT")
    return bench.freeze("lung-2026", found, approval="EK 2026/123", expires=TOMORROW)


def ended(bench: Bench) -> Cohort:
    """A cohort that was frozen years ago, under an approval that has ended since."""
    uids = [each.series_instance_uid for each in bench.series()]
    then, last_day = datetime(2020, 1, 1, tzinfo=UTC), date(2021, 12, 31)
    freeze(bench.catalog, "old", uids, approval="EK 2020/1", expires=last_day, now=then)
    return bench.cohort("old")


def test_a_cohort_keeps_its_question_and_shows_itself(bench: Bench, cohort: Cohort) -> None:
    assert cohort.question == Question(None, {"modality": "CT"})
    assert (len(cohort), cohort.instances, cohort.name) == (2, 16, "lung-2026")
    again = bench.cohort("lung-2026")
    assert again.record == cohort.record
    assert f"approval EK 2026/123 until {TOMORROW}" in repr(again)
    assert "2 series, 16 instances" in repr(again)
    html = again._repr_html_()
    assert "&lt;b&gt;one&lt;/b&gt;" in html
    assert "<b>" not in html
    assert "lung-2026" in repr(bench.cohorts)
    assert [each.name for each in bench.cohorts] == ["lung-2026"]
    assert "0 differences" in repr(cohort.diff())
    with pytest.raises(AttributeError, match="a cohort has no 'colour'"):
        _ = cohort.colour


def test_an_expression_everything_and_rows_can_be_frozen(bench: Bench, archive: Path) -> None:
    bench.index(archive, quiet=True)
    assert bench.freeze("mr", "Modality = 'MR'").question == Question("Modality = 'MR'", {})
    assert bench.freeze("all").question == Question()
    rows = bench.series()[:2]
    assert bench.freeze("two", rows).question is None
    assert len(bench.freeze("one", rows[0].series_instance_uid)) == 1
    with pytest.raises(CohortError, match="no series was found"):
        bench.freeze("none", "Modality = 'XA'")
    with pytest.raises(CohortError, match="never changed"):
        bench.freeze("two", rows)


@pytest.fixture
def on_cluster(tmp_path: Path, scheduler: str) -> Any:
    with workbench.open(tmp_path / "bench", scheduler=scheduler) as opened:
        yield opened


def test_a_cohort_is_run_and_its_series_are_opened(on_cluster: Bench, archive: Path) -> None:
    on_cluster.index(archive, quiet=True)
    cohort = on_cluster.freeze("ct", "Modality = 'CT'", approval="EK", expires=TOMORROW)
    assert on_cluster.volume(cohort[0]).shape == (8, 32, 24)
    run = on_cluster.run("threshold", cohort, above=300, quiet=True)
    uids = {each.series_instance_uid for each in run.record.items}
    assert uids == {each.series_instance_uid for each in cohort}
    assert len(on_cluster.run("threshold", cohort.series(), above=300, quiet=True).record.items) == 2


def test_nothing_is_run_or_opened_after_an_approval_has_ended_but_the_list_is_read(
    bench: Bench, archive: Path
) -> None:
    bench.index(archive, quiet=True)
    cohort = ended(bench)
    words = "the approval EK 2020/1 of cohort 'old' ended on 2021-12-31: its list can be read"
    for refused in (
        lambda: bench.run(mean, cohort, quiet=True),
        lambda: bench.run(mean, cohort.series(), quiet=True),
        lambda: bench.run(mean, list(cohort), quiet=True),
        lambda: bench.run(mean, (each for each in cohort), quiet=True),
        lambda: bench.ingest(cohort, quiet=True),
        lambda: bench.volume(cohort[0]),
        lambda: bench.pyramid(cohort[0]),
        lambda: bench.slide(cohort[0]),
        lambda: bench.structures(cohort[0]),
    ):
        with pytest.raises(ApprovalError, match=words):
            refused()
    assert not bench.arrays()
    assert len(cohort) == len(cohort.series()) == 3
    assert len(cohort.to_pandas()) == 24
    assert not cohort.diff()


def test_no_way_of_giving_rows_gets_past_an_approval(bench: Bench, archive: Path) -> None:
    bench.index(archive, quiet=True)
    cohort = ended(bench)
    plain = list(bench.series())
    for given in (
        list(cohort),
        tuple(cohort),
        set(cohort),
        dict.fromkeys(cohort),
        (each for each in cohort),
        filter(None, cohort),
        map(cohort.__getitem__, [2, 0]),
        [*cohort, *plain],  # each series twice, the last time outside the cohort
        iter([plain[0], cohort[0]]),
    ):
        with pytest.raises(ApprovalError, match="ended on 2021-12-31"):
            bench.ingest(given, quiet=True)
    assert not bench.arrays()
    assert len(bench.ingest((each for each in plain), quiet=True)) == 3


def test_a_series_by_its_uid_is_used_outside_the_cohort(bench: Bench, archive: Path) -> None:
    bench.index(archive, quiet=True)
    cohort = ended(bench)
    uid = cohort[0].series_instance_uid
    assert bench.volume(uid).sizes["z"] == 8
    with pytest.raises(ApprovalError, match="none of its rows opened"):
        bench.volume(cohort[0])


def test_a_cohort_that_is_no_longer_what_was_frozen_is_not_run(
    bench: Bench, cohort: Cohort, archive: Path
) -> None:
    next((archive / "a").iterdir()).unlink()
    bench.index(archive, quiet=True)
    with pytest.raises(CohortError, match=r"no longer what was frozen: 1 unreadable; cohort.diff\(\) lists"):
        bench.run(mean, cohort, quiet=True)
    found = cohort.diff()
    assert found.counts == {
        "missing": 0,
        "unreadable": 1,
        "changed": 0,
        "removed": 0,
        "added": 0,
        "deleted": 0,
    }
    assert "unreadable" in repr(found)
    assert "unreadable" in found._repr_html_()
    assert found.to_pandas()["state"].tolist() == ["unreadable"]


def test_duckdb_reads_the_parquet_file(cohort: Cohort, tmp_path: Path) -> None:
    path = cohort.to_parquet(tmp_path / "lung.parquet")
    rows = duckdb.sql(f"SELECT * FROM '{path}'").fetchall()
    assert rows == [astuple(each) for each in cohort.items()]
    assert all(each.content_digest and each.size for each in cohort.items())
    counted = duckdb.sql(
        f"SELECT series_instance_uid, count(*) FROM '{path}' GROUP BY 1 ORDER BY 1"
    ).fetchall()
    assert counted == [(each.series_instance_uid, 8) for each in cohort]
    told = dict(duckdb.sql(f"SELECT key, value FROM parquet_kv_metadata('{path}')").fetchall())
    assert told[b"workbench.approval"] == b"EK 2026/123"
    assert told[b"workbench.digest"] == cohort.digest.encode()
    with pytest.raises(ExportError, match="is there already"):
        cohort.to_parquet(path)
    cohort.to_parquet(path, overwrite=True)
    assert [each.name for each in tmp_path.glob("lung*")] == ["lung.parquet"]


def test_the_frame_has_a_row_an_instance_and_the_same_as_duckdb_gets(cohort: Cohort, tmp_path: Path) -> None:
    frame = cohort.to_pandas()
    names = ["series_instance_uid", "sop_instance_uid", "header_digest", "size", "content_digest"]
    assert frame.columns.tolist() == names
    assert frame.attrs["workbench.cohort"] == "lung-2026"
    path = cohort.to_parquet(tmp_path / "lung.parquet")
    assert frame.equals(duckdb.sql(f"SELECT * FROM '{path}'").df().astype(frame.dtypes.to_dict()))


def test_without_pyarrow_a_sentence_names_the_extra(
    cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ExportError, match=r"pip install 'imaging-workbench\[parquet\]'"):
        cohort.to_parquet(tmp_path / "lung.parquet")


def test_another_bench_takes_the_manifest_in(cohort: Cohort, tmp_path: Path, archive: Path) -> None:
    manifest = cohort.to_manifest(tmp_path / "lung.json")
    assert json.loads(manifest.read_text())["approval"] == "EK 2026/123"
    for word in ("Müller", "M\\u00fcller", "M1", "PHANTOM", "sphere"):
        assert word not in manifest.read_text()
    with pytest.raises(ExportError, match="is there already"):
        cohort.to_manifest(manifest)
    with workbench.open(tmp_path / "elsewhere") as other:
        taken = other.import_cohort(manifest)
        assert taken.record == cohort.record
        assert taken.resolve().counts["missing"] == 16
        assert "2 more cannot be read here" in repr(taken)
        with pytest.raises(CohortError, match="16 missing"):
            other.run(mean, taken, quiet=True)
        other.index(archive, quiet=True)
        assert not other.cohort("lung-2026").diff()
        assert len(other.cohort("lung-2026")) == 2


def test_files_that_are_no_manifest_are_sentences(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="is no file"):
        bench.import_cohort(tmp_path)
    for content in (b"\xff\xfe", b"\0" * 100, b"DICM", b"{}", b'"text"'):
        (tmp_path / "file").write_bytes(content)
        with pytest.raises(CohortError, match="no manifest of a cohort"):
            bench.import_cohort(tmp_path / "file")
    assert not bench.cohorts


def repaint(path: Path, *, later: int = 1) -> None:
    """Change a pixel under the same header."""
    before, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + later * 10**9))


def test_other_pixels_are_seen_by_diff_and_before_a_run(bench: Bench, cohort: Cohort, archive: Path) -> None:
    assert cohort.diff().line().endswith("as it was frozen · compared: 16 by whole file")
    assert "by whole files" in repr(cohort)
    repaint(next((archive / "a").iterdir()))
    bench.index(archive, quiet=True)
    with pytest.raises(CohortError, match=r"no longer what was frozen: 1 changed; cohort.diff\(\) lists"):
        bench.run(mean, cohort, quiet=True)
    (found,) = cohort.diff()
    assert found.reason == "its pixels, or what stands after them, are others, under the same header"


def test_a_cohort_frozen_by_headers_says_so_and_reads_everything_on_request(
    bench: Bench, archive: Path
) -> None:
    bench.index(archive, quiet=True)
    cohort = bench.freeze("quick", "Modality = 'CT'", whole_files=False)
    assert "by header" in repr(cohort)
    assert cohort.diff().as_json()["compared_by"] == {"whole_file": 0, "header": 16}
    assert "compared: 16 by header and size" in repr(cohort.diff())
    repaint(next((archive / "a").iterdir()), later=0)
    assert not cohort.diff(whole=True), "which bytes it had then nobody knows"
    assert bench.freeze("whole", "Modality = 'CT'").hashed == 16
    repaint(next((archive / "a").iterdir()), later=0)
    assert not bench.cohort("whole").diff()
    (found,) = bench.cohort("whole").diff(whole=True)
    assert found.state == "changed"


def test_what_is_no_longer_as_it_was_indexed_is_not_frozen(bench: Bench, archive: Path) -> None:
    bench.index(archive, quiet=True)
    path = next((archive / "a").iterdir())
    repaint(path)
    words = f"'x' is not frozen, as 1 of its files are not as they were indexed; the first is {path}: has"
    with pytest.raises(CohortError, match=re.escape(words)):
        bench.freeze("x")
    assert not bench.cohorts
    assert bench.freeze("x", whole_files=False).instances == 24


def test_another_bench_sees_other_pixels(cohort: Cohort, archive: Path, tmp_path: Path) -> None:
    manifest = cohort.to_manifest(tmp_path / "lung.json")
    repaint(next((archive / "a").iterdir()))
    with workbench.open(tmp_path / "elsewhere") as other:
        other.index(archive, quiet=True)
        found = other.import_cohort(manifest).resolve()
        assert found.counts["changed"] == len(found) == 1
        assert (found.by.whole_file, found.by.header) == (16, 0)


@pytest.mark.parametrize("piece", ["[],", "[", '"x', '{"a":', "1", '{"1":{},'])
def test_a_manifest_of_any_size_takes_bounded_memory(tmp_path: Path, piece: str) -> None:
    head = CohortRecord("x", None, "", None, datetime(2026, 1, 1, tzinfo=UTC), 1, 1, "0" * 64)
    from catalog.manifest import format_manifest

    start = b"".join(format_manifest(head, "", [])).decode().partition('"series": [')[0]
    with (tmp_path / "manifest").open("w") as file:
        file.write(start + '"series": [')
        for _ in range(120):
            file.write(piece * (2**20 // len(piece)))
    code = (
        "import resource, sys, workbench, catalog.manifest\n"
        "from catalog.errors import CohortError\n"
        "bench = workbench.open(sys.argv[1])\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n    bench.import_cohort(sys.argv[2])\n"
        "except CohortError as error:\n"
        "    sys.stdout.write(f'{error}|{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before}')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "bench", tmp_path / "manifest"],
        capture_output=True, text=True, check=True, cwd=Path(__file__).resolve().parents[2],
    )  # fmt: skip
    words, _, grown_kib = done.stdout.rpartition("|")
    assert words.startswith("no manifest of a cohort")
    assert int(grown_kib) < 300 * 1024


def test_the_command_line_freezes_lists_shows_compares_exports_and_imports(
    tmp_path: Path, archive: Path
) -> None:
    from typer.testing import CliRunner

    from workbench.cli import app

    def shell(*words: str | Path, home: str = "bench", code: int = 0) -> str:
        result = CliRunner().invoke(app, [*map(str, words), "--home", str(tmp_path / home)])
        assert result.exit_code == code, result.output
        return result.output

    shell("index", archive)
    made = json.loads(
        shell(
            "cohort", "freeze", "lung", "Modality=CT", "--where", "SliceThickness < 2", "--approval", "EK 1",
            "--expires", str(TOMORROW), "--json",
        )
    )  # fmt: skip
    assert (made["instances"], made["expires"], made["approval"]) == (8, str(TOMORROW), "EK 1")
    assert made["question"] == {"where": "SliceThickness < 2", "matching": {"Modality": "CT"}}
    assert json.loads(shell("cohort", "list", "--json"))[0]["digest"] == made["digest"]
    assert json.loads(shell("cohort", "show", "lung", "--json")) == made
    assert "approval EK 1" in shell("cohort", "show", "lung")
    assert json.loads(shell("cohort", "diff", "lung", "--json"))["differences"] == []
    assert "as it was frozen" in shell("cohort", "diff", "lung")
    assert "never changed" in shell("cohort", "freeze", "lung", code=1)
    assert "no cohort 'x'" in shell("cohort", "show", "x", code=1)
    assert "--manifest" in shell("cohort", "export", "lung", code=2)
    manifest, parquet = tmp_path / "lung.json", tmp_path / "lung.parquet"
    shell("cohort", "export", "lung", "--manifest", manifest, "--parquet", parquet)
    taken = json.loads(shell("cohort", "import", manifest, "--json", home="elsewhere"))
    assert (taken["cohort"], taken["missing"]) == ("lung", 8)
    assert "8 missing" in shell("cohort", "import", manifest, "--name", "copy", home="elsewhere")
    assert "8 missing" in shell(
        "run", "threshold", "--cohort", "lung", "-p", "above=1", home="elsewhere", code=1
    )
    assert "alone" in shell("run", "threshold", "--cohort", "lung", "--where", "Rows = 1", code=2)
