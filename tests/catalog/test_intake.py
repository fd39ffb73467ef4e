"""What is taken in is durable, told in the catalog, in exactly one state; a crash leaves nothing to mend."""

import errno
import os
import random
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pydicom
import pytest
import sqlalchemy as sa

from catalog import locks
from catalog.arrivals import NO_CLAIM, Arrival, Claim, Status, Taken, path_of, sweep
from catalog.checks import Check, Soundness, due_files, note
from catalog.database import Catalog
from catalog.durable import file_digest
from catalog.errors import CatalogError
from catalog.headers import read_header
from catalog.identifiers import digest
from catalog.incoming import STRIDE, Incoming
from catalog.index import index_paths
from catalog.intake import Intake
from catalog.query import find_instances
from catalog.records import Unreadable
from pipelines import phantoms


@pytest.fixture
def catalog(catalog_url: str) -> Iterator[Catalog]:
    opened = Catalog(catalog_url)
    yield opened
    opened.close()


@pytest.fixture
def intake(catalog: Catalog, tmp_path: Path) -> Iterator[Intake]:
    with Intake(catalog, tmp_path / "received") as opened:
        yield opened


@pytest.fixture
def objects(tmp_path: Path) -> list[bytes]:
    return [path.read_bytes() for path in phantoms.write_series(tmp_path / "ct", planes=5).paths]


def give(intake: Intake, content: bytes, claim: Claim = NO_CLAIM) -> Taken:
    with intake.incoming() as incoming:
        for at in range(0, len(content), 1000):
            incoming.write(content[at : at + 1000])
        return intake.take(incoming, claim)


def rows(catalog: Catalog) -> list[tuple[str, str, str]]:
    with catalog.reading() as connection:
        return [
            (os.path.join(row.folder, row.name), row.state, row.content_digest or "")  # noqa: PTH118
            for row in connection.execute(sa.text("SELECT folder, name, state, content_digest FROM files"))
        ]


def on_disk(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != locks.LOCK)


