"""A byte that is flipped anywhere is found by reading again, and is not served silently."""

import gc
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from catalog.checks import Check, RottenWarning, Soundness, due_files, last_check, note
from catalog.database import Catalog
from catalog.errors import NotFoundError, QuestionError
from catalog.index import index_paths
from catalog.models import checks, files
from catalog.query import instances_of
from pipelines import phantoms
from workbench.cli import app
from workbench.doctor import examine
from workbench.scrub import Pace, Scrubbed, scrub
from workbench.session import Bench


class Time:
    """A clock that goes on only where somebody sleeps, or by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def clock(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds

    def now(self) -> datetime:
        self.seconds += 1e-3
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)


@pytest.fixture
def time() -> Time:
    return Time()


def flip(path: Path, at: int) -> None:
    """Alter one bit of a file as a disk does: its size and time stay."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 0x10]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def read_again(catalog: Catalog, time: Time, *, limit: int | None = None, rate: float = 1e15) -> Scrubbed:
    return scrub(catalog, pace=Pace(rate, time.clock, time.sleep), now=time.now, limit=limit)


def test_a_bit_flipped_anywhere_in_a_file_is_found(
    catalog: Catalog, ct: phantoms.Phantom, time: Time
) -> None:
    index_paths(catalog, [ct.paths[0].parent])
    first = read_again(catalog, time)
    assert (first.files, len(first), first.succeeded) == (8, 0, True)
    assert first.bytes == sum(path.stat().st_size for path in ct.paths)
    path = ct.paths[3]
    good, stat = path.read_bytes(), path.stat()
    pixels = instances_of(catalog, ct.series_instance_uid)[0].pixel_data
    assert pixels is not None
    places = [*sorted(random.Random(0).sample(range(len(good)), 60)), 0, pixels.offset, len(good) - 1]
    for at in places:
        flip(path, at)
        (found,) = read_again(catalog, time)
        assert (found.path, found.state) == (str(path), Soundness.ROT)
        if at >= pixels.offset:
            assert "pixel data" in found.reason
        flip(path, at)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert not len(read_again(catalog, time))


def test_a_header_is_held_against_the_index_the_first_time(
    catalog: Catalog, ct: phantoms.Phantom, time: Time
) -> None:
    index_paths(catalog, [ct.paths[0].parent])
    flip(ct.paths[2], 700)
    for _ in range(2):  # rotten bytes become no digest to compare with
        (found,) = read_again(catalog, time)
        assert (found.path, found.state) == (str(ct.paths[2]), Soundness.ROT)
        assert "header" in found.reason


def test_changed_vanished_and_unreadable_are_no_rot(
    catalog: Catalog, ct: phantoms.Phantom, time: Time
) -> None:
    index_paths(catalog, [ct.paths[0].parent])
    read_again(catalog, time)
    changed, vanished, folder = ct.paths[:3]
    changed.write_bytes(changed.read_bytes() + b"\0\0")
    vanished.unlink()
    folder.unlink()
    folder.mkdir()
    found = {each.path: each.state for each in read_again(catalog, time)}
    assert found[str(changed)] is Soundness.CHANGED
    assert found[str(vanished)] is Soundness.VANISHED
    assert found[str(folder)] in (Soundness.CHANGED, Soundness.UNREADABLE)
    assert len(found) == 3
    folder.rmdir()
    index_paths(catalog, [ct.paths[0].parent])
    assert not len(read_again(catalog, time))


def test_the_oldest_are_read_first_and_a_scrub_goes_on_where_it_stopped(
    catalog: Catalog, ct: phantoms.Phantom, time: Time
) -> None:
    index_paths(catalog, [ct.paths[0].parent])
    parts = [read_again(catalog, time, limit=3) for _ in range(4)]
    assert [each.files for each in parts] == [3, 3, 3, 3]
    assert [each.left > 0 for each in parts] == [True, True, True, True]
    with catalog.reading() as connection:
        checked = connection.scalars(sa.select(checks.c.checked).order_by(checks.c.file)).all()
        digests = connection.scalars(sa.select(files.c.content_digest)).all()
    assert [time for time in checked if time > checked[7]] == list(checked[:4])  # those went round again
    assert None not in digests
    (due,) = due_files(catalog, before=time.now(), at_most=20)
    assert len({each.file for each in due}) == 8


