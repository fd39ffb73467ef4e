"""Structure sets from the bench: a table of regions, polygons in LPS mm, masks on a volume."""

import json
from pathlib import Path

import numpy as np
import pydicom
import pytest

from catalog.errors import NotFoundError
from pipelines import phantoms
from workbench.session import Bench

ANSWERS = ["objects/rt_prostate_example/rtss.dcm", "objects/rt_small/rt.dcm"]


def indexed(bench: Bench, path: Path) -> str:
    bench.index(path, quiet=True)
    return str(pydicom.dcmread(path, specific_tags=["SeriesInstanceUID"]).SeriesInstanceUID)


@pytest.mark.parametrize("name", ANSWERS)
def test_the_table_has_the_regions_contours_and_points_of_the_answers(
    bench: Bench, shared_data: Path, name: str
) -> None:
    answer = json.loads((shared_data / "answers/objects.json").read_text())[name]["rois"]
    found = bench.structures(indexed(bench, shared_data / name))
    table = found.to_pandas()[["number", "name", "contours", "points"]]
    assert table.to_dict("records") == answer
    assert len(found) == len(answer)


def test_it_shows_itself_in_a_notebook_and_on_a_terminal(bench: Bench, shared_data: Path) -> None:
    found = bench.structures(indexed(bench, shared_data / ANSWERS[0]))
    text, html = repr(found), found._repr_html_()
    for part in ("Heart", "Tumor Bed", "4732"):
        assert part in text
        assert part in html
    assert "10 regions" in text
    heart = pydicom.dcmread(shared_data / ANSWERS[0]).ROIContourSequence[4]
    assert "#{:02x}{:02x}{:02x}".format(*map(int, heart.ROIDisplayColor)) in text


def test_a_region_has_its_polygons_in_millimetres(bench: Bench, shared_data: Path) -> None:
    found = bench.structures(indexed(bench, shared_data / ANSWERS[0]))
    first = pydicom.dcmread(shared_data / ANSWERS[0]).ROIContourSequence[4].ContourSequence[0]
    assert np.array_equal(
        found["Heart"].contours[0].points_lps_mm,
        np.array([float(each) for each in first.ContourData]).reshape(-1, 3),
    )
    with pytest.raises(NotFoundError, match="0 structures have that name"):
        found["Spleen"]


def test_a_mask_lies_where_the_contour_was_drawn(
    bench: Bench, shared_data: Path, tmp_path: Path, ct: phantoms.Phantom
) -> None:
    bench.index(ct.paths[0].parent, quiet=True)
    volume = bench.volume(ct.series_instance_uid)
    corners = volume.dicom.to_lps([(2.5, 3.5, 2), (9.5, 3.5, 2), (9.5, 8.5, 2), (2.5, 8.5, 2)])
    ds = pydicom.dcmread(shared_data / ANSWERS[1])
    ds.StructureSetROISequence[0].ReferencedFrameOfReferenceUID = ct.frame_of_reference_uid
    contours = ds.ROIContourSequence[0].ContourSequence
    del contours[1:]
    contours[0].ContourData = [f"{each:.6f}" for each in corners.ravel()]
    contours[0].NumberOfContourPoints = 4
    ds.save_as(tmp_path / "rt.dcm")
    found = bench.structures(indexed(bench, tmp_path / "rt.dcm"))
    mask = found.mask(volume, "ROI-1")
    expected = np.zeros(volume.shape, bool)
    expected[2, 4:9, 3:10] = True
    assert np.array_equal(mask, expected)
    assert np.array_equal(mask.dicom.affine_lps, volume.dicom.affine_lps)


def test_several_structure_sets_of_a_series_are_told_apart_by_their_uid(
    bench: Bench, shared_data: Path, tmp_path: Path
) -> None:
    for number in (1, 2):
        ds = pydicom.dcmread(shared_data / ANSWERS[1])
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"2.25.{number}"
        ds.save_as(tmp_path / f"{number}.dcm")
    bench.index(tmp_path, quiet=True)
    with pytest.raises(NotFoundError, match=r"choose one with sop_instance_uid=: 2\.25\.1, 2\.25\.2"):
        bench.structures(ds.SeriesInstanceUID)
    found = bench.structures(ds.SeriesInstanceUID, sop_instance_uid="2.25.2")
    assert found.structure_set.sop_instance_uid == "2.25.2"


def test_a_series_without_one_says_so(bench: Bench, ct: phantoms.Phantom) -> None:
    bench.index(ct.paths[0].parent, quiet=True)
    with pytest.raises(NotFoundError, match="has no structure set; `workbench series Modality=RTSTRUCT`"):
        bench.structures(ct.series_instance_uid)
