"""What is wrong with a series is a row that can be asked for, and goes when it is mended."""

import json
from importlib import import_module
from pathlib import Path

import pydicom
import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from catalog.database import Catalog
from catalog.errors import QuestionError
from catalog.findings import find_findings
from catalog.models import findings
from catalog.query import contents
from pipelines import phantoms
from workbench.cli import app
from workbench.session import Bench


def uids(bench: Bench, where: str) -> list[str]:
    return [each.series_instance_uid for each in bench.series(where)]


def alter(path: Path, **values: object) -> None:
    ds = pydicom.dcmread(path)
    for name, value in values.items():
        setattr(ds, name, value)
    ds.save_as(path)


def move(path: Path, *, x: float = 0.0, z: float = 0.0) -> None:
    ds = pydicom.dcmread(path)
    position = [float(each) for each in ds.ImagePositionPatient]
    alter(path, ImagePositionPatient=[position[0] + x, position[1], position[2] + z])


def test_what_has_no_pixels_is_not_unchecked(any_bench: Bench, tmp_path: Path, shared_data: Path) -> None:
    bench = any_bench
    objects = [shared_data / "objects" / kind for kind in ("sr", "pdf", "presentation_state", "waveform")]
    plain = phantoms.write_series(tmp_path / "archive")
    bench.index(*objects, tmp_path / "archive", quiet=True)
    kinds = {each.modality for each in bench.series("finding != 'missing_slices'")}
    assert {"SR", "PR"} <= kinds
    assert not {"CT", "ECG", "HD"} & kinds
    unchecked = bench.series("finding == 'unchecked'")
    assert plain.series_instance_uid in {each.series_instance_uid for each in unchecked}
    assert not kinds & {each.modality for each in unchecked}
    bench.ingest(quiet=True)
    assert not bench.series("finding == 'unchecked'")
    assert len(bench.series("finding != 'missing_slices'")) == bench.count()


def test_series_with_missing_slices_are_excluded_until_they_are_there(
    any_bench: Bench, tmp_path: Path
) -> None:
    bench, archive = any_bench, tmp_path / "archive"
    whole = phantoms.write_series(archive / "a", seed=1)
    holed = phantoms.write_series(archive / "b", planes=10, seed=2, series_number=2)
    away = {each: each.read_bytes() for each in (holed.paths[3], holed.paths[6], holed.paths[7])}
    for path in away:
        path.unlink()
    bench.index(archive, quiet=True)
    for where in (
        "finding != 'missing_slices'", "finding == 'missing_slices'", "not finding ~ 'SLICES'",
        "finding is empty",
        "finding not in ('tilt', 'deviation')", "finding != 'unchecked'", "finding is present",
    ):  # fmt: skip
        assert not bench.series(where), where  # nobody has looked yet
    assert len(bench.series("finding == 'unchecked' and finding != 'deviation'")) == 2
    assert len(bench.series("finding == 'unchecked' or finding != 'missing_slices'")) == 2
    assert "finding == 'unchecked'" in repr(bench.series("finding is empty"))
    assert "16 levels of sequences" in repr(bench.series("ImageComments ~ 'x'"))
    assert "sequences" not in repr(bench.series("SliceThickness > 0 and finding == 'unchecked'"))
    bench.ingest(quiet=True)
    assert not bench.series("finding == 'unchecked'")
    (found,) = bench.findings(kind="missing_slices")
    assert found.series_instance_uid == holed.series_instance_uid
    assert found.words == "3 of 10 slices 2.50 mm apart: 1 after plane 2, 2 after plane 4"
    for where in (
        "finding != 'missing_slices'",
        "not finding ~ 'SLICES'",
        "finding not in ('missing_slices')",
        "finding is empty",
        "not finding is present",
    ):
        assert uids(bench, where) == [whole.series_instance_uid]
    for where in (
        "finding == 'missing_slices'",
        "finding ~ '2.50 mm'",
        "finding is present and Modality = 'CT'",
    ):
        assert uids(bench, where) == [holed.series_instance_uid], where
    bench.ingest(quiet=True)
    assert len(bench.findings()) == 1
    for path, content in away.items():
        path.write_bytes(content)
    bench.index(archive, quiet=True)
    bench.ingest(quiet=True)
    assert not len(bench.findings())


