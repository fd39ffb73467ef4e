"""Independent readers accept what a person drew: dciodvfy, dcentvfy, DCMTK's dsrdump and dcmpschk."""

import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

import workbench
from catalog.errors import EncodeError, HeaderError
from catalog.headers import read_dataset
from pipelines import phantoms
from pipelines.encode.algorithm import MANUFACTURER
from pipelines.encode.drawn_report import drawn_report
from pipelines.encode.drawn_state import drawn_state
from pipelines.encode.drawn_structures import drawn_structures
from pipelines.encode.part10 import write_object
from pipelines.marks import Mark, mark_of
from pipelines.objects.drawn import read_marks
from pipelines.presentation.appearance import Appearance
from pipelines.presentation.scene import Scene, scene_of, to_positions
from pipelines.samples import moving, multi_frame, projections
from pipelines.validate.verdict import judge

PIXELS: dict[str, list[tuple[float, float]]] = {
    "ellipse": [(12, 22), (12, 10), (5, 16), (19, 16)], "circle": [(12, 16), (12, 20)],
    "rectangle": [(4.5, 5.5), (14.5, 5.5), (4.5, 20.5), (14.5, 20.5)], "length": [(1, 1), (8, 9)],
    "bidirectional": [(3, 3), (6, 2), (1, 1), (8, 9)], "angle": [(1, 1), (8, 9), (3, 3)],
    "cobb": [(1, 1), (8, 9), (3, 3), (6, 2)], "probe": [(4, 5)], "arrow": [(4, 5), (7, 8)],
}  # fmt: skip


@pytest.fixture(params=["CT", "MR"])
def drawn(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Scene, list[Mark], list[Any]]:
    """Marks of every kind on an oblique series, measured; its headers."""
    phantom = phantoms.write_series(
        tmp_path / "archive", modality=request.param, orientation=(0.8, 0.6, 0, 0, 0, -1),
        patient_name="Müller^Jürgen",
    )  # fmt: skip
    with workbench.open(tmp_path / "bench") as bench:
        bench.index(tmp_path / "archive", quiet=True)
        volume = bench.volume(bench.series()[0])
    scene = scene_of(volume)
    line = to_positions(scene, 2, [(4, 5), (9, 7), (6, 12), (3, 9)])
    given = [
        Mark(kind, points_of(scene, 3, pixels), index=(3,), text=f"größer als\n\\{kind}")
        for kind, pixels in PIXELS.items()
    ]
    given += [
        Mark("freehand", (), tupled(line), True, (2,)),
        Mark("freehand", tupled(line[[0, -1]]), tupled(line), False, (2,)),
    ]
    marks = [mark_of(each.as_json(), volume, scene) for each in given]
    return scene, marks, [read_dataset(path) for path in phantom.paths]


def points_of(scene: Scene, plane: int, pixels: Any) -> tuple[tuple[float, float, float], ...]:
    return tupled(to_positions(scene, plane, pixels))


def tupled(points: np.ndarray) -> tuple[tuple[float, float, float], ...]:
    return tuple((x, y, z) for x, y, z in points.tolist())


def through(scene: Scene) -> Mark:
    """A line through several planes."""
    return Mark("length", points_of(scene, 1, [(3, 4)]) + points_of(scene, 6, [(9, 12)]))


def faults(ds: pydicom.Dataset, path: Path) -> tuple[str, ...]:
    write_object(ds, path)
    verdict = judge(path, lambda _uids: {})
    assert "dciodvfy" in verdict.words
    return verdict.faults


def says(program: str, path: Path, missing: Any) -> str:
    found = shutil.which(program)
    if found is None:
        missing(f"{program} is not there: apt install dcmtk")
    done = subprocess.run([str(found), path], capture_output=True, timeout=60, check=False)
    text = (done.stdout + done.stderr).decode("utf-8", "replace")
    assert done.returncode == 0, text
    return text


def test_a_report_of_every_kind_of_mark_is_accepted_and_names_what_was_measured(
    drawn: Any, tmp_path: Path, missing: Any
) -> None:
    scene, marks, sources = drawn
    ds = drawn_report([*marks, through(scene)], scene, sources, author="Rot^Anna")
    assert faults(ds, tmp_path / "sr.dcm") == ()
    text = says("dsrdump", tmp_path / "sr.dcm", missing)
    assert "Rot^Anna" in text
    for name in ("Length", "Long axis", "Short axis", "Angle", "Cobb angle", "Area", "Mean"):
        assert f'"{name}"' in text, name
    assert ds.VerificationFlag == "UNVERIFIED"


