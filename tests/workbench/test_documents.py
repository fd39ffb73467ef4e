"""Reports with images: found at the index, read, searched, and the valid one of their revisions shown."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from typer.testing import CliRunner

import workbench
from catalog.errors import HeaderError, NotFoundError, QuestionError
from pipelines import phantoms
from workbench.cli import app
from workbench.session import Bench

PDF, CDA = "1.2.840.10008.5.1.4.1.1.104.1", "1.2.840.10008.5.1.4.1.1.104.2"
TEXT_SR = "1.2.840.10008.5.1.4.1.1.88.11"
PREDECESSORS = "PredecessorDocumentsSequence"


def pdf(*lines: str, pages: int = 1) -> bytes:
    """A PDF with lines of text in a font of its own encoding, made by hand."""
    drawn = "BT /F1 12 Tf 72 720 Td 14 TL " + " ".join(f"({line}) Tj T*" for line in lines) + " ET"
    content = drawn.encode("cp1252")
    kids = " ".join(f"{10 + number} 0 R" for number in range(pages))
    objects = {
        1: b"<< /Type /Catalog /Pages 2 0 R >>",
        2: f"<< /Type /Pages /Kids [{kids}] /Count {pages} >>".encode(),
        3: b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
        4: b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content),
    }
    page = (
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R "
        b"/Resources << /Font << /F1 3 0 R >> >> >>"
    )
    objects |= {10 + number: page for number in range(pages)}
    return assembled(objects)


def assembled(objects: dict[int, bytes]) -> bytes:
    made, offsets = b"%PDF-1.4\n", {}
    for number, body in objects.items():
        offsets[number] = len(made)
        made += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%d 1\n%010d 00000 n \n" % (number, at) for number, at in offsets.items())
    at = len(made)
    trailer = b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (max(objects) + 1, at)
    return made + b"xref\n0 1\n0000000000 65535 f \n" + table + trailer


def written(folder: Path, ds: Dataset) -> str:
    """Write a data set as a file, and return its SOP Instance UID."""
    folder.mkdir(parents=True, exist_ok=True)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.save_as(folder / f"{ds.SOPInstanceUID}.dcm", enforce_file_format=True)
    return str(ds.SOPInstanceUID)


def header(sop_class: str, study: str, **values: Any) -> Dataset:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID = study, generate_uid()
    ds.PatientID, ds.PatientName, ds.Modality = "PHANTOM", "Phantom^One", "DOC"
    ds.SpecificCharacterSet = "ISO_IR 192"
    for name, value in values.items():
        setattr(ds, name, value)
    return ds


def encapsulated(document: bytes, study: str, sop_class: str = PDF, **values: Any) -> Dataset:
    ds = header(sop_class, study, MIMETypeOfEncapsulatedDocument="application/pdf", **values)
    ds.EncapsulatedDocumentLength = len(document)
    ds.EncapsulatedDocument = document + b"\0" * (len(document) % 2)
    return ds


def code(meaning: str) -> list[Dataset]:
    ds = Dataset()
    ds.CodeValue, ds.CodingSchemeDesignator, ds.CodeMeaning = "1", "99TEST", meaning
    return [ds]


def structured(study: str, text: str, **values: Any) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType, item.TextValue = "CONTAINS", "TEXT", text
    item.ConceptNameCodeSequence = code("Finding")
    return header(
        TEXT_SR, study, ValueType="CONTAINER", ConceptNameCodeSequence=code("Radiology Report"),
        ContentSequence=[item], CompletionFlag="COMPLETE", VerificationFlag="VERIFIED", **values,
    )  # fmt: skip


def named(*uids: str) -> list[Dataset]:
    """Predecessor Documents Sequence (0040,A360)."""
    study, series = Dataset(), Dataset()
    series.ReferencedSOPSequence = []
    for uid in uids:
        each = Dataset()
        each.ReferencedSOPClassUID, each.ReferencedSOPInstanceUID = TEXT_SR, uid
        series.ReferencedSOPSequence.append(each)
    series.SeriesInstanceUID = "1.2.3"
    study.StudyInstanceUID, study.ReferencedSeriesSequence = "1.2.3", [series]
    return [study]


@pytest.fixture
def bench(catalog_url: str, tmp_path: Path) -> Iterator[Bench]:
    with workbench.open(tmp_path / "bench", catalog=catalog_url) as opened:
        yield opened


def test_a_question_joins_what_the_report_says_with_slice_thickness(
    bench: Bench, ct: phantoms.Phantom
) -> None:
    study = ct.study_instance_uid
    folder = ct.paths[0].parent
    uid = written(folder, encapsulated(pdf("Befund: multiple Lebermetastasen.", "Kein Ödem."), study))
    indexed = bench.index(folder, quiet=True)

    assert indexed.documents is not None
    assert indexed.documents.states == {"read": 1}
    assert "1 with text" in indexed.line()
    (document,) = bench.documents("*metastase")
    assert (document.sop_instance_uid, document.kind, document.state) == (uid, "PDF", "read")
    assert document.snippet == "Befund: multiple «Lebermetastasen». Kein Ödem."
    assert "Kein Ödem" in document.text
    thickness = pydicom.dcmread(ct.paths[0]).SliceThickness
    found = bench.series(f"report ~ '*metastase' and SliceThickness <= {thickness}")
    assert [each.series_instance_uid for each in found] == [ct.series_instance_uid]
    assert not bench.series(f"report ~ '*metastase' and SliceThickness < {thickness}")
    assert not bench.series("report ~ 'rippe' and Modality == 'CT'")
    assert len(bench.series("report ~ 'oedem'")) == 2  # of the images and of the report itself
    assert len(bench.series("report is present")) == 2
    assert not bench.series("report is empty")
    assert bench.series("report !~ 'rippe' and Modality = 'CT'")
    assert bench.index(folder, quiet=True).documents.documents == 0  # type: ignore[union-attr]


def test_what_a_deleted_report_says_is_in_no_answer(bench: Bench, ct: phantoms.Phantom) -> None:
    study, folder = ct.study_instance_uid, ct.paths[0].parent
    written(folder, encapsulated(pdf("Befund: multiple Lebermetastasen."), study))
    bench.index(folder, quiet=True)
    of_report = next(each for each in bench.series() if each.series_instance_uid != ct.series_instance_uid)
    bench.delete(of_report, why="consent withdrawn")
    assert not bench.documents("*metastase")
    assert not bench.documents()
    assert not bench.series("report ~ '*metastase'")
    bench.index(folder, quiet=True)
    assert not bench.documents()
    bench.restore(of_report, why="consent given")
    assert len(bench.documents("*metastase")) == 1
    assert len(bench.series("report ~ '*metastase'")) == 2


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("report == 'x'", "asked with ~ or !~"),
        ("report < 'x'", "asked with ~ or !~"),
        ("report ~ '.,;'", "no word to look for"),
    ],
)
def test_what_cannot_be_asked_of_reports_is_said(bench: Bench, expression: str, words: str) -> None:
    with pytest.raises(QuestionError, match=words):
        bench.series(expression)


def test_real_documents_are_read(bench: Bench, shared_data: Path) -> None:
    bench.index(shared_data / "objects", quiet=True)
    found = list(bench.documents())
    assert {each.state for each in found} == {"read"}
    kinds = sorted(each.kind for each in found)
    assert kinds == ["PDF", "SR", "SR", "SR", "SR"]
    (letter,) = bench.documents('"Lorem ipsum dolor" sincerely')
    assert letter.kind == "PDF"
    assert letter.text.startswith("Doctor Sample")
    by_title = {each.title: each for each in found if each.kind == "SR"}
    assert set(by_title) == {"Document Title", "Imaging Measurement Report", "Diagnosis"}
    assert by_title["Diagnosis"].status == "complete, verified"
    assert by_title["Diagnosis"].remark == "a predecessor is not in the catalog"
    assert by_title["Diagnosis"].text.startswith("Diagnosis\n  ")


def test_revisions_with_one_identifier_are_a_chain_whatever_the_order_of_arrival(
    bench: Bench, ct: phantoms.Phantom, tmp_path: Path
) -> None:
    study, identifier = ct.study_instance_uid, "42659bf1-ae64-4152-aa26-793515d71754"
    revisions = [
        encapsulated(
            pdf(f"Befund {word}"), study, ContentDate="20230921", ContentTime=time,
            HL7InstanceIdentifier=identifier, DocumentTitle="Befund",
        )
        for word, time in (("vorläufig", "134757"), ("Metastase", "135711"), ("unauffällig", "140000"))
    ]  # fmt: skip
    other = encapsulated(pdf("Metastase"), study, ContentDate="20230921", HL7InstanceIdentifier="another")
    archive = tmp_path / "archive" / "reports"
    arriving = [*revisions, other]
    random.Random(4238).shuffle(arriving)
    bench.index(ct.paths[0].parent, quiet=True)
    for each in arriving:
        written(archive, each)
        bench.index(archive, quiet=True)

    assert [each.sop_instance_uid for each in bench.documents("Metastase")] == [other.SOPInstanceUID]
    valid = bench.documents("unauffällig")[0]
    assert (valid.revision, valid.revisions.records[0].revision) == (3, 1)
    assert [each.sop_instance_uid for each in valid.revisions] == [each.SOPInstanceUID for each in revisions]
    assert [each.is_valid for each in valid.revisions] == [False, False, True]
    assert len(bench.documents("Befund")) == 1
    assert len(bench.documents("Befund", revisions=True)) == 3
    assert {each.remark for each in bench.documents(revisions=True)} == {""}
    (archive / f"{revisions[-1].SOPInstanceUID}.dcm").unlink()  # the valid one is gone: the one before is
    bench.index(archive, quiet=True)
    assert {each.sop_instance_uid for each in bench.documents("Metastase")} == {
        revisions[1].SOPInstanceUID, other.SOPInstanceUID,
    }  # fmt: skip
    remarks = {each.sop_instance_uid: each.remark for each in bench.documents(revisions=True)}
    assert remarks == {
        revisions[0].SOPInstanceUID: "",
        revisions[1].SOPInstanceUID: "a newer revision was here and is gone",
        other.SOPInstanceUID: "",
    }
    assert "a newer revision was here and is gone" in repr(bench.documents())


def test_structured_reports_are_chained_by_their_predecessors_and_loops_are_named(
    bench: Bench, ct: phantoms.Phantom, tmp_path: Path
) -> None:
    study, archive = ct.study_instance_uid, tmp_path / "archive" / "sr"
    first = structured(study, "Verdacht auf Fraktur", ContentDate="20260101", ContentTime="1200")
    second = structured(
        study,
        "Keine Fraktur",
        ContentDate="20260102",
        PredecessorDocumentsSequence=named(first.SOPInstanceUID),
    )
    written(archive, second)
    written(archive, first)
    bench.index(archive, quiet=True)
    (valid,) = bench.documents("Fraktur")
    assert (valid.text, valid.status) == ("Radiology Report\n  Finding: Keine Fraktur", "complete, verified")
    assert valid.remark == ""
    first.PredecessorDocumentsSequence = named(second.SOPInstanceUID)
    written(archive, first)
    bench.index(archive, quiet=True)
    (valid,) = bench.documents("Fraktur")
    assert valid.remark.startswith("revisions name each other as predecessors")
    assert [each.revision for each in valid.revisions] == [1, 2]


def bomb() -> bytes:
    import zlib

    data = zlib.compress(zlib.compress(b"BT (a) Tj ET " * 8_000_000, 1), 9)
    return assembled({
        1: b"<< /Type /Catalog /Pages 2 0 R >>",
        2: b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        3: b"<< /Type /Page /Parent 2 0 R /Contents 4 0 R >>",
        4: b"<< /Length %d /Filter [/FlateDecode /FlateDecode] >>\nstream\n%s\nendstream" % (len(data), data),
    })  # fmt: skip


def loop() -> bytes:
    return assembled({
        1: b"<< /Type /Catalog /Pages 2 0 R >>",
        2: b"<< /Type /Pages /Kids [2 0 R 2 0 R] /Count 2 /Parent 2 0 R >>",
    })  # fmt: skip


LAUGHS = (
    b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "ha">'
    + b"".join(b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(9))
    + b"]><ClinicalDocument><title>&j;</title></ClinicalDocument>"
)


SECRET = "a secret of this machine"


def outside(secret: Path, *, parameter: bool = False) -> bytes:
    """XXE: an entity that is a file of this machine, as such or by a parameter entity."""
    entity = f'<!ENTITY e SYSTEM "{secret.as_uri()}">'
    if parameter:
        entity = f'<!ENTITY % p SYSTEM "{secret.as_uri()}"> %p;<!ENTITY e "x">'
    text = (
        f'<?xml version="1.0"?><!DOCTYPE x [{entity}]><ClinicalDocument><title>&e;</title></ClinicalDocument>'
    )
    return text.encode()


def test_hostile_documents_are_values_with_a_reason_and_the_index_goes_on(
    bench: Bench, ct: phantoms.Phantom, tmp_path: Path
) -> None:
    study, folder = ct.study_instance_uid, ct.paths[0].parent
    secret = tmp_path / "secret.txt"
    secret.write_text(SECRET)
    hostile = {
        "bomb": encapsulated(bomb(), study),
        "loop": encapsulated(loop(), study),
        "cut": encapsulated(pdf("Geheim")[:200], study),
        "laughs": encapsulated(LAUGHS, study, CDA),
        "xxe": encapsulated(outside(secret), study, CDA),
        "xxe by a parameter": encapsulated(outside(secret, parameter=True), study, CDA),
        "bytes": encapsulated(b"\0\1\2\3" * 100, study),
        "none": encapsulated(b"", study),
    }
    uids = {written(folder, each): name for name, each in hostile.items()}
    written(folder, encapsulated(pdf("lesbar"), study))
    report = bench.index(folder, quiet=True)

    assert report.rejected == ()
    states = {uids.get(each.sop_instance_uid, "good"): each for each in bench.documents(limit=None)}
    assert states["good"].state == "read"
    assert states["laughs"].state == "failed"
    assert states["laughs"].reason == "cannot be read as CDA (EntitiesForbidden)"
    for name in ("xxe", "xxe by a parameter"):
        assert states[name].state == "failed"
        assert states[name].reason == "cannot be read as CDA (EntitiesForbidden)"
    assert not bench.documents("secret of this machine")
    assert states["bytes"].reason == "is neither PDF nor CDA nor text"
    for name in ("bomb", "loop", "cut", "none"):
        assert states[name].state in ("failed", "empty"), name
        assert states[name].reason, name
        assert "Geheim" not in states[name].reason
    assert [each.sop_instance_uid for each in bench.documents("lesbar")]


def test_cda_is_read(bench: Bench, ct: phantoms.Phantom) -> None:
    markup = (
        '<?xml version="1.0" encoding="UTF-8"?><ClinicalDocument xmlns="urn:hl7-org:v3">'
        "<title>Arztbrief</title><recordTarget>Phantom</recordTarget><component><structuredBody><component>"
        "<section><title>Befund</title><text><paragraph>Keine <content>Blutung</content>.</paragraph>"
        "<table><tr><td>Größe</td><td>3 mm</td></tr></table></text></section></component></structuredBody>"
        "</component></ClinicalDocument>"
    )
    written(ct.paths[0].parent, encapsulated(markup.encode(), ct.study_instance_uid, CDA))
    bench.index(ct.paths[0].parent, quiet=True)
    (document,) = bench.documents("Blutungen")
    assert document.kind == "CDA"
    assert document.text.splitlines() == ["Arztbrief", "Befund", "Keine Blutung.", "Größe 3 mm"]


def test_a_pass_that_was_ended_is_gone_on_with_by_the_next(
    bench: Bench, ct: phantoms.Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    from catalog.index import index_paths

    written(ct.paths[0].parent, encapsulated(pdf("Befund"), ct.study_instance_uid))
    index_paths(bench.catalog, [ct.paths[0].parent])  # as if it ended before the documents were read
    (document,) = bench.documents()
    assert (document.state, document.text) == ("due", "")
    bench.index(ct.paths[0].parent, quiet=True)
    (document,) = bench.documents("Befund")
    assert document.state == "read"
    assert bench.refresh_documents(quiet=True).states == {"read": 1}
    assert len(bench.documents("Befund")) == 1


def test_a_report_that_changed_is_read_again(bench: Bench, ct: phantoms.Phantom) -> None:
    folder = ct.paths[0].parent
    ds = encapsulated(pdf("alt"), ct.study_instance_uid)
    written(folder, ds)
    bench.index(folder, quiet=True)
    document = pdf("neuere Fassung")
    ds.EncapsulatedDocument, ds.EncapsulatedDocumentLength = document, len(document)
    written(folder, ds)
    bench.index(folder, quiet=True)
    assert not bench.documents("alt")
    assert len(bench.documents("Fassung")) == 1


def test_a_file_of_text_is_added_to_a_study(bench: Bench, ct: phantoms.Phantom, tmp_path: Path) -> None:
    bench.index(ct.paths[0].parent, quiet=True)
    report = tmp_path / "befund.txt"
    report.write_bytes("Kein Nachweis einer Lungenembolie. Größe 3 mm".encode("cp1252"))
    for _ in range(2):
        (added,) = bench.add_report(ct.study_instance_uid, report, date="20260201")
    assert (added.kind, added.title, added.path) == ("text", "befund", str(report))
    (found,) = bench.documents("embolie* Größe", bench.series(Modality="CT")) or bench.documents("*embolie")
    assert found.text.endswith("Größe 3 mm")
    report.write_text("Kein Nachweis mehr")
    bench.add_report(ct.study_instance_uid, report)
    assert not bench.documents("*embolie")
    with pytest.raises(NotFoundError, match=r"no study 1\.2\.3"):
        bench.add_report("1.2.3", report)
    with pytest.raises(NotFoundError, match="is no file"):
        bench.add_report(ct.study_instance_uid, tmp_path)
    report.write_bytes(b"\0\1" * 100)
    with pytest.raises(HeaderError, match="neither PDF nor CDA nor text"):
        bench.add_report(ct.study_instance_uid, report)


def test_the_command_finds_adds_and_shows(ct: phantoms.Phantom, tmp_path: Path) -> None:
    runner, home = CliRunner(), ["--home", str(tmp_path / "bench")]
    written(ct.paths[0].parent, encapsulated(pdf("Multiple Lebermetastasen"), ct.study_instance_uid))
    assert "1 report" in runner.invoke(app, ["index", str(ct.paths[0].parent), *home]).output
    done = runner.invoke(app, ["documents", "*metastase", "--json", "--text", *home])
    (row,) = json.loads(done.output)
    assert (row["text"], row["snippet"]) == ("Multiple Lebermetastasen", "Multiple «Lebermetastasen»")
    (tmp_path / "r.txt").write_text("Rippenfraktur links")
    added = ["documents", "--add", str(tmp_path / "r.txt"), "--study", ct.study_instance_uid, *home]
    assert "Rippenfraktur" in runner.invoke(app, added).output
    assert "2 with text" not in runner.invoke(app, ["documents", "--refresh", *home]).output
    shown = runner.invoke(app, ["documents", "--study", ct.study_instance_uid, *home])
    assert "2 documents" in shown.output
    assert runner.invoke(app, ["documents", "--add", "x", *home]).exit_code == 2
    assert runner.invoke(app, ["documents", "...", *home]).exit_code == 1