@pytest.mark.parametrize(
    ("kind", "moves"),
    [
        ("unequal_spacing", {3: {"z": 0.4}, 5: {"z": -0.7}}),
        ("tilt", {number: {"x": number * 0.5} for number in range(8)}),
        ("duplicate_planes", {4: {"z": -2.5}}),
    ],
)
def test_each_fault_of_geometry_has_its_kind(
    bench: Bench, ct: phantoms.Phantom, kind: str, moves: dict[int, dict[str, float]]
) -> None:
    for number, by in moves.items():
        move(ct.paths[number], **by)
    bench.index(ct.paths[0].parent, quiet=True)
    bench.ingest(quiet=True)
    assert kind in bench.findings(ct.series_instance_uid).counts
    assert len(bench.series(f"finding == '{kind}'")) == 1


def test_copies_are_duplicate_planes_and_nothing_is_missing(bench: Bench, tmp_path: Path) -> None:
    sound = phantoms.write_series(tmp_path / "archive", planes=20)
    for number in (2, 5, 6, 14):  # gaps of three, one and eight slices
        ds = pydicom.dcmread(sound.paths[number])
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.99.{number}"
        ds.save_as(tmp_path / "archive" / f"again {number}.dcm")
    bench.index(tmp_path / "archive", quiet=True)
    bench.ingest(quiet=True)
    (found,) = bench.findings()
    assert (found.kind, found.part) == ("duplicate_planes", 1)
    assert found.words.startswith("second images of planes that the volume has already")


def test_a_sound_series_has_no_findings(bench: Bench, archive: Path) -> None:
    bench.index(archive, quiet=True)
    bench.ingest(quiet=True)
    assert not len(bench.findings())


def test_deviations_are_rows_that_follow_the_file(any_bench: Bench, ct: phantoms.Phantom) -> None:
    bench, path = any_bench, ct.paths[2]
    good = path.read_bytes()
    ds = pydicom.dcmread(path)
    ds.PatientID, ds.PatientName = "ANOTHER", "Another"
    ds.save_as(path)
    bench.index(ct.paths[0].parent, quiet=True)
    assert bench.findings().counts == {"several_patients": 1}
    (found,) = bench.findings()
    assert found.sop_instance_uid == ds.SOPInstanceUID
    bench.index(ct.paths[0].parent, quiet=True)
    assert len(bench.findings()) == 1
    path.write_bytes(good)
    bench.index(ct.paths[0].parent, quiet=True)
    assert not len(bench.findings())


def with_private(path: Path, creator: str, *, nested: bool = False) -> None:
    ds = pydicom.dcmread(path)
    item = pydicom.Dataset() if nested else ds
    item.private_block(0x0029, creator, create=True).add_new(0x10, "LO", "value")
    if nested:
        ds.RequestAttributesSequence = [item]
    ds.save_as(path)