def test_each_file_is_due_once_in_whatever_portions(
    catalog: Catalog, ct: phantoms.Phantom, time: Time
) -> None:
    index_paths(catalog, [ct.paths[0].parent])
    read_again(catalog, time, limit=5)
    whole = [each for some in due_files(catalog, before=time.now(), at_most=100) for each in some]
    assert [Path(each.path) for each in whole] == [*ct.paths[5:], *ct.paths[:5]]
    for at_most in (1, 2, 3, 5):
        portions = list(due_files(catalog, before=time.now(), at_most=at_most))
        assert [each for some in portions for each in some] == whole
        assert max(map(len, portions)) <= at_most
    with catalog.transaction() as connection:  # as a catalog that was checked by many at one moment
        connection.execute(checks.update().values(checked=time.now()))
    again = [each for some in due_files(catalog, before=time.now(), at_most=2) for each in some]
    assert again == whole


@pytest.mark.parametrize("checked", [False, True])
def test_the_work_to_find_what_is_due_grows_with_the_files_and_no_faster(
    sqlite_catalog: Catalog, ct: phantoms.Phantom, time: Time, *, checked: bool
) -> None:
    index_paths(sqlite_catalog, [ct.paths[0].parent])
    steps = [_steps_of_a_scrub(sqlite_catalog, time, count, checked=checked) for count in (1000, 4000)]
    assert steps[1] < 6 * steps[0]


def _steps_of_a_scrub(catalog: Catalog, time: Time, count: int, *, checked: bool) -> int:
    """How many thousand instructions SQLite takes until the last of some files is on record."""
    ticks = [0]

    def tick() -> int:
        ticks[0] += 1
        return 0

    with catalog.transaction() as connection:
        connection.execute(checks.delete())
        row = connection.execute(sa.select(files).limit(1)).mappings().one()
        connection.execute(files.delete().where(files.c.name.like("copy-%")))
        rows = [{**row, "id": 1000 + at, "name": f"copy-{at}"} for at in range(count)]
        connection.execute(files.insert(), rows)
        if checked:
            old = [{"file": each["id"], "checked": time.now(), "state": "sound"} for each in rows]
            connection.execute(checks.insert(), old)
    listen = lambda connection, _: connection.set_progress_handler(tick, 1000)  # noqa: E731
    catalog.close()
    sa.event.listen(catalog.engine, "connect", listen)
    done = 0
    for some in due_files(catalog, before=time.now(), at_most=50):
        note(catalog, [Check(each.path, Soundness.SOUND, "", time.now(), each) for each in some])
        done += len(some)
    sa.event.remove(catalog.engine, "connect", listen)
    catalog.close()
    assert done == count + 8
    return ticks[0]


CODE = """
import sys
from catalog.database import Catalog
from workbench import scrub
scrub.BATCH = 3
catalog = Catalog(sys.argv[1])
def sleep(seconds):
    print(seconds, flush=True)
    sys.stdin.readline()
scrub.scrub(catalog, pace=scrub.Pace(1.0, lambda: 0.0, sleep))
"""


