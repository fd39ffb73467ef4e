"""Overlays: those of real images, their places and frames, and those in bits that hold no value."""

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom import Dataset
from pydicom.overlays import get_overlay_array

from catalog.errors import DecodeError
from pipelines import phantoms
from pipelines.presentation.overlays import overlays_of
from pipelines.verify import verify_array
from pipelines.volumes import open_array, stored_values


def overlay(shape: tuple[int, ...], data: bytes | None, **attributes: Any) -> Dataset:
    """Overlay plane attributes of group 6002; shape (rows, columns) or (frames, rows, columns)."""
    ds = Dataset()
    ds.add_new(0x60020010, "US", shape[-2])
    ds.add_new(0x60020011, "US", shape[-1])
    if len(shape) == 3:
        ds.add_new(0x60020015, "IS", shape[0])
        ds.add_new(0x60020051, "US", attributes.pop("first", 1))
    ds.add_new(0x60020040, "CS", "R")
    ds.add_new(0x60020050, "SS", attributes.pop("origin", [1, 1]))
    ds.add_new(0x60020100, "US", attributes.pop("allocated", 1))
    ds.add_new(0x60020102, "US", attributes.pop("position", 0))
    ds.add_new(0x60021500, "LO", "region")
    if data is not None:
        ds.add_new(0x60023000, "OW", data)
    assert not attributes
    return ds


def bits(planes: Any) -> bytes:
    packed = np.packbits(np.asarray(planes, bool), bitorder="little").tobytes()
    return packed + b"\0" * (len(packed) % 2)


def test_the_overlay_of_a_real_mammogram_lies_where_its_origin_says(indexed: Any, shared_data: Path) -> None:
    path = shared_data / "modalities" / "mg_overlay_jpegll.dcm"
    (series,) = indexed(path)
    image = open_array(series.array)
    found, *others = image.dicom.overlays()
    assert [each.name for each in others] == ["overlay_6002"]
    ds = pydicom.dcmread(path)
    expected = np.zeros((788, 1318), bool)
    mark = get_overlay_array(ds, 0x6000)
    expected[703 : 703 + 101, 408 : 408 + 101] = mark[: 788 - 703]
    assert found.shape == (1, 788, 1318)
    assert np.array_equal(found[0], expected)
    assert found.any()
    assert (found.attrs["description"], found.attrs["type"]) == ("First reference mark", "G")
    assert found.attrs["origin"] == [704, 409]


def test_each_plane_has_its_own_overlay_or_none(indexed: Any, tmp_path: Path) -> None:
    phantom = phantoms.write_series(tmp_path / "a", planes=4, rows=5, columns=7)
    drawn = np.random.default_rng(3).random((4, 5, 7)) > 0.5
    drawn[2] = False
    for number, path in enumerate(phantom.paths):
        if number != 2:
            ds = pydicom.dcmread(path)
            ds.update(overlay((5, 7), bits(drawn[number])))
            ds.save_as(path)
    (series,) = indexed(tmp_path / "a")
    volume = open_array(series.array)
    (found,) = volume.dicom.overlays()
    assert found.dims == volume.dims
    assert found.name == "overlay_6002"
    assert np.array_equal(found, drawn)
    (some,) = volume[::-2, 1:3].dicom.overlays()
    assert np.array_equal(some, drawn[::-2])
    assert volume[2:3].dicom.overlays() == ()


def test_an_overlay_of_frames_begins_at_its_frame() -> None:
    drawn = np.random.default_rng(4).random((2, 3, 5)) > 0.5
    (found,) = overlays_of(overlay((2, 3, 5), bits(drawn), first=3))
    assert [found.on(frame, (3, 5)).any() for frame in (0, 1, 4)] == [False] * 3
    assert np.array_equal(found.on(2, (3, 5)), drawn[0])
    assert np.array_equal(found.on(3, (3, 5)), drawn[1])
    (every,) = overlays_of(overlay((3, 5), bits(drawn[0])))
    assert np.array_equal(every.on(17, (3, 5)), drawn[0])


@pytest.mark.parametrize("origin", [[1, 1], [-1, 3], [4, -2], [9, 9], [-9, -9], [2, 2]])
def test_an_overlay_may_reach_beyond_its_image(origin: list[int]) -> None:
    drawn = np.random.default_rng(5).random((4, 6)) > 0.3
    (found,) = overlays_of(overlay((4, 6), bits(drawn), origin=origin))
    large = np.zeros((40, 40), bool)
    large[15 + origin[0] - 1 :, 15 + origin[1] - 1 :][:4, :6] = drawn
    assert np.array_equal(found.on(0, (5, 5)), large[15:20, 15:20])


@pytest.mark.parametrize(
    ("ds", "reason"),
    [
        (overlay((100, 100), b"ab"), "has 2 bytes for 1 planes of 100 x 100"),
        (overlay((30_000, 60_000, 60_000), b"ab"), "has 2 bytes for 30000 planes"),
        (overlay((4, 6), b"abcd", origin=[1]), "6002 cannot be read"),
    ],
)
def test_an_overlay_that_lies_is_an_error_with_the_reason(ds: Dataset, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        overlays_of(ds)


@pytest.mark.parametrize(("stored_bits", "high_bit", "position"), [(12, 11, 15), (12, 11, 12), (12, 15, 1)])
def test_overlays_in_unused_bits_are_not_in_the_values_and_not_lost(
    indexed: Any, tmp_path: Path, stored_bits: int, high_bit: int, position: int
) -> None:
    phantom = phantoms.write_series(tmp_path / "a", planes=3, rows=5, columns=7)
    drawn = np.random.default_rng(6).random((3, 5, 7)) > 0.5
    for number, path in enumerate(phantom.paths):
        ds = pydicom.dcmread(path)
        ds.BitsStored, ds.HighBit = stored_bits, high_bit
        ds.update(overlay((5, 7), None, allocated=16, position=position))
        pixels = (
            phantom.stored[number] << (high_bit - stored_bits + 1) | drawn[number].astype("<u2") << position
        )
        ds.PixelData = pixels.astype("<u2").tobytes()
        ds.save_as(path)
    (series,) = indexed(tmp_path / "a")
    record = series.array
    assert np.array_equal(stored_values(record), phantom.stored)
    (found,) = open_array(record).dicom.overlays()
    assert np.array_equal(found, drawn)
    assert not verify_array(record, series.instances).mismatches


def test_an_image_without_overlays_has_none(indexed: Any, ct: phantoms.Phantom) -> None:
    (series,) = indexed(ct.paths[0].parent)
    assert open_array(series.array).dicom.overlays() == ()