def test_a_private_creator_that_no_dictionary_knows_is_a_row_of_its_series(
    any_bench: Bench, tmp_path: Path
) -> None:
    bench, archive = any_bench, tmp_path / "archive"
    known = phantoms.write_series(archive / "a", planes=3)
    strange = phantoms.write_series(archive / "b", planes=3, seed=2, series_number=2)
    late = phantoms.write_series(archive / "c", planes=3, seed=3, series_number=3)
    for path in known.paths:
        with_private(path, "SIEMENS CSA HEADER")
        with_private(path, "Image Private Header")
    for path in strange.paths:
        with_private(path, "Dr. O'Neill's \"scanner\"")
    with_private(late.paths[2], "OF THE LAST", nested=True)
    bench.index(archive, quiet=True)
    assert bench.findings().counts == {"unknown_private": 2}
    assert uids(bench, "finding == 'unknown_private' and SeriesNumber = 3") == [late.series_instance_uid]
    assert uids(bench, "finding != 'unknown_private'") == [known.series_instance_uid]
    (found,) = bench.findings(strange.series_instance_uid)
    assert found.words == "private elements of 'Dr. O\\'Neill\\'s \"scanner\"', whom no dictionary knows"
    for path in strange.paths[:2]:
        alter(path, SeriesDescription="written again")
    bench.index(archive, quiet=True)
    assert bench.findings().counts == {"unknown_private": 2}
    for path in (*strange.paths, late.paths[2]):  # as if nobody had put them there
        ds = pydicom.dcmread(path)
        ds.remove_private_tags()
        ds.save_as(path)
    bench.index(archive, quiet=True)
    assert not len(bench.findings())


def test_creators_of_an_older_catalog_are_taken_over(any_bench: Bench, ct: phantoms.Phantom) -> None:
    with_private(ct.paths[0], "STRANGE")
    with_private(ct.paths[0], "SIEMENS CSA HEADER")
    any_bench.index(ct.paths[0].parent, quiet=True)
    before = list(any_bench.findings())
    with any_bench.catalog.transaction() as connection:
        connection.execute(sa.delete(findings))
        import_module("catalog.migrations.versions.0017_whole_files").take_over(connection)
    assert list(any_bench.findings()) == before
    assert len(before) == 1


def test_conflicts_and_cut_files_are_rows(any_bench: Bench, ct: phantoms.Phantom) -> None:
    bench, folder = any_bench, ct.paths[0].parent
    other = pydicom.dcmread(ct.paths[0])
    other.SeriesDescription = "other bytes"
    other.save_as(folder / "z.dcm")
    content = ct.paths[1].read_bytes()
    (folder / "y.dcm").write_bytes(content[:-100])
    bench.index(folder, quiet=True)
    assert bench.findings().counts == {"conflict": 1, "cut_file": 1}


@pytest.mark.parametrize("how", ["removed", "given a UID of its own", "made unreadable", "made the same"])
def test_a_conflict_goes_when_its_advice_was_followed(
    any_bench: Bench, ct: phantoms.Phantom, how: str
) -> None:
    bench, folder = any_bench, ct.paths[0].parent
    other = pydicom.dcmread(ct.paths[0])
    other.SeriesDescription = "other bytes"
    path = folder / "z.dcm"
    other.save_as(path)
    bench.index(folder, quiet=True)
    assert bench.findings().counts == {"conflict": 1}
    assert uids(bench, "finding == 'conflict'") == [ct.series_instance_uid]
    match how:
        case "removed":
            path.unlink()
        case "given a UID of its own":
            uid = pydicom.uid.generate_uid()
            other.file_meta.MediaStorageSOPInstanceUID = uid
            alter(path, SOPInstanceUID=uid, file_meta=other.file_meta)
        case "made unreadable":
            path.write_bytes(b"no DICOM")
        case _:
            path.write_bytes(ct.paths[0].read_bytes())
    bench.index(folder, quiet=True)
    assert not len(bench.findings())
    assert not uids(bench, "finding is present")


def test_of_several_conflicts_those_that_stand_stay(any_bench: Bench, ct: phantoms.Phantom) -> None:
    bench, folder = any_bench, ct.paths[0].parent
    for name in ("y.dcm", "z.dcm"):
        other = pydicom.dcmread(ct.paths[0])
        other.SeriesDescription = name
        other.save_as(folder / name)
    (folder / "x.dcm").write_bytes(ct.paths[0].read_bytes()[:-100])
    bench.index(folder, quiet=True)
    assert bench.findings().counts == {"conflict": 2, "cut_file": 1}
    (folder / "y.dcm").unlink()
    bench.index(folder, quiet=True)
    assert bench.findings().counts == {"conflict": 1, "cut_file": 1}
    (folder / "x.dcm").unlink()
    bench.index(folder, quiet=True)
    assert bench.findings().counts == {"conflict": 1}