def test_the_numbers_of_a_report_are_those_of_the_marks(drawn: Any) -> None:
    scene, marks, sources = drawn
    ds = drawn_report(marks, scene, sources, author="Rot")
    ellipse = marks[0]
    found = [
        float(item.MeasuredValueSequence[0].NumericValue)
        for _, item in walk(ds)
        if item.get("ValueType") == "NUM"
    ]
    for wanted in (ellipse.area_mm2, ellipse.mean, ellipse.standard_deviation, marks[3].length_mm):
        assert any(each == pytest.approx(wanted, rel=1e-6) for each in found), wanted


def walk(ds: pydicom.Dataset, place: str = "1") -> Any:
    yield place, ds
    for number, item in enumerate(ds.get("ContentSequence") or (), start=1):
        yield from walk(item, f"{place}.{number}")


def test_a_presentation_state_of_every_kind_of_mark_is_accepted(
    drawn: Any, tmp_path: Path, missing: Any
) -> None:
    scene, marks, sources = drawn
    ds = drawn_state(marks, scene, sources, author="Rot^Anna", appearance=Appearance((40, 400)))
    assert faults(ds, tmp_path / "state.dcm") == ()
    plain = [replace(each, text=each.kind) for each in marks]  # dcmpschk takes no UTF-8 in texts
    write_object(drawn_state(plain, scene, sources, author="Rot^Anna"), tmp_path / "state.dcm")
    assert "Test passed" in says("dcmpschk", tmp_path / "state.dcm", missing)
    assert {each.GraphicLayer for each in ds.GraphicLayerSequence} == {
        kind.upper() for kind in (*PIXELS, "freehand")
    }


def test_a_structure_set_of_every_kind_of_mark_is_accepted(drawn: Any, tmp_path: Path) -> None:
    scene, marks, sources = drawn
    now = datetime(2026, 11, 30, 12, tzinfo=UTC)
    ds = drawn_structures([*marks, through(scene)], scene, sources, author="Rot^Anna", now=now)
    assert ds.Manufacturer == MANUFACTURER
    assert faults(ds, tmp_path / "structures.dcm") == ()


def test_a_mark_through_several_planes_has_no_place_in_a_presentation_state_and_it_says_so(
    drawn: Any,
) -> None:
    scene, marks, sources = drawn
    with pytest.raises(EncodeError, match=r"lies on no image .* a report \(sr\) has a place"):
        drawn_state([*marks, through(scene)], scene, sources, author="Rot")


def test_marks_on_images_that_lie_nowhere_are_reported_and_are_no_structures(
    drawn: Any, tmp_path: Path
) -> None:
    placed, _, sources = drawn
    scene = replace(
        placed, positions_lps_mm=(), orientation=(), pixel_spacing=None, frame_of_reference_uid=""
    )
    line, ring = (
        Mark("length", ((1.0, 1.0, 3.0), (8.0, 9.0, 3.0)), index=(3,)),
        Mark("circle", ((12.0, 16.0, 3.0), (12.0, 20.0, 3.0)), index=(3,)),
    )
    write_object(drawn_report([line, ring], scene, sources, author="Rot"), tmp_path / "sr.dcm")
    back = read_marks(tmp_path / "sr.dcm", scene)
    assert [each.points for each in back] == [line.points, ring.points]
    units = {
        item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue
        for _, item in walk(pydicom.dcmread(tmp_path / "sr.dcm"))
        if item.get("ValueType") == "NUM"
    }
    assert units == {"{pixels}"}
    now = datetime(2026, 11, 30, 12, tzinfo=UTC)
    with pytest.raises(EncodeError, match="no place in the patient"):
        drawn_structures([line], scene, sources, author="Rot", now=now)


def test_marks_of_other_images_and_frames_of_reference_are_passed_over(drawn: Any, tmp_path: Path) -> None:
    scene, marks, sources = drawn
    write_object(drawn_report([*marks, through(scene)], scene, sources, author="Rot"), tmp_path / "sr.dcm")
    other = replace(scene, sop_instance_uids=("1.2.3",) * 8, frame_of_reference_uid="1.2.4")
    assert read_marks(tmp_path / "sr.dcm", other) == []


