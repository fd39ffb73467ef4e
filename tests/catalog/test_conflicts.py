"""Other bytes under a known UID: the same data set is no conflict, and whichever counts, both are kept."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pydicom
import pytest

from catalog.arrivals import Claim, Status, Taken
from catalog.checks import Soundness
from catalog.conflicts import is_same_data_set
from catalog.database import Catalog
from catalog.findings import find_findings
from catalog.index import index_paths
from catalog.intake import Intake
from catalog.query import find_instances, find_series
from catalog.receptions import Sender, received, standing
from catalog.rot import reread
from pipelines import phantoms

SCANNER, ARCHIVE = Sender("SCANNER", "SCAN", "WORKBENCH"), Sender("ARCHIVE", "ARCH", "WORKBENCH")


@pytest.fixture
def intake(catalog: Catalog, tmp_path: Path) -> Iterator[Intake]:
    """Where the newest counts of what the archive sends, and the first of everyone else's."""
    folder = tmp_path / "received"
    with Intake(catalog, folder, newest_counts=lambda sender: sender.node == "ARCHIVE") as opened:
        yield opened


def give(intake: Intake, content: bytes, sender: Sender = SCANNER) -> Taken:
    with intake.incoming() as incoming:
        incoming.write(content)
        return intake.take(incoming, Claim(sender=sender))


def with_header(path: Path, **values: str) -> bytes:
    ds = pydicom.dcmread(path)
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    ds.save_as(buffer := BytesIO())
    return buffer.getvalue()


def with_meta(path: Path, name: str) -> bytes:
    """The same data set as another program would write it to a file."""
    ds = pydicom.dcmread(path)
    ds.file_meta.ImplementationVersionName = name
    ds.file_meta.SourceApplicationEntityTitle = "EXPORT"
    ds.save_as(buffer := BytesIO(), enforce_file_format=True)
    return buffer.getvalue()


def test_an_export_with_other_file_meta_information_is_a_duplicate_and_no_conflict(
    intake: Intake, catalog: Catalog, ct: phantoms.Phantom, tmp_path: Path
) -> None:
    (exported := tmp_path / "export.dcm").write_bytes(with_meta(ct.paths[0], "ANOTHER"))
    assert give(intake, ct.paths[0].read_bytes()).status is Status.STORED

    report = index_paths(catalog, [exported])

    assert (report.added, report.duplicates, report.conflicts) == (1, 1, ())
    assert find_findings(catalog) == []
    again = index_paths(catalog, [exported])
    assert (again.unchanged, again.conflicts) == (1, ())


def test_what_is_received_after_its_export_was_indexed_is_no_conflict_and_no_rot(
    intake: Intake, catalog: Catalog, ct: phantoms.Phantom, tmp_path: Path
) -> None:
    from datetime import UTC, datetime

    from catalog.checks import due_files

    (exported := tmp_path / "export.dcm").write_bytes(with_meta(ct.paths[0], "ANOTHER"))
    index_paths(catalog, [exported])

    taken = give(intake, ct.paths[0].read_bytes())

    assert taken.status is Status.STORED
    assert Path(taken.path).read_bytes() == ct.paths[0].read_bytes()
    now = datetime.now(UTC)
    for batch in due_files(catalog, before=now, at_most=10):
        for each in batch:
            assert reread(each, checked=now, spend=lambda _: None).state is Soundness.SOUND


def test_one_other_byte_of_the_data_set_is_another_data_set(ct: phantoms.Phantom, tmp_path: Path) -> None:
    content = with_meta(ct.paths[0], "ANOTHER")
    (same := tmp_path / "same.dcm").write_bytes(content)
    (other := tmp_path / "other.dcm").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert is_same_data_set(str(ct.paths[0]), str(same))
    assert not is_same_data_set(str(ct.paths[0]), str(other))
    assert not is_same_data_set(str(ct.paths[0]), str(ct.paths[1]))


def test_a_corrected_header_under_the_same_UID_is_seen_as_a_correction_without_values(
    intake: Intake, catalog: Catalog, ct: phantoms.Phantom
) -> None:
    give(intake, ct.paths[0].read_bytes())
    taken = give(intake, with_header(ct.paths[0], PatientID="SECRET-7", AccessionNumber="A9"))

    assert taken.status is Status.CONFLICT
    (found,) = find_findings(catalog, kind="correction")
    assert "says another PatientID, AccessionNumber" in found.words
    assert "SECRET-7" not in found.words
    give(intake, with_header(ct.paths[0], ContentTime="010203"))
    assert len(find_findings(catalog, kind="conflict")) == 1, "which says nothing else of whose it is"


def test_where_the_newest_counts_it_does_and_the_first_is_kept_beside(
    intake: Intake, catalog: Catalog, ct: phantoms.Phantom
) -> None:
    first = give(intake, ct.paths[0].read_bytes())
    corrected = with_header(ct.paths[0], PatientID="RIGHT", SeriesDescription="corrected")

    taken = give(intake, corrected, ARCHIVE)

    uid = ct.sop_instance_uids[0]
    assert taken.status is Status.SUPERSEDING
    (counts,) = find_instances(catalog, sop_instance_uid=uid)
    assert Path(counts.path).read_bytes() == corrected
    assert Path(first.path).read_bytes() == ct.paths[0].read_bytes(), "nothing is written over"
    assert [each.series_description for each in find_series(catalog, patient_id="RIGHT")] == ["corrected"]
    (found,) = find_findings(catalog, kind="correction")
    assert first.path in found.words or taken.path in found.words
    assert [(each.sender, each.state) for each in received(catalog, uid)] == [
        (SCANNER, "conflict"),
        (ARCHIVE, "indexed"),
    ]
    assert list(standing(catalog, intake.folder, [uid])) == [(uid, taken.digest)]


def test_the_first_sent_again_does_not_count_again(intake: Intake, ct: phantoms.Phantom) -> None:
    give(intake, ct.paths[0].read_bytes())
    corrected = with_header(ct.paths[0], PatientID="RIGHT")
    assert give(intake, corrected, ARCHIVE).status is Status.SUPERSEDING
    assert give(intake, ct.paths[0].read_bytes(), ARCHIVE).status is Status.CONFLICT
    assert give(intake, corrected, ARCHIVE).status is Status.DUPLICATE


def test_what_is_cut_never_counts(intake: Intake, ct: phantoms.Phantom) -> None:
    whole = give(intake, ct.paths[0].read_bytes())
    assert give(intake, ct.paths[0].read_bytes()[:-9], ARCHIVE).status is Status.QUARANTINED
    assert Path(whole.path).read_bytes() == ct.paths[0].read_bytes()


def test_who_sent_what_is_on_record_with_what_became_of_it(
    intake: Intake, catalog: Catalog, ct: phantoms.Phantom
) -> None:
    give(intake, ct.paths[0].read_bytes())
    give(intake, ct.paths[0].read_bytes(), ARCHIVE)
    found = received(catalog, ct.sop_instance_uids[0])
    assert [(each.sender.node, each.state) for each in found] == [
        ("SCANNER", "indexed"),
        ("ARCHIVE", "duplicate"),
    ]
    assert found[0].number < found[1].number