def test_a_cut_image_is_a_row_of_its_instance(bench: Bench, ct: phantoms.Phantom) -> None:
    ct.paths[7].write_bytes(ct.paths[7].read_bytes()[:-100])
    bench.index(ct.paths[0].parent, quiet=True)
    bench.ingest(quiet=True)
    (found,) = bench.findings(kind="cut_file")
    assert found.sop_instance_uid == pydicom.dcmread(ct.paths[7], stop_before_pixels=True).SOPInstanceUID


def test_deviations_of_an_older_catalog_are_taken_over(catalog: Catalog) -> None:
    with catalog.transaction() as connection:
        _row(connection, "patients", patient_id="P", issuer_of_patient_id="", identity="P")
        _row(connection, "studies", patient=1, study_instance_uid="1.2")
        _row(connection, "series", study=1, series_instance_uid="1.2.3")
        for number, words in enumerate(["", "one\ntwo", "its study is known under another patient"]):
            _row(connection, "instances", series=1, sop_instance_uid=f"1.2.3.{number}", deviations=words,
                 transfer_syntax_uid="1", header_digest="0")  # fmt: skip
        import_module("catalog.migrations.versions.0004_findings")._take_over(connection)
        rows = connection.execute(sa.select(findings.c.kind, findings.c.words).order_by(findings.c.id)).all()
    assert [tuple(row) for row in rows] == [
        ("deviation", "one"),
        ("deviation", "two"),
        ("several_patients", "its study is known under another patient"),
    ]


def _row(connection: sa.Connection, table: str, **values: object) -> None:
    from catalog.models import metadata

    connection.execute(metadata.tables[table].insert(), [values])


def test_more_series_than_a_statement_has_variables_can_be_asked_for(
    any_bench: Bench, ct: phantoms.Phantom
) -> None:
    ds = pydicom.dcmread(ct.paths[2])
    ds.PatientID = "ANOTHER"
    ds.save_as(ct.paths[2])
    any_bench.index(ct.paths[0].parent, quiet=True)
    catalog = any_bench.catalog
    many = [f"1.2.{number}" for number in range(260_000)]
    asked = [ct.series_instance_uid, *many, ct.series_instance_uid]
    assert find_findings(catalog, series_instance_uids=asked) == find_findings(catalog)
    assert len(find_findings(catalog)) == 1
    assert contents(catalog, asked) == contents(catalog)
    assert not find_findings(catalog, series_instance_uids=many)


def test_a_kind_that_is_none_and_an_order_of_findings_are_refused_in_words(bench: Bench) -> None:
    with pytest.raises(QuestionError, match=r"no kind of finding 'holes'; they are .*missing_slices"):
        bench.series("finding == 'holes'")
    with pytest.raises(QuestionError, match="findings have no order"):
        bench.series("finding < 'tilt'")
    with pytest.raises(QuestionError, match="no kind of finding"):
        bench.findings(kind="holes")


def test_the_command_lists_them(tmp_path: Path, ct: phantoms.Phantom) -> None:
    home, run = ["--home", str(tmp_path / "bench")], CliRunner().invoke
    ct.paths[3].unlink()
    run(app, ["index", str(ct.paths[0].parent), *home])
    run(app, ["ingest", "--all", *home])
    assert "1 of 8 slices" in run(app, ["findings", *home]).output
    told = json.loads(run(app, ["findings", "--kind", "missing_slices", "--json", *home]).output)
    assert told["counts"] == {"missing_slices": 1}
    assert run(app, ["findings", "--kind", "holes", *home]).exit_code == 1
