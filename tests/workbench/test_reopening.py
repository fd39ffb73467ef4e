"""A series that nothing happened to opens without its instances being read; any other as if it were new."""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pydicom
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

import workbench
from catalog.arrays import arrays_of, record_arrays
from catalog.errors import QuestionError, WorkbenchError
from catalog.findings import find_findings
from catalog.models import arrays as arrays_table
from catalog.records import ArrayRecord, Finding, SeriesRecord
from pipelines import phantoms, samples, standing
from pipelines.samples import derived, moving, multi_frame, volumes
from pipelines.store import arrays
from workbench.bench import pixels
from workbench.session import Bench

type Found = tuple[Any, ...]


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Each time that the instances of a series are read, its UID; the reading is the real one."""
    found: list[str] = []
    real = pixels.instances_of

    def noted(catalog: Any, uid: str) -> Any:
        found.append(uid)
        return real(catalog, uid)

    monkeypatch.setattr(pixels, "instances_of", noted)
    return found


def ingested(bench: Bench, **how: Any) -> Found:
    """All that an ingest says, and leaves in the catalog."""
    report = bench.ingest(quiet=True, **how)
    return (
        sorted(report.records, key=lambda each: each.path),
        sorted(report.rejected, key=str),
        report.left,
        report.rotten,
        find_findings(bench.catalog),
        sorted(bench.arrays(), key=lambda each: each.path),
    )


def forget(bench: Bench) -> None:
    """As a catalog of an earlier release is: nothing is known of the state that arrays were made of."""
    with bench.catalog.transaction() as connection:
        connection.execute(arrays_table.update().values(series_digest=""))


def is_known(bench: Bench) -> bool:
    """Whether the next ingest need not read the instances of any series."""
    with bench.catalog.reading() as connection:
        digests = list(connection.scalars(sa.select(arrays_table.c.series_digest)))
    return bool(digests) and all(digests)


def same_as_slowly(bench: Bench, **how: Any) -> Found:
    """What an ingest says, which is what one says that has to read everything."""
    found = ingested(bench, **how)
    forget(bench)
    assert found == ingested(bench, **how)
    return found


def alter(path: Path, **values: object) -> None:
    ds = pydicom.dcmread(path)
    for name, value in values.items():
        setattr(ds, name, value)
    ds.save_as(path)


def flip(path: Path, at: int) -> None:
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_series_opens_again_without_its_instances_being_read(
    any_bench: Bench, ct: phantoms.Phantom, looked: list[str]
) -> None:
    bench = any_bench
    bench.index(ct.paths[0].parent, quiet=True)
    first = bench.volume(ct.series_instance_uid)
    assert looked == [ct.series_instance_uid]
    again = bench.volume(ct.series_instance_uid)
    assert len(looked) == 1
    assert first.identical(again)
    same_as_slowly(bench)


# --- what happens to a series ----------------------------------------------------------------------------


class Archive:
    """A series on disk, on a bench and in Zarr, for something to happen to."""

    def __init__(self, bench: Bench, folder: Path) -> None:
        self.bench, self.folder = bench, folder
        self.phantom = phantoms.write_series(folder / "a")
        self.index()
        ingested(bench)
        assert is_known(bench)

    @property
    def uid(self) -> str:
        return self.phantom.series_instance_uid

    @property
    def group(self) -> Path:
        return Path(arrays_of(self.bench.catalog, self.uid)[0].path)

    @property
    def files(self) -> list[Path]:
        return sorted((self.folder / "a").iterdir())

    def index(self) -> None:
        self.bench.index(self.folder, quiet=True)

    def nothing(self) -> None:
        pass

    def altered_metadata(self) -> None:
        path = self.group / "zarr.json"
        content = json.loads(path.read_text())
        content["attributes"]["imaging_workbench"]["affine_lps"][0][3] += 50
        path.write_text(json.dumps(content, indent=1))

    def altered_values_metadata(self) -> None:
        path = self.group / "values" / "zarr.json"
        path.write_text(path.read_text().replace('"z"', '"w"'))

    def altered_attributes(self) -> None:
        path = self.group / "dicom.json"
        path.write_text(path.read_text().replace("CT", "MR"))

    def lost_shard(self) -> None:
        self.shard.unlink()

    def cut_shard(self) -> None:
        os.truncate(self.shard, self.shard.stat().st_size - 1)

    @property
    def shard(self) -> Path:
        return next(each for each in sorted(self.group.glob("values/c/**/*")) if each.is_file())

    def lost_group(self) -> None:
        shutil.rmtree(self.group)

    def lost_folder(self) -> None:
        shutil.rmtree(self.group.parent)

    def levels(self) -> None:
        self.bench.pyramid(self.uid)

    def deleted_file(self) -> None:
        self.files[2].unlink()
        self.index()

    def unindexed_deletion(self) -> None:
        self.files[2].unlink()

    def changed_pixels(self) -> None:
        alter(self.files[3], PixelData=bytes(len(pydicom.dcmread(self.files[3]).PixelData)))
        self.index()

    def changed_place(self) -> None:
        alter(self.files[-1], ImagePositionPatient=[0, 0, 999])
        self.index()

    def changed_syntax(self) -> None:
        ds = pydicom.dcmread(self.files[0])
        if ds.file_meta.TransferSyntaxUID.is_compressed:
            ds.decompress(generate_instance_uid=False)
        else:
            ds.compress(pydicom.uid.RLELossless, generate_instance_uid=False)
        ds.save_as(self.files[0])
        self.index()

    def touched(self) -> None:
        os.utime(self.files[0], ns=(1, 1))
        self.index()

    def moved(self) -> None:
        self.files[1].rename(self.folder / "a" / "moved.dcm")
        self.index()

    def copied(self) -> None:
        shutil.copy(self.files[1], self.folder / "a" / "copy.dcm")
        self.index()

    def contradicted(self) -> None:
        shutil.copy(self.files[1], self.folder / "a" / "other.dcm")
        alter(self.folder / "a" / "other.dcm", SliceThickness="9")
        self.index()

    def another_plane(self) -> None:
        ds = pydicom.dcmread(self.files[0])
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
        ds.ImagePositionPatient = [float(each) for each in ds.ImagePositionPatient[:2]] + [-500.0]
        ds.save_as(self.folder / "a" / "one more.dcm")
        self.index()

    def without_pixels(self) -> None:
        ds = pydicom.dcmread(self.files[0])
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = "1.2.4"
        del ds.PixelData
        ds.save_as(self.folder / "a" / "empty.dcm")
        self.index()

    def corrected(self) -> None:
        self.bench.correct("PHANTOM", patient_name="Another^Name", why="a typing error")

    def deleted(self) -> None:
        self.bench.delete(self.uid, why="withdrawn")

    def deleted_and_restored(self) -> None:
        self.deleted()
        self.bench.restore(self.uid, why="a mistake")

    def rotten_file(self) -> None:
        flip(self.files[2], -1)  # in its last pixel
        self.bench.scrub(quiet=True)
        flip(self.files[3], -1)
        self.bench.scrub(quiet=True)

    def rotten_array(self) -> None:
        flip(self.shard, 20)
        self.bench.scrub(quiet=True)

    def older_release(self) -> None:
        """Which wrote another layout, and sorted by other code."""
        shutil.rmtree(self.group.parent)
        with pytest.MonkeyPatch.context() as earlier:
            earlier.setattr(arrays, "LAYOUT", arrays.LAYOUT - 1)
            earlier.setattr(standing, "_code_digest", lambda: "of an earlier release")
            ingested(self.bench)


CHANGES: Mapping[str, Callable[[Archive], None]] = {
    name: each
    for name, each in vars(Archive).items()
    if callable(each) and not name.startswith("_") and name != "index"
}
UNSEEN = {
    "nothing", "contradicted", "corrected", "deleted_and_restored", "levels", "rotten_array",
    "unindexed_deletion",
}  # fmt: skip
"""What alters neither what an array was made of nor whether it is whole."""


@pytest.mark.parametrize("change", sorted(CHANGES))
def test_whatever_happens_the_arrays_are_those_of_an_ingest_that_reads_everything(
    change: str, bench: Bench, tmp_path: Path, looked: list[str]
) -> None:
    archive = Archive(bench, tmp_path / "archive")
    CHANGES[change](archive)
    looked.clear()
    found = ingested(bench)
    is_read = bool(looked)
    assert is_read == (change not in UNSEEN | {"deleted"}), change  # a deleted series is not asked for
    forget(bench)
    assert found == ingested(bench)
    if change == "rotten_file":
        assert list(found[3]) == [archive.uid]
        assert not is_known(bench)
    if change == "rotten_array":
        assert found[3][archive.uid].startswith(str(archive.group))
    if change == "older_release":
        (record,) = found[0]
        assert arrays.read_block(record.path).input_digest == record.input_digest
    if change != "deleted":
        assert bench.verify(quiet=True).frames == sum(len(each) for each in map(_planes, found[0]))


def _planes(record: ArrayRecord) -> tuple[str, ...]:
    return arrays.read_block(record.path).planes.sop_instance_uids


@settings(max_examples=8)
@given(st.lists(st.sampled_from(sorted(CHANGES)), min_size=2, max_size=4))
def test_the_same_holds_of_one_thing_after_the_other(changes: list[str]) -> None:
    with TemporaryDirectory() as folder, workbench.open(Path(folder) / "bench") as bench:
        archive = Archive(bench, Path(folder) / "archive")
        for change in changes:
            try:
                CHANGES[change](archive)
            except (FileNotFoundError, IndexError, StopIteration, WorkbenchError):
                continue  # the one before left nothing that it could happen to
            same_as_slowly(bench)
            ingested(bench)


def test_arrays_are_looked_for_where_they_are_set_to_be(
    tmp_path: Path, ct: phantoms.Phantom, looked: list[str]
) -> None:
    home = tmp_path / "bench"
    with workbench.open(home) as bench:
        bench.index(ct.paths[0].parent, quiet=True)
        bench.ingest(quiet=True)
    (home / "workbench.toml").write_text(f'arrays = "{tmp_path / "elsewhere"}"\n')
    with workbench.open(home) as bench:
        (record,) = bench.ingest(quiet=True)
        assert record.path.startswith(str(tmp_path / "elsewhere"))
        assert len(looked) == 2
        same_as_slowly(bench)


def test_anew_is_anew(bench: Bench, ct: phantoms.Phantom) -> None:
    bench.index(ct.paths[0].parent, quiet=True)
    (before,) = bench.ingest(quiet=True)
    written = (Path(before.path) / "zarr.json").stat().st_ino
    assert tuple(bench.ingest(quiet=True)) == (before,)
    assert (Path(before.path) / "zarr.json").stat().st_ino == written
    assert tuple(bench.ingest(quiet=True, anew=True)) == (before,)
    assert (Path(before.path) / "zarr.json").stat().st_ino != written
    assert is_known(bench)


def test_series_of_every_kind_are_ingested_again_as_they_were(
    bench: Bench, tmp_path: Path, looked: list[str]
) -> None:
    bench.index(samples.write_samples(tmp_path / "samples"), quiet=True)
    for video, kind in (
        (None, "video"),
        ("chunks", "video frames"),
        (None, "video frames"),
        ("left", "video"),
    ):
        found = same_as_slowly(bench, video=video)
        assert {each.kind for each in found[0]} & {"video", "video frames"} == {kind}
    looked.clear()
    assert found == ingested(bench, video="left")
    assert 0 < len(looked) < len(bench.series())


def test_a_series_whose_files_tell_more_than_their_records_is_read_every_time(
    bench: Bench, tmp_path: Path
) -> None:
    """Frames of an enhanced object, and images at one place, are told apart by what stands in the files."""
    for write in (multi_frame.mr_enhanced, volumes.mr_dynamic, moving.fluoroscopy, derived.segmentation):
        folder = tmp_path / write.__name__
        folder.mkdir()
        write(folder)
    bench.index(tmp_path, quiet=True)
    assert len({each.series_instance_uid for each in bench.ingest(quiet=True)}) == 4
    with bench.catalog.reading() as connection:
        assert set(connection.scalars(sa.select(arrays_table.c.series_digest))) == {""}


# --- who else is at work ---------------------------------------------------------------------------------


def test_what_changes_while_a_series_is_ingested_is_seen_the_next_time(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for moment in ("instances_of", "record_arrays"):
        archive = Archive(bench, tmp_path / moment)
        real = getattr(pixels, moment)

        def meanwhile(*given: Any, archive: Archive = archive, real: Any = real, **further: Any) -> Any:
            monkeypatch.undo()
            archive.changed_place()
            return real(*given, **further)

        forget(bench)
        monkeypatch.setattr(pixels, moment, meanwhile)
        bench.ingest(quiet=True)
        same_as_slowly(bench)
        assert len(_planes(arrays_of(bench.catalog, archive.uid)[0])) in (7, 8)


def test_a_row_says_what_it_was_made_of_only_together_with_what_was_found(
    bench: Bench, ct: phantoms.Phantom
) -> None:
    bench.index(ct.paths[0].parent, quiet=True)
    (record,) = bench.ingest(quiet=True)
    forget(bench)
    impossible = Finding(ct.series_instance_uid, "no kind of these", "", 0)
    with pytest.raises(QuestionError):
        record_arrays(bench.catalog, ct.series_instance_uid, [], [impossible], series_digest="d")
    assert arrays_of(bench.catalog, ct.series_instance_uid) == [record]
    assert not is_known(bench)


def test_a_deleted_series_has_no_state(bench: Bench, tmp_path: Path, looked: list[str]) -> None:
    archive = Archive(bench, tmp_path / "archive")
    series: SeriesRecord = bench.series()[0]
    archive.deleted()
    looked.clear()
    assert not bench.ingest(series, quiet=True)
    assert looked == [archive.uid]