def changed(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


def test_P2_stored_bytes_are_those_that_came_and_their_digest_is_kept(
    intake: Intake, catalog: Catalog, objects: list[bytes]
) -> None:
    taken = [give(intake, content) for content in objects]
    assert {each.status for each in taken} == {Status.STORED}
    for each, content in zip(taken, objects, strict=True):
        assert Path(each.path).read_bytes() == content
        assert each.digest == digest(content)
    assert sorted(rows(catalog)) == sorted((each.path, "indexed", each.digest) for each in taken)
    assert on_disk(intake.folder) == sorted(Path(each.path) for each in taken)
    assert len({Path(each.path).parent for each in taken}) == 1, "a series lies together"


@pytest.mark.parametrize("size", [0, 1, STRIDE - 1, STRIDE, STRIDE + 1, 3 * STRIDE + 7])
def test_P2_the_digest_of_a_large_object_is_that_of_its_bytes(tmp_path: Path, size: int) -> None:
    content = random.Random(size).randbytes(size)
    incoming = Incoming(tmp_path, 0)
    for at in range(0, size, 130_001):
        incoming.write(content[at : at + 130_001])
    assert incoming.sync() == digest(content)
    assert incoming.path.read_bytes() == content
    incoming.discard()
    assert not list(tmp_path.iterdir())


def test_a_large_object_that_is_given_up_leaves_neither_a_file_nor_a_thread(tmp_path: Path) -> None:
    before = threading.active_count()
    incoming = Incoming(tmp_path, 0)
    for _ in range(3):
        incoming.write(bytes(STRIDE))
    assert threading.active_count() == before + 1
    incoming.discard()
    assert threading.active_count() == before
    assert not list(tmp_path.iterdir())


def test_P3_the_same_bytes_again_are_a_success_that_changes_nothing(
    intake: Intake, catalog: Catalog, objects: list[bytes]
) -> None:
    first = give(intake, objects[0])
    before = rows(catalog), on_disk(intake.folder)
    again = give(intake, objects[0])
    assert (again.status, again.path) == (Status.DUPLICATE, first.path)
    assert (rows(catalog), on_disk(intake.folder)) == before


@pytest.mark.parametrize("is_scrubbed", [False, True])
@pytest.mark.parametrize("is_cut", [False, True])
def test_P2_a_duplicate_of_a_file_that_has_rotted_is_stored_again_and_read_from_there(
    intake: Intake, catalog: Catalog, objects: list[bytes], is_scrubbed: bool, is_cut: bool
) -> None:
    first = Path(give(intake, objects[0]).path)
    before, rotten = first.stat(), objects[0][:-100] if is_cut else changed(objects[0])
    first.write_bytes(rotten)
    os.utime(first, ns=(before.st_atime_ns, before.st_mtime_ns))
    if is_scrubbed:
        (due,) = next(due_files(catalog, before=datetime.now(UTC), at_most=10))
        note(catalog, [Check(due.path, Soundness.ROT, "other bytes", datetime.now(UTC), due)])
    again = give(intake, objects[0])
    assert (again.status, again.digest) == (Status.STORED, digest(objects[0]))
    assert Path(again.path) != first
    assert Path(again.path).read_bytes() == objects[0]
    assert first.read_bytes() == rotten, "nothing is written over"
    (instance,) = find_instances(catalog)
    assert (str(instance.path), instance.rot) == (again.path, "")
    assert give(intake, objects[0]).status is Status.DUPLICATE
    assert len(rows(catalog)) == 2


def test_P3_a_duplicate_whose_file_is_gone_is_stored_again_and_read_from_there(
    intake: Intake, catalog: Catalog, objects: list[bytes]
) -> None:
    Path(give(intake, objects[0]).path).unlink()
    again = give(intake, objects[0])
    assert again.status is Status.STORED
    assert Path(again.path).read_bytes() == objects[0]
    (instance,) = find_instances(catalog)
    assert (str(instance.path), instance.rot) == (again.path, "")


def test_25_P3_other_bytes_under_a_known_UID_are_kept_beside_and_nothing_is_written_over(
    intake: Intake, catalog: Catalog, objects: list[bytes]
) -> None:
    first, other = give(intake, objects[0]), give(intake, changed(objects[0]))
    assert other.status is Status.CONFLICT
    assert "with other bytes" in other.reason
    assert Path(first.path).read_bytes() == objects[0]
    assert Path(other.path).read_bytes() == changed(objects[0])
    assert {state for _, state, _ in rows(catalog)} == {"indexed", "conflict"}
    assert give(intake, changed(objects[0])).status is Status.CONFLICT
    assert len(on_disk(intake.folder)) == 2, "the same conflict again is no third file"


@pytest.mark.parametrize(
    ("claim", "words"),
    [
        (Claim(sop_instance_uid="1.2.3"), "another SOP Instance UID"),
        (Claim(sop_class_uid="1.2.3"), "another SOP Class UID"),
    ],
)
def test_P3_what_is_not_what_it_was_said_to_be_is_quarantined(
    intake: Intake, catalog: Catalog, objects: list[bytes], claim: Claim, words: str
) -> None:
    taken = give(intake, objects[0], claim)
    assert taken.status is Status.QUARANTINED
    assert words in taken.reason
    assert Path(taken.path).read_bytes() == objects[0]
    assert [state for _, state, _ in rows(catalog)] == ["quarantined"]
    assert give(intake, objects[0], claim).path == taken.path
    assert index_paths(catalog, [intake.folder / "quarantine"]).unchanged == 1
    assert [state for _, state, _ in rows(catalog)] == ["quarantined"], "no index makes an answer of it"
    assert len(on_disk(intake.folder)) == 1


def test_P3_what_is_cut_is_never_stored_as_complete(intake: Intake, objects: list[bytes]) -> None:
    for length in (0, 3, 131, 200, 400, len(objects[0]) - 500, len(objects[0]) - 1):
        taken = give(intake, objects[0][:length])
        assert taken.status is Status.QUARANTINED, length
        assert taken.reason
    assert give(intake, objects[0]).status is Status.STORED, "the whole one is not held back by them"


@pytest.mark.parametrize("uid", ["../../etc/passwd", "/etc/passwd", "1.2/../../3", "..", "1" * 64])
def test_1_no_text_of_an_object_is_ever_part_of_a_path(
    intake: Intake, objects: list[bytes], tmp_path: Path, uid: str
) -> None:
    marked = tmp_path / "marked.dcm"
    (tmp_path / "marked.dcm").write_bytes(objects[0])
    ds = pydicom.dcmread(marked)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns of what it writes all the same
        ds.SeriesInstanceUID = ds.StudyInstanceUID = uid
        ds.PatientID = "../../secret"
        ds.save_as(marked)
    before = set(on_disk(tmp_path))
    taken = give(intake, marked.read_bytes())
    (new,) = set(on_disk(tmp_path)) - before
    assert Path(taken.path) == new
    assert new.is_relative_to(intake.folder)
    assert set("".join(new.relative_to(intake.folder).parts)) <= set("0123456789abcdef-.dcmquarantine")


def test_25_P3_twenty_threads_with_the_same_objects_leave_one_file_each(
    intake: Intake, catalog: Catalog, objects: list[bytes]
) -> None:
    with ThreadPoolExecutor(20) as threads:
        taken = list(threads.map(lambda content: give(intake, content), objects * 20))
    assert [each.status for each in taken].count(Status.STORED) == len(objects)
    assert {each.status for each in taken} == {Status.STORED, Status.DUPLICATE}
    assert len(on_disk(intake.folder)) == len(rows(catalog)) == len(objects)


def test_25_P3_two_processes_with_the_same_objects_lose_none(
    intake: Intake, catalog: Catalog, objects: list[bytes]
) -> None:
    with Intake(catalog, intake.folder) as other, ThreadPoolExecutor(8) as threads:
        doors = [intake, other] * len(objects) * 2
        taken = list(threads.map(give, doors, [each for each in objects for _ in range(4)]))
    assert {each.status for each in taken} <= {Status.STORED, Status.DUPLICATE}
    assert {file_digest(path) for path in on_disk(intake.folder)} == {digest(each) for each in objects}
    assert {path for path, _, _ in rows(catalog)} == {str(path) for path in on_disk(intake.folder)}


def test_P1_a_disk_that_is_nearly_full_is_told_before_it_is(
    catalog: Catalog, tmp_path: Path, objects: list[bytes]
) -> None:
    with Intake(catalog, tmp_path / "received", reserve=1 << 60) as intake:
        with pytest.raises(OSError, match="free") as raised:
            intake.begin()
        assert raised.value.errno == errno.ENOSPC
    assert on_disk(tmp_path / "received") == []


def test_P8_a_failed_commit_leaves_nothing_after_the_next_start(
    catalog: Catalog, tmp_path: Path, objects: list[bytes]
) -> None:
    with Intake(catalog, tmp_path / "received") as intake:
        with catalog.transaction() as connection:
            connection.execute(sa.text("ALTER TABLE files RENAME TO elsewhere"))
        with pytest.raises(CatalogError, match="cannot be"):
            give(intake, objects[0])
        with catalog.transaction() as connection:
            connection.execute(sa.text("ALTER TABLE elsewhere RENAME TO files"))
        taken = give(intake, objects[1])
        assert taken.status is Status.STORED
    with Intake(catalog, tmp_path / "received") as intake:
        assert [path for path, _, _ in rows(catalog)] == [taken.path]
        assert [str(path) for path in on_disk(intake.folder)] == [taken.path]


def test_P8_what_could_not_be_settled_is_tried_once_more_at_the_end(
    sqlite_catalog: Catalog, tmp_path: Path, objects: list[bytes]
) -> None:
    with Intake(sqlite_catalog, tmp_path / "received") as intake:
        with sqlite_catalog.transaction() as connection:
            connection.execute(sa.text("ALTER TABLE patients RENAME TO elsewhere"))
        assert give(intake, objects[0]).status is Status.STORED  # durable and noted, and no more for now
        assert [state for _, state, _ in rows(sqlite_catalog)] == ["received"]
        with sqlite_catalog.transaction() as connection:
            connection.execute(sa.text("ALTER TABLE elsewhere RENAME TO patients"))
    assert [state for _, state, _ in rows(sqlite_catalog)] == ["indexed"]
    assert len(on_disk(tmp_path / "received")) == 1


class TestSweep:
    """P8: what a crash left is finished or taken back by the next start."""

    @pytest.fixture
    def left(self, intake: Intake, objects: list[bytes]) -> Arrival:
        """An object whose process was killed when it was durable under `incoming`."""
        folder = intake.folder / "incoming" / "00"
        folder.mkdir()
        (temporary := folder / "aa.partial").write_bytes(objects[0])
        found, content = read_header(temporary), digest(objects[0])
        path = path_of(intake.folder, found, content, "aa")
        return Arrival(temporary, "aa", content, found, path)

    def swept(self, intake: Intake, catalog: Catalog) -> int:
        return len(sweep(catalog, intake.folder, intake._own))

    def test_a_file_without_a_place_goes(self, intake: Intake, catalog: Catalog, left: Arrival) -> None:
        assert self.swept(intake, catalog) == 0
        assert on_disk(intake.folder) == []
        assert not left.temporary.parent.exists()

    def test_a_file_that_has_its_place_and_no_row_goes(
        self, intake: Intake, catalog: Catalog, left: Arrival
    ) -> None:
        left.path.parent.mkdir(parents=True)
        os.link(left.temporary, left.path)
        assert self.swept(intake, catalog) == 0
        assert on_disk(intake.folder) == rows(catalog) == []

    @pytest.mark.parametrize("reason", ["", "is not what it was said to be"])
    def test_a_file_that_was_noted_is_settled_by_the_next_start(
        self, intake: Intake, catalog: Catalog, left: Arrival, reason: str
    ) -> None:
        if reason:
            left.found = Unreadable("", reason)
            left.path = path_of(intake.folder, left.found, left.digest, left.token)
        intake._place([left])
        intake._note([left])
        assert [state for _, state, _ in rows(catalog)] == ["received"]
        with Intake(catalog, intake.folder):
            pass
        assert [(path, state) for path, state, _ in rows(catalog)] == [
            (str(left.path), "quarantined" if reason else "indexed")
        ]
        assert on_disk(intake.folder) == [left.path]

    def test_a_duplicate_that_was_noted_goes_again(
        self, intake: Intake, catalog: Catalog, left: Arrival, objects: list[bytes]
    ) -> None:
        taken = give(intake, objects[0])
        intake._place([left])
        intake._note([left])
        with Intake(catalog, intake.folder):
            pass
        assert [(path, state) for path, state, _ in rows(catalog)] == [(taken.path, "indexed")]
        assert on_disk(intake.folder) == [Path(taken.path)]

    def test_a_file_that_was_settled_stays(
        self, intake: Intake, catalog: Catalog, left: Arrival, objects: list[bytes]
    ) -> None:
        taken = Path(give(intake, objects[0]).path)
        left.temporary.unlink()
        os.link(taken, left.temporary.with_name(f"{taken.stem.partition('-')[2]}.partial"))
        assert self.swept(intake, catalog) == 0
        assert on_disk(intake.folder) == [taken]

    def test_processes_at_work_are_left_alone(
        self, intake: Intake, catalog: Catalog, objects: list[bytes]
    ) -> None:
        with intake.incoming() as incoming:
            incoming.write(objects[0])
            assert self.swept(intake, catalog) == 0
            assert intake.take(incoming).status is Status.STORED


def test_P1_who_does_not_wait_for_the_end_is_told_when_the_object_is_noted(
    intake: Intake, catalog: Catalog, objects: list[bytes]
) -> None:
    with intake.incoming() as incoming:
        incoming.write(objects[0])
        assert intake.take(incoming, settled=False).status is Status.STORED
    assert [state for _, state, _ in rows(catalog)] in (["received"], ["indexed"])
    assert give(intake, objects[0]).status is Status.DUPLICATE
    assert [state for _, state, _ in rows(catalog)] == ["indexed"]


def test_what_was_received_is_found_unchanged_by_the_index(
    intake: Intake, catalog: Catalog, objects: list[bytes]
) -> None:
    for content in objects:
        give(intake, content)
    report = index_paths(catalog, [intake.folder])
    assert (report.unchanged, report.added, report.vanished) == (len(objects), 0, ())


def test_nothing_is_taken_in_after_the_end(catalog: Catalog, tmp_path: Path, objects: list[bytes]) -> None:
    intake = Intake(catalog, tmp_path / "received")
    with intake:
        incoming = intake.begin()
        incoming.write(objects[0])
    with pytest.raises(OSError, match="any more"):
        intake.take(incoming)
    assert on_disk(tmp_path / "received") == []
    assert all(thread.name != "intake" for thread in threading.enumerate())