@pytest.mark.parametrize(
    ("graphic", "data"),
    [("CIRCLE", [1.0, 2.0]), ("POLYLINE", [1.0, 2.0, 3.0]), ("POLYLINE", [1.0, float("nan"), 2.0, 2.0]),
     ("ELLIPSE", [0.0] * 6), ("POLYLINE", [1e30, 0.0, 1.0, 1.0])],
)  # fmt: skip
def test_graphics_that_are_none_are_an_error_that_names_the_file(
    drawn: Any, tmp_path: Path, graphic: str, data: list[float]
) -> None:
    scene, marks, sources = drawn
    ds = drawn_report(marks[:1], scene, sources, author="Rot")
    for _, item in walk(ds):
        if item.get("ValueType") == "SCOORD":
            item.GraphicType, item.GraphicData = graphic, data
    write_object(ds, tmp_path / "sr.dcm")
    with pytest.raises(HeaderError, match=r"sr\.dcm: has (a graphic|Graphic Data)"):
        read_marks(tmp_path / "sr.dcm", scene)


def test_what_a_kind_cannot_be_is_taken_for_what_it_looks_like(drawn: Any, tmp_path: Path) -> None:
    scene, marks, sources = drawn
    ds = drawn_report([marks[3]], scene, sources, author="Rot")
    for _, item in walk(ds):
        if item.get("ValueType") == "CODE" and item.ConceptNameCodeSequence[0].CodeValue == "drawn-with":
            item.ConceptCodeSequence[0].CodeValue = "ellipse"
    write_object(ds, tmp_path / "sr.dcm")
    assert [each.kind for each in read_marks(tmp_path / "sr.dcm", scene)] == ["length"]


SAMPLES = {
    "mr_enhanced": multi_frame.mr_enhanced, "ct_enhanced": multi_frame.ct_enhanced,
    "tomosynthesis": multi_frame.tomosynthesis, "angiogram": moving.angiogram,
    "mammogram": projections.mammogram, "digital_radiograph": projections.digital_radiograph,
    "nuclear": projections.nuclear,
}  # fmt: skip
IN_NO_PATIENT = ("angiogram", "mammogram", "digital_radiograph", "nuclear")
FRAMES_WITHOUT_PLACE = ("angiogram", "nuclear")


@pytest.mark.parametrize("sample", SAMPLES)
def test_marks_and_masks_on_images_of_other_kinds_are_accepted_and_come_back(
    sample: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    (tmp_path / "archive").mkdir()
    SAMPLES[sample](tmp_path / "archive")
    with workbench.open(tmp_path / "bench") as bench:
        bench.index(tmp_path / "archive", quiet=True)
        viewer, other = (bench.view(bench.series()[0], author=name) for name in ("Rot", "Blau"))
        scene, index = viewer.scene, tuple(size // 2 for size in viewer.scene.shape)
        viewer.annotations = [
            Mark("length", points_of(scene, index[-1], [(20, 20), (40, 45)]), index=index),
            Mark("freehand", (), points_of(scene, index[-1], [(9, 9), (30, 12), (25, 40)]), True, index),
        ]
        values = np.zeros(viewer.mask.shape, np.uint8)
        values[index][10:30, 20:35] = 4
        viewer.mask = values
        for form in ("sr", "gsps", "rtstruct", "seg"):
            if form == "rtstruct" and sample in IN_NO_PATIENT:
                with pytest.raises(EncodeError, match="no place in the patient"):
                    viewer.export(form)
                continue
            if form == "seg" and sample in FRAMES_WITHOUT_PLACE:
                with pytest.raises(EncodeError, match="no volume in a frame of reference"):
                    viewer.export(form)
                continue
            path = viewer.export(form)
            verdict = judge(path, lambda _uids: {})
            assert verdict.faults == (), form
            if form == "seg":
                other.load(path)
                assert np.array_equal(other.mask, values)
                continue
            for mine, back in zip(viewer.annotations, read_marks(path, scene), strict=True):
                assert (back.kind, back.index) == (mine.kind, index)
                there = np.array([*back.points, *back.outline])
                assert np.abs(there - np.array([*mine.points, *mine.outline])).max() <= 0.1
