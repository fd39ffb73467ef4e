"""What keeps images from being a volume has a kind, whatever the words of its reason."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pydicom
import pytest

from catalog.records import InstanceRecord
from pipelines import phantoms
from pipelines.axes.expansion import expanded
from pipelines.axes.faults import faults_of
from pipelines.axes.split import split


@pytest.fixture
def mosaic(indexed: Any, tmp_path: Path) -> InstanceRecord:
    """A mosaic by its Image Type that has no CSA header."""
    phantom = phantoms.write_series(tmp_path / "archive", planes=1, modality="MR")
    ds = pydicom.dcmread(phantom.paths[0])
    ds.ImageType = ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]
    ds.save_as(phantom.paths[0])
    (series,) = indexed(tmp_path / "archive")
    (image,) = series.instances
    return image


def test_a_mosaic_that_cannot_be_unfolded_is_a_private_dialect(mosaic: InstanceRecord) -> None:
    (plane,) = expanded(mosaic).planes
    assert plane.obstacle
    for words in (plane.obstacle, "said otherwise"):
        (part,) = split([replace(plane, obstacle=words)])
        (found,) = faults_of(part, 3)
        assert (found.kind, found.words, found.part) == ("private_dialect", words, 3)


def test_another_obstacle_is_none(mosaic: InstanceRecord) -> None:
    (part,) = split([replace(mosaic, image_type="ORIGINAL\\PRIMARY", obstacle="part 2 of 3 is missing")])
    assert faults_of(part, 0) == []