@pytest.mark.parametrize("files_read", [1, 4, 7])
def test_a_killed_scrub_loses_no_more_than_a_batch(
    catalog_url: str, ct: phantoms.Phantom, time: Time, files_read: int
) -> None:
    catalog = Catalog(catalog_url)
    index_paths(catalog, [ct.paths[0].parent])
    run = subprocess.Popen(
        [sys.executable, "-c", CODE, catalog_url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert run.stdin is not None
    assert run.stdout is not None
    with run.stdin, run.stdout:
        for _ in range(files_read):
            run.stdout.readline()
            run.stdin.write("\n")
            run.stdin.flush()
        run.stdout.readline()
        run.kill()
        assert run.wait(timeout=30) == -signal.SIGKILL
    with catalog.reading() as connection:
        noted = connection.scalar(sa.select(sa.func.count()).select_from(checks))
    assert noted == files_read // 3 * 3
    assert read_again(catalog, time, limit=8 - noted).files == 8 - noted
    assert not list(due_files(catalog, before=datetime(2000, 1, 1, tzinfo=UTC), at_most=1))
    catalog.close()


def test_it_keeps_to_its_rate_without_making_up_for_long_pauses(time: Time) -> None:
    pace = Pace(1e6, time.clock, time.sleep)
    for _ in range(10):
        pace.spend(1_000_000)
    assert time.seconds == pytest.approx(10, abs=0.01)
    time.seconds += 3600
    for _ in range(10):
        pace.spend(1_000_000)
    assert time.seconds == pytest.approx(3620, abs=0.2)


def test_what_is_sound_is_counted_and_not_kept(catalog: Catalog, ct: phantoms.Phantom, time: Time) -> None:
    index_paths(catalog, [ct.paths[0].parent])
    alive = []
    gc.collect()
    before = sum(isinstance(each, Check) for each in gc.get_objects())

    def look(_done: int, _total: int) -> None:
        alive.append(sum(isinstance(each, Check) for each in gc.get_objects()) - before)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workbench.scrub.BATCH", 2)
        pace = Pace(1e15, time.clock, time.sleep)
        report = scrub(catalog, pace=pace, now=time.now, progress=look)
    assert (report.files, len(report)) == (8, 0)
    assert max(alive) <= 2


def test_it_stops_after_its_hours(catalog: Catalog, ct: phantoms.Phantom, time: Time) -> None:
    index_paths(catalog, [ct.paths[0].parent])
    size = ct.paths[0].stat().st_size
    pace = Pace(size / 3600, time.clock, time.sleep)  # a file an hour
    report = scrub(catalog, pace=pace, now=time.now, hours=3.5)
    assert 3 <= report.files <= 5
    assert "the same command goes on" in report.line()


# --- arrays, and what is served --------------------------------------------------------------------------


def test_a_bit_flipped_anywhere_in_an_array_is_found(bench: Bench, ct: phantoms.Phantom, time: Time) -> None:
    bench.index(ct.paths[0].parent, quiet=True)
    bench.ingest(quiet=True)
    assert read_again(bench.catalog, time).arrays == 1
    (array,) = bench.arrays()
    for path in (each for each in sorted(Path(array.path).rglob("*")) if each.is_file()):
        for at in random.Random(1).sample(range(path.stat().st_size), 6):
            flip(path, at)
            (found,) = read_again(bench.catalog, time)
            assert (found.path, found.state) == (array.path, Soundness.ROT), (path, at)
            flip(path, at)
    assert not len(read_again(bench.catalog, time))


def test_pixels_that_rotted_after_ingest_and_before_the_first_scrub_are_found(
    bench: Bench, ct: phantoms.Phantom, time: Time
) -> None:
    bench.index(ct.paths[0].parent, quiet=True)
    bench.ingest(quiet=True)
    flip(ct.paths[0], ct.paths[0].stat().st_size - 100)
    for _ in range(2):
        (found,) = read_again(bench.catalog, time)
        assert found.state is Soundness.ROT
        assert str(ct.paths[0]) in found.reason


def test_an_array_written_anew_is_no_longer_rotten(bench: Bench, ct: phantoms.Phantom) -> None:
    bench.index(ct.paths[0].parent, quiet=True)
    bench.ingest(quiet=True)
    (array,) = bench.arrays()
    shard = next(each for each in Path(array.path).glob("values/c/**/*") if each.is_file())
    flip(shard, 20)
    report = bench.scrub(sleep=lambda _: None, quiet=True)
    assert not report.succeeded
    with pytest.warns(RottenWarning, match="stored values differ|cannot be read"):
        bench.volume(ct.series_instance_uid)
    bench.ingest(ct.series_instance_uid, anew=True, quiet=True)
    np.testing.assert_array_equal(bench.volume(ct.series_instance_uid).to_numpy(), ct.modality_values)


def test_a_coarser_level_warns_of_rot_once(bench: Bench, ct: phantoms.Phantom) -> None:
    bench.index(ct.paths[0].parent, quiet=True)
    bench.ingest(quiet=True)
    bench.scrub(sleep=lambda _: None, quiet=True)
    flip(ct.paths[1], ct.paths[1].stat().st_size - 10)
    bench.scrub(sleep=lambda _: None, quiet=True)
    with (
        pytest.warns(RottenWarning) as warned,
        pytest.raises(NotFoundError, match="levels up to 0"),  # it is small
    ):
        bench.level(ct.series_instance_uid, 1)
    assert [each.category for each in warned] == [RottenWarning]


def test_a_rotten_file_is_not_served_silently_until_it_is_good_again(
    any_bench: Bench, ct: phantoms.Phantom, tmp_path: Path
) -> None:
    bench, path = any_bench, ct.paths[4]
    shutil.copy2(path, tmp_path / "copy")
    bench.index(ct.paths[0].parent, quiet=True)
    bench.scrub(sleep=lambda _: None, quiet=True)
    flip(path, path.stat().st_size - 10)
    (found,) = bench.scrub(sleep=lambda _: None, quiet=True)
    assert "pixel data" in found.reason
    report = bench.ingest(quiet=True)
    (rejected,) = report.rejected
    assert "put back a copy" in rejected.reason
    assert str(path) in report.reasons()
    with pytest.warns(RottenWarning, match=path.name):
        bench.volume(ct.series_instance_uid)
    shutil.copy2(tmp_path / "copy", path)  # with its old time
    assert bench.scrub(ct.series_instance_uid, sleep=lambda _: None, quiet=True).succeeded
    np.testing.assert_array_equal(bench.volume(ct.series_instance_uid).to_numpy(), ct.modality_values)


def test_an_array_stays_when_its_file_rots_later(bench: Bench, ct: phantoms.Phantom) -> None:
    bench.index(ct.paths[0].parent, quiet=True)
    bench.ingest(quiet=True)
    bench.scrub(sleep=lambda _: None, quiet=True)
    flip(ct.paths[1], ct.paths[1].stat().st_size - 10)
    bench.scrub(sleep=lambda _: None, quiet=True)
    with pytest.warns(RottenWarning, match=ct.paths[1].name):
        volume = bench.volume(ct.series_instance_uid)
    np.testing.assert_array_equal(volume.to_numpy(), ct.modality_values)


def test_a_sound_copy_is_read_instead_of_a_rotten_one(bench: Bench, ct: phantoms.Phantom) -> None:
    folder = ct.paths[0].parent
    shutil.copytree(folder, folder.with_name("copy"))
    bench.index(folder, quiet=True)
    bench.index(folder.with_name("copy"), quiet=True)
    bench.scrub(sleep=lambda _: None, quiet=True)
    flip(ct.paths[5], ct.paths[5].stat().st_size - 10)
    assert not bench.scrub(sleep=lambda _: None, quiet=True).succeeded
    read = {Path(each.path) for each in instances_of(bench.catalog, ct.series_instance_uid)}
    assert read == {*ct.paths} - {ct.paths[5]} | {folder.with_name("copy") / ct.paths[5].name}
    np.testing.assert_array_equal(bench.volume(ct.series_instance_uid).to_numpy(), ct.modality_values)


def test_a_file_that_was_replaced_and_indexed_is_rotten_no_longer(bench: Bench, ct: phantoms.Phantom) -> None:
    good = ct.paths[4].read_bytes()
    bench.index(ct.paths[0].parent, quiet=True)
    bench.scrub(sleep=lambda _: None, quiet=True)
    flip(ct.paths[4], len(good) - 10)
    bench.scrub(sleep=lambda _: None, quiet=True)
    ct.paths[4].write_bytes(good)
    bench.index(ct.paths[0].parent, quiet=True)
    np.testing.assert_array_equal(bench.volume(ct.series_instance_uid).to_numpy(), ct.modality_values)


# --- the command line ------------------------------------------------------------------------------------


def test_the_command_exits_with_1_where_there_is_rot(tmp_path: Path, ct: phantoms.Phantom) -> None:
    home = ["--home", str(tmp_path / "bench")]
    run = CliRunner().invoke
    assert "nothing to read" in run(app, ["scrub", *home]).output
    run(app, ["index", str(ct.paths[0].parent), *home])
    assert "never read again" in run(app, ["doctor", *home]).output
    done = run(app, ["scrub", "--rate", "1000", *home])
    assert done.exit_code == 0, done.output
    assert "all sound" in done.output
    assert "nothing is known to be rotten" in run(app, ["doctor", *home]).output
    flip(ct.paths[0], 1000)
    done = run(app, ["scrub", "--rate", "1000", "--json", *home])
    assert done.exit_code == 1
    told = json.loads(done.output)
    assert [each["path"] for each in told["found"]] == [str(ct.paths[0])]
    assert (told["files"], told["bytes_left"]) == (8, 0)
    diagnosis = examine(tmp_path / "bench", now=datetime.now(UTC))
    assert any(each.subject == "scrub" and each.state == "mend" for each in diagnosis)


def test_a_rate_of_nothing_is_refused(bench: Bench) -> None:
    with pytest.raises(QuestionError, match="rate is a number above 0"):
        bench.scrub(rate=0)
    assert last_check(bench.catalog) is None
