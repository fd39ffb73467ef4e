import io
import os
import pickle
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dask
import highdicom
import numpy as np
import numpy.typing as npt
import pydicom
import pytest
import xarray as xr
from distributed import Client
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms
from pydicom import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    VLWholeSlideMicroscopyImageStorage,
)

from catalog.errors import DecodeError, GeometryError, HeaderError
from pipelines.slides.levels import open_slide

type Picture = npt.NDArray[np.integer[Any]]
type Place = tuple[int, int, int, int]
"""Optical path, focal plane, row and column of a tile."""

ROWS, COLUMNS = 4, 6
"""Of a tile."""
STANDARD = (0, -1, 0, -1, 0, 0)
"""Image Orientation (Slide) of a slide whose label is at the left (PS3.3 figure C.8-16)."""


def picture(*shape: int, dtype: str = "uint8", seed: int = 0) -> Picture:
    """Noise of shape (optical path, focal plane, y, x) or, for colour, with a last axis of 3."""
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype)


def places(values: Picture) -> list[Place]:
    """Every place of a tile, in the order of TILED_FULL (PS3.3 C.7.6.17.3)."""
    paths, planes, rows, columns = values.shape[:4]
    return [
        (path, plane, row, column)
        for path in range(paths)
        for plane in range(planes)
        for row in range(-(-rows // ROWS))
        for column in range(-(-columns // COLUMNS))
    ]


def tile(values: Picture, place: Place) -> Picture:
    """What lies at a place, filled up with 7 where the tile reaches beyond the matrix."""
    path, plane, row, column = place
    found = np.full((ROWS, COLUMNS, *values.shape[4:]), 7, values.dtype)
    part = values[path, plane, row * ROWS : (row + 1) * ROWS, column * COLUMNS : (column + 1) * COLUMNS]
    found[: part.shape[0], : part.shape[1]] = part
    return found


def item(**values: Any) -> Dataset:
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


def write_image(
    path: Path,
    values: Picture,
    *,
    sparse: Sequence[Place] | None = None,
    part: slice = slice(None),
    **attributes: Any,
) -> Path:
    """Write an image of a slide in native tiles; `sparse` says which tiles, `part` which of all frames.

    Pixels are 0.5 µm high and 0.25 µm wide, the first one at (10, 20) mm, focal planes 2 µm apart. Attributes
    of None are left out.
    """
    tiles = places(values) if sparse is None else list(sparse)
    frames = [tile(values, place) for place in tiles][part]
    is_colour = values.ndim == 5
    shared = item(PixelMeasuresSequence=[item(PixelSpacing=[0.0005, 0.00025], SpacingBetweenSlices=0.002)])
    known = {
        "SOPClassUID": VLWholeSlideMicroscopyImageStorage,
        "SOPInstanceUID": pydicom.uid.generate_uid(entropy_srcs=[str(path)]),
        "StudyInstanceUID": "2.25.2",
        "SeriesInstanceUID": "2.25.3",
        "FrameOfReferenceUID": "2.25.4",
        "Modality": "SM",
        "ImageType": ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"],
        "ContainerIdentifier": "S-1",
        "TotalPixelMatrixRows": values.shape[2],
        "TotalPixelMatrixColumns": values.shape[3],
        "TotalPixelMatrixFocalPlanes": values.shape[1],
        "TotalPixelMatrixOriginSequence": [
            item(XOffsetInSlideCoordinateSystem=10.0, YOffsetInSlideCoordinateSystem=20.0)
        ],
        "ImageOrientationSlide": list(STANDARD),
        "DimensionOrganizationType": "TILED_FULL" if sparse is None else "TILED_SPARSE",
        "DimensionIndexSequence": [
            item(DimensionIndexPointer=pointer, FunctionalGroupPointer=0x0048021A)
            for pointer in (0x0048021E, 0x0048021F)
        ],
        "NumberOfOpticalPaths": len(values),
        "OpticalPathSequence": [
            item(OpticalPathIdentifier=str(number + 1), ObjectiveLensPower=20.0)
            for number in range(len(values))
        ],
        "SharedFunctionalGroupsSequence": [shared],
        "SamplesPerPixel": 3 if is_colour else 1,
        "PhotometricInterpretation": "RGB" if is_colour else "MONOCHROME2",
        "PlanarConfiguration": 0 if is_colour else None,
        "NumberOfFrames": len(frames),
        "Rows": ROWS,
        "Columns": COLUMNS,
        "BitsAllocated": values.dtype.itemsize * 8,
        "BitsStored": values.dtype.itemsize * 8,
        "HighBit": values.dtype.itemsize * 8 - 1,
        "PixelRepresentation": 0,
        "PixelData": b"".join(frame.tobytes() for frame in frames),
    }
    if sparse is not None:
        known["PerFrameFunctionalGroupsSequence"] = [groups(place) for place in tiles][part]
    return save(path, known | attributes)


def groups(place: Place) -> Dataset:
    """Functional groups of a tile of TILED_SPARSE."""
    path, plane, row, column = place
    return item(
        FrameContentSequence=[item(DimensionIndexValues=[column + 1, row + 1])],
        PlanePositionSlideSequence=[
            item(
                RowPositionInTotalImagePixelMatrix=row * ROWS + 1,
                ColumnPositionInTotalImagePixelMatrix=column * COLUMNS + 1,
                XOffsetInSlideCoordinateSystem=0.0,
                YOffsetInSlideCoordinateSystem=0.0,
                ZOffsetInSlideCoordinateSystem=2.0 * plane,
            )
        ],
        OpticalPathIdentificationSequence=[item(OpticalPathIdentifier=str(path + 1))],
    )


def save(path: Path, values: dict[str, Any], transfer_syntax: str = ExplicitVRLittleEndian) -> Path:
    ds = item(**{keyword: value for keyword, value in values.items() if value is not None})
    ds["PixelData"].VR = "OW" if ds.BitsAllocated > 8 else "OB"
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = transfer_syntax
    ds.save_as(path, enforce_file_format=True)
    return path


def of_highdicom(path: Path, **options: Any) -> npt.NDArray[Any]:
    """The total pixel matrix as highdicom puts it together."""
    image = highdicom.Image.from_dataset(completed(path))
    try:
        return image.get_total_pixel_matrix(apply_icc_profile=False, **options)
    finally:
        image._db_con.close()  # it has no public way


def completed(path: Path) -> Dataset:
    """A header with what highdicom requires and some real files lack."""
    ds = pydicom.dcmread(path)
    ds.DimensionIndexSequence[0].DimensionIndexPointer = 0x0048021E
    ds.DimensionIndexSequence[1].DimensionIndexPointer = 0x0048021F
    if "TotalPixelMatrixOriginSequence" not in ds:
        ds.TotalPixelMatrixOriginSequence = [
            item(XOffsetInSlideCoordinateSystem=0.0, YOffsetInSlideCoordinateSystem=0.0)
        ]
    if "OpticalPathSequence" not in ds:
        ds.OpticalPathSequence = [item(OpticalPathIdentifier="1")]
    return ds


# --- real slides -----------------------------------------------------------------------------------------

REAL_LEVELS = 12


@pytest.fixture(scope="module")
def cmu(shared_data: Path) -> list[Path]:
    """Files of a real pyramid, from the largest to the smallest."""
    folder = shared_data / "objects" / "wsi_cmu1"
    return [next(folder.glob(f"level-{number}-*.dcm")) for number in range(REAL_LEVELS)]


def by_pillow(path: Path) -> npt.NDArray[np.uint8]:
    """Tiles taken out by pydicom, decoded by Pillow and laid out by NumPy, cut to the matrix."""
    ds = pydicom.dcmread(path)
    frames = generate_frames(ds.PixelData, number_of_frames=ds.NumberOfFrames)
    tiles = np.stack([np.asarray(Image.open(io.BytesIO(frame))) for frame in frames])
    down, across = (-(-ds.TotalPixelMatrixRows // ds.Rows), -(-ds.TotalPixelMatrixColumns // ds.Columns))
    whole = tiles.reshape(down, across, ds.Rows, ds.Columns, 3).swapaxes(1, 2)
    return whole.reshape(down * ds.Rows, across * ds.Columns, 3)[
        : ds.TotalPixelMatrixRows, : ds.TotalPixelMatrixColumns
    ]


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI", "ignore:The .0028,0004.")  # of pydicom
def test_every_level_of_a_real_pyramid_is_what_other_readers_put_together(cmu: list[Path]) -> None:
    slide = open_slide(reversed(cmu))
    assert list(slide["level"].children) == [str(number) for number in range(REAL_LEVELS)]
    assert "left_out" not in slide.attrs
    for number, path in enumerate(cmu):
        level = slide[f"level/{number}/image"]
        assert level.dims == ("y", "x", "channel")
        values = level.to_numpy()
        np.testing.assert_array_equal(values, by_pillow(path))
        difference = np.abs(of_highdicom(path, dtype=np.int16) - values)
        assert difference.max() <= 1  # pydicom makes RGB of JPEG's YCbCr itself and rounds otherwise
        assert np.count_nonzero(difference) < 1e-5 * difference.size + 1


def test_chunks_are_the_tiles_of_the_file_and_the_last_are_cut_to_the_matrix(cmu: list[Path]) -> None:
    level = open_slide(cmu[0])["level/0/image"]
    assert level.shape == (2967, 2220, 3)
    assert level.chunks == ((500,) * 5 + (467,), (500,) * 4 + (220,), (3,))


def test_the_same_millimetres_are_the_same_tissue_on_every_level(cmu: list[Path]) -> None:
    slide = open_slide(cmu)
    region = {"y": slice(0.5, 0.75), "x": slice(0.25, 0.5)}
    fine, coarse = (
        slide[f"level/{number}/image"].sel(region).mean(("y", "x")).to_numpy() for number in (0, 3)
    )
    np.testing.assert_allclose(fine, coarse, atol=2)
    assert fine.min() < 225  # there is tissue


def test_a_slide_that_does_not_say_where_it_lies_says_so(cmu: list[Path]) -> None:
    level = open_slide(cmu)["level/0/image"]
    assert "no usable Total Pixel Matrix Origin" in level.attrs["reason"]
    assert float(level.y[0]) == pytest.approx(0.000499 / 2, rel=1e-6)
    assert "x_slide_mm" not in level.coords


# --- the order of tiles ----------------------------------------------------------------------------------


@pytest.mark.parametrize("samples", [(), (3,)])
def test_optical_paths_and_focal_planes_are_leading_axes(tmp_path: Path, samples: tuple[int, ...]) -> None:
    values = picture(2, 3, 10, 15, *samples)
    path = write_image(tmp_path / "a.dcm", values)
    image = open_slide(path)["level/0/image"]
    assert image.dims == ("optical_path", "focal_plane", "y", "x", "channel")[: 4 + len(samples)]
    assert image.chunks[:4] == ((1, 1), (1, 1, 1), (4, 4, 2), (6, 6, 3))
    np.testing.assert_array_equal(image, values)
    assert list(image.optical_path.to_numpy()) == ["1", "2"]
    np.testing.assert_allclose(image.focal_plane, [0, 0.002, 0.004])
    assert image.focal_plane.attrs["units"] == "mm"


def test_tiles_lie_where_highdicom_says_they_do(tmp_path: Path) -> None:
    values = picture(2, 2, 10, 15)
    path = write_image(tmp_path / "a.dcm", values)
    image = open_slide(path)["level/0/image"]
    frames = pydicom.dcmread(path).pixel_array
    positions = highdicom.spatial.iter_tiled_full_frame_data(pydicom.dcmread(path))
    for frame, (channel, plane, column, row, _, _, z) in zip(frames, positions, strict=True):
        found = image[channel - 1, plane - 1, row - 1 : row + ROWS - 1, column - 1 : column + COLUMNS - 1]
        np.testing.assert_array_equal(found, frame[: found.shape[0], : found.shape[1]])
        assert float(found.focal_plane) == pytest.approx(z)


def test_fluorescence_channels_in_files_of_their_own_become_one_axis(tmp_path: Path) -> None:
    values = picture(3, 1, 10, 15, dtype="uint16")
    dyes = {"DAPI": 358.0, "FITC": 495.0, "Cy5": 650.0}
    for number, (dye, nm) in enumerate(dyes.items()):
        described = item(OpticalPathIdentifier="1", OpticalPathDescription=dye, IlluminationWaveLength=nm)
        write_image(
            tmp_path / f"{number}.dcm", values[number : number + 1], OpticalPathSequence=[described],
            InstanceNumber=number,
        )  # fmt: skip
    slide = open_slide(sorted(tmp_path.iterdir(), reverse=True))
    image = slide["level/0/image"]
    assert list(slide["level"].children) == ["0"]
    assert image.dims == ("optical_path", "y", "x")
    np.testing.assert_array_equal(image, values[:, 0])
    assert list(image.optical_path.to_numpy()) == ["1 DAPI", "1 FITC", "1 Cy5"]
    np.testing.assert_array_equal(image.illumination_wave_length, list(dyes.values()))
    assert len(image.attrs["sop_instance_uids"]) == 3


@pytest.mark.parametrize("keyword", ["ChannelDescriptionCodeSequence", "IlluminationColorCodeSequence"])
def test_channels_are_told_apart_by_their_codes_where_nothing_else_is_said(
    tmp_path: Path, keyword: str
) -> None:
    values = picture(2, 1, 10, 15)
    for number, name in enumerate(("Blue", "Green")):
        optics = item(OpticalPathIdentifier="1", **{keyword: [item(CodeMeaning=name)]})
        write_image(
            tmp_path / f"{number}.dcm", values[number : number + 1], OpticalPathSequence=[optics],
            InstanceNumber=number,
        )  # fmt: skip
    image = open_slide(tmp_path.iterdir())["level/0/image"]
    np.testing.assert_array_equal(image, values[:, 0])
    assert list(image.optical_path_description.to_numpy()) == ["Blue", "Green"]


def test_an_optical_path_that_is_described_and_has_no_tile_is_no_axis(tmp_path: Path) -> None:
    values = picture(1, 1, 10, 15)
    described = [item(OpticalPathIdentifier=str(number)) for number in (1, 2)]
    image = open_slide(write_image(tmp_path / "a.dcm", values, OpticalPathSequence=described))[
        "level/0/image"
    ]
    np.testing.assert_array_equal(image, values[0, 0])


def test_two_images_of_one_size_that_nothing_sets_apart_are_two_levels(tmp_path: Path) -> None:
    paths = [write_image(tmp_path / f"{seed}.dcm", picture(1, 1, 10, 15, seed=seed)) for seed in range(2)]
    assert len(open_slide(paths)["level"].children) == 2


def test_the_parts_of_a_concatenation_are_one_image(tmp_path: Path) -> None:
    values = picture(1, 2, 10, 15, 3)
    whole = write_image(tmp_path / "whole.dcm", values)
    parts = [
        write_image(
            tmp_path / f"{number}.dcm", values, part=part, ConcatenationUID="2.25.9",
            ConcatenationFrameOffsetNumber=part.start, InConcatenationNumber=number + 1,
        )
        for number, part in enumerate((slice(0, 7), slice(7, 11), slice(11, 18)))
    ]  # fmt: skip
    joined = open_slide(parts[::-1])
    assert list(joined["level"].children) == ["0"]
    np.testing.assert_array_equal(joined["level/0/image"], open_slide(whole)["level/0/image"])
    with pytest.raises(HeaderError, match="lacks 4 tiles: a part of its concatenation is not there"):
        open_slide([parts[0], parts[2]])


# --- tiles that are not there ----------------------------------------------------------------------------


@given(order=st.permutations(range(18)), there=st.integers(1, 18))
def test_sparse_tiles_lie_where_they_say_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], there: int
) -> None:
    values = picture(2, 1, 10, 15)
    chosen = [places(values)[number] for number in order[:there]]
    path = write_image(tmp_path_factory.mktemp("sparse") / "a.dcm", values, sparse=chosen)
    image = open_slide(path)["level/0/image"]
    expected = np.zeros_like(values)
    for optical_path, plane, row, column in chosen:
        part = (optical_path, plane, slice(row * 4, row * 4 + 4), slice(column * 6, column * 6 + 6))
        expected[part] = values[part]
    if len({place[0] for place in chosen}) == 2:
        np.testing.assert_array_equal(image, expected[:, 0])
        assert image.attrs.get("absent_tiles", 0) == 18 - there
    else:
        np.testing.assert_array_equal(image, expected[chosen[0][0], 0])


def test_sparse_tiles_are_those_of_highdicom(tmp_path: Path) -> None:
    values = picture(1, 1, 10, 15, 3)
    path = write_image(tmp_path / "a.dcm", values, sparse=places(values)[::-1])
    image = open_slide(path)["level/0/image"]
    np.testing.assert_array_equal(image, of_highdicom(path, dtype=np.uint8))
    np.testing.assert_array_equal(image, values[0, 0])


@pytest.mark.parametrize(
    ("samples", "attributes", "background"),
    [
        ((), {}, 0),
        ((3,), {}, 255),
        ((3,), {"RecommendedAbsentPixelCIELabValue": [39321, 32896, 32896]}, (145, 145, 145)),
    ],
)
def test_absent_tiles_have_the_background_that_is_stated(
    tmp_path: Path, samples: tuple[int, ...], attributes: dict[str, Any], background: Any
) -> None:
    values = picture(1, 1, 8, 12, *samples)
    path = write_image(tmp_path / "a.dcm", values, sparse=[(0, 0, 0, 0), (0, 0, 1, 1)], **attributes)
    image = open_slide(path)["level/0/image"]
    np.testing.assert_array_equal(image[:4, :6], values[0, 0, :4, :6])
    np.testing.assert_array_equal(image[:4, 6:], np.broadcast_to(background, (4, 6, *samples)))
    assert np.all(np.equal(image.attrs["background"], background))
    assert image.attrs["absent_tiles"] == 2
    assert image.attrs["background_source"]


# --- where it lies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "orientation", [STANDARD, (1, 0, 0, 0, 1, 0), (0, 1, 0, 1, 0, 0), (-1, 0, 0, 0, -1, 0)]
)
def test_every_pixel_is_where_highdicom_says_it_is(tmp_path: Path, orientation: tuple[int, ...]) -> None:
    path = write_image(tmp_path / "a.dcm", picture(1, 1, 10, 15), ImageOrientationSlide=list(orientation))
    image = open_slide(path)["level/0/image"]
    to_slide = highdicom.spatial.PixelToReferenceTransformer.for_image(
        pydicom.dcmread(path), for_total_pixel_matrix=True
    )
    rows, columns = (each.ravel() for each in np.mgrid[:10, :15])
    expected = to_slide(np.stack([columns, rows], axis=1))[:, :2]
    by_coordinates = np.stack([
        np.broadcast_to(image[name], (10, 15)) if image[name].dims == ("x",)
        else np.broadcast_to(image[name].to_numpy()[:, np.newaxis], (10, 15))
        for name in ("x_slide_mm", "y_slide_mm")
    ], axis=-1).reshape(-1, 2)  # fmt: skip
    np.testing.assert_allclose(by_coordinates, expected, atol=1e-9)
    affine = np.array(image.attrs["affine_slide"])
    np.testing.assert_allclose((affine @ [columns, rows, np.ones(150)])[:2].T, expected, atol=1e-9)
    along = np.array(orientation, float).reshape(2, 3)[:, :2] @ expected.reshape(10, 15, 2)[..., np.newaxis]
    np.testing.assert_allclose(image.x, along[0, :, 0, 0], atol=1e-9)
    np.testing.assert_allclose(image.y, along[:, 0, 1, 0], atol=1e-9)


def test_a_slide_turned_a_little_has_its_affine_alone(tmp_path: Path) -> None:
    turned = [0.8, 0.6, 0, -0.6, 0.8, 0]
    path = write_image(tmp_path / "a.dcm", picture(1, 1, 10, 15), ImageOrientationSlide=turned)
    image = open_slide(path)["level/0/image"]
    assert "x_slide_mm" not in image.coords
    np.testing.assert_allclose(np.array(image.attrs["affine_slide"])[:2, 0], [0.8 * 0.00025, 0.6 * 0.00025])
    assert float(image.x[1] - image.x[0]) == pytest.approx(0.00025)


def test_the_size_of_the_imaged_volume_serves_where_there_is_no_pixel_spacing(tmp_path: Path) -> None:
    path = write_image(
        tmp_path / "a.dcm", picture(1, 1, 10, 15), SharedFunctionalGroupsSequence=None,
        ImagedVolumeWidth=0.003, ImagedVolumeHeight=0.001,
    )  # fmt: skip
    image = open_slide(path)["level/0/image"]
    np.testing.assert_allclose(np.diff(image.x), 0.0002, rtol=1e-6)
    np.testing.assert_allclose(np.diff(image.y), 0.0001, rtol=1e-6)


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"SharedFunctionalGroupsSequence": None}, "no usable Pixel Spacing"),
        ({"ImageOrientationSlide": None}, "no Image Orientation"),
        ({"ImageOrientationSlide": [1, 0, 0, 1, 0, 0]}, "are not two directions across the slide"),
        ({"TotalPixelMatrixOriginSequence": None}, "no usable Total Pixel Matrix Origin"),
    ],
)
def test_an_image_without_a_place_opens_and_says_what_is_missing(
    tmp_path: Path, attributes: dict[str, Any], reason: str
) -> None:
    values = picture(1, 1, 10, 15)
    image = open_slide(write_image(tmp_path / "a.dcm", values, **attributes))["level/0/image"]
    np.testing.assert_array_equal(image, values[0, 0])
    assert reason in image.attrs["reason"]
    assert "affine_slide" not in image.attrs


# --- other images of the slide ---------------------------------------------------------------------------


def test_label_overview_and_thumbnail_are_nodes_of_their_own(tmp_path: Path) -> None:
    sizes = {"VOLUME": (10, 15), "LABEL": (4, 6), "OVERVIEW": (4, 12), "THUMBNAIL": (3, 5)}
    written = {}
    for flavor, size in sizes.items():
        written[flavor] = picture(1, 1, *size, 3)
        kind = ["ORIGINAL", "PRIMARY", flavor, "NONE"]
        write_image(tmp_path / f"{flavor}.dcm", written[flavor], ImageType=kind)
    slide = open_slide(tmp_path.iterdir())
    assert set(slide.children) == {"level", "label", "overview", "thumbnail"}
    for flavor, name in {"VOLUME": "level/0", "LABEL": "label", "THUMBNAIL": "thumbnail"}.items():
        np.testing.assert_array_equal(slide[f"{name}/image"], written[flavor][0, 0])
    assert slide.attrs["container_identifier"] == "S-1"


def test_a_label_without_a_pixel_matrix_is_one_tile(tmp_path: Path) -> None:
    values = picture(1, 1, ROWS, COLUMNS, 3)
    path = write_image(
        tmp_path / "a.dcm", values, ImageType=["ORIGINAL", "PRIMARY", "LABEL", "NONE"],
        TotalPixelMatrixRows=None, TotalPixelMatrixColumns=None, DimensionOrganizationType=None,
    )  # fmt: skip
    np.testing.assert_array_equal(open_slide(path)["label/image"], values[0, 0])


def test_the_attributes_name_objective_container_and_colour_profile(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    optics = item(OpticalPathIdentifier="1", ObjectiveLensPower=40.0, ICCProfile=profile)
    path = write_image(tmp_path / "a.dcm", picture(1, 1, 10, 15, 3), OpticalPathSequence=[optics])
    attributes = open_slide(path)["level/0/image"].attrs
    assert "sRGB" in attributes["icc_profile"]
    assert attributes["objective_lens_power"] == 40
    assert attributes["pixel_spacing_mm"] == [0.0005, 0.00025]
    assert attributes["container_identifier"] == "S-1"
    assert attributes["sop_instance_uids"] == [pydicom.dcmread(path).SOPInstanceUID]


def test_an_image_that_cannot_be_opened_is_named_and_the_others_open(tmp_path: Path, ct: Any) -> None:
    good = write_image(tmp_path / "good.dcm", picture(1, 1, 10, 15))
    odd = write_image(tmp_path / "odd.dcm", picture(1, 1, 4, 6), ImageType=["ORIGINAL", "PRIMARY", "X"])
    slide = open_slide([ct.paths[0], good, odd])
    assert list(slide.children) == ["level"]
    ct_reason, odd_reason = slide.attrs["left_out"]
    assert str(ct.paths[0]) in ct_reason
    assert "is CT Image Storage, not an image of a slide" in ct_reason
    assert "is 'X' by value 3 of Image Type" in odd_reason


# --- hostile headers -------------------------------------------------------------------------------------

MILLION = {"TotalPixelMatrixRows": 10**6, "TotalPixelMatrixColumns": 10**6}
ONE = [(0, 0, 0, 0)]
OTHER_PATH = item(OpticalPathIdentifier="2")


@pytest.mark.parametrize(
    ("sparse", "attributes", "error", "reason"),
    [
        (None, MILLION, HeaderError, "has 1 tiles from 0 on, a total pixel matrix of 1,000,000 x 1,000,000"),
        (ONE, MILLION, HeaderError, "more than 4,194,304 places of tiles"),
        (ONE, {"TotalPixelMatrixRows": 2**32 - 1}, HeaderError, "may have up to 2,097,152 pixels"),
        (None, {"TotalPixelMatrixRows": 0}, HeaderError, "a total pixel matrix of 0 x 6"),
        (None, {"TotalPixelMatrixFocalPlanes": 2**32 - 1}, HeaderError, "4,294,967,295 focal planes"),
        (None, {"NumberOfFrames": 2}, HeaderError, "has 2 tiles"),
        (
            None,
            {"OpticalPathSequence": None, "NumberOfOpticalPaths": 2**31},
            HeaderError,
            "has 2,147,483,648 optical",
        ),
        ([(0, 0, 0, 3)], {}, GeometryError, "row 1, column 19, outside of its matrix"),
        ([(0, 0, 0, 0), (0, 0, 0, 0)], {}, GeometryError, "two tiles at one place"),
        (
            ONE,
            {"OpticalPathSequence": [OTHER_PATH]},
            HeaderError,
            "optical path '1' that it does not describe",
        ),
        (ONE, {"NumberOfFrames": 7}, HeaderError, "has 7 frames and functional groups for 1"),
        (None, {"BitsAllocated": 12}, DecodeError, "12 bits allocated"),
        (None, {"Rows": 0}, DecodeError, "no pixels: 0 rows, 6 columns"),
    ],
)
def test_a_header_that_promises_the_impossible_is_refused_and_costs_nothing(
    tmp_path: Path, sparse: Any, attributes: dict[str, Any], error: Any, reason: str
) -> None:
    path = write_image(tmp_path / "a.dcm", picture(1, 1, ROWS, COLUMNS), sparse=sparse, **attributes)
    open_slide(write_image(tmp_path / "warm.dcm", picture(1, 1, ROWS, COLUMNS)))
    tracemalloc.start()
    try:
        with pytest.raises(error, match=reason):
            open_slide(path)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_tiles_that_do_not_lie_on_a_grid_are_refused(tmp_path: Path) -> None:
    off_grid = groups((0, 0, 0, 0))
    off_grid.PlanePositionSlideSequence[0].RowPositionInTotalImagePixelMatrix = 3
    path = write_image(
        tmp_path / "a.dcm", picture(1, 1, 10, 15), sparse=ONE, PerFrameFunctionalGroupsSequence=[off_grid]
    )
    with pytest.raises(GeometryError, match=f"{path}.*do not lie on a grid"):
        open_slide(path)


def test_without_images_there_is_no_slide() -> None:
    with pytest.raises(HeaderError, match="no images"):
        open_slide([])


# --- lazy reading ----------------------------------------------------------------------------------------


def write_jpeg(path: Path, size: int, tile_size: int, *, broken: int | None = None) -> Path:
    """A square of tiles in JPEG, of two colours in turn; one of them may be broken."""
    count = size // tile_size
    encoded = []
    for colour in ((200, 100, 150), (240, 240, 240)):
        buffer = io.BytesIO()
        Image.new("RGB", (tile_size, tile_size), colour).save(buffer, "JPEG", quality=95, subsampling=0)
        encoded.append(buffer.getvalue())
    tiles = [encoded[number % 2] for number in range(count * count)]
    if broken is not None:
        tiles[broken] = b"\xff\xd8" + b"\x00" * (len(tiles[broken]) - 4) + b"\xff\xd9"
    template = pydicom.dcmread(write_image(path, picture(1, 1, ROWS, COLUMNS, 3)))
    del template.PixelData
    values = {each.keyword: each.value for each in template}
    return save(
        path,
        values | {
            "Rows": tile_size, "Columns": tile_size, "NumberOfFrames": len(tiles),
            "TotalPixelMatrixRows": size, "TotalPixelMatrixColumns": size,
            "PhotometricInterpretation": "YBR_FULL_422", "PixelData": encapsulate(tiles),
        },
        JPEGBaseline8Bit,
    )  # fmt: skip


def test_a_tile_is_read_without_the_others(tmp_path: Path) -> None:
    image = open_slide(write_jpeg(tmp_path / "a.dcm", 256, 64, broken=5))["level/0/image"]
    whole = open_slide(write_jpeg(tmp_path / "b.dcm", 256, 64))["level/0/image"].to_numpy()
    for number in set(range(16)) - {5}:
        row, column = divmod(number, 4)
        part = (slice(row * 64, row * 64 + 64), slice(column * 64, column * 64 + 64))
        np.testing.assert_array_equal(image[part], whole[part])
    with pytest.raises(DecodeError, match=r"a\.dcm: frame 6 of 16: "):
        image[64:128, 64:128].compute()
    with pytest.raises(DecodeError, match=r"a\.dcm: frame 6 of 16: "):
        image.compute()


def bytes_read() -> int:
    """By this thread alone: others of the process may read at the same time."""
    counts = Path("/proc/thread-self/io").read_text().split()
    return int(counts[counts.index("rchar:") + 1])


@pytest.mark.skipif(not Path("/proc/thread-self/io").exists(), reason="only Linux counts what a thread reads")
def test_one_tile_costs_the_bytes_of_one_tile(tmp_path: Path) -> None:
    values = picture(1, 1, 40 * ROWS, 100 * COLUMNS, 3)
    image = open_slide(write_image(tmp_path / "a.dcm", values))["level/0/image"]
    size = ROWS * COLUMNS * 3
    image[:ROWS, :COLUMNS].compute(scheduler="synchronous")
    before = bytes_read()
    once_more = bytes_read() - before  # what asking costs
    before = bytes_read()
    found = image[8:12, 60:66].compute(scheduler="synchronous")
    assert bytes_read() - before == once_more + size
    np.testing.assert_array_equal(found, values[0, 0, 8:12, 60:66])
    before = bytes_read()
    image[9, 61].compute(scheduler="synchronous")
    assert bytes_read() - before == once_more + size


_SPANS = st.one_of(
    st.integers(0, 9),
    st.builds(slice, st.integers(0, 15), st.integers(0, 15), st.sampled_from([1, 2, 5, -1])),
)


@given(path=st.one_of(st.integers(0, 1), st.slices(2)), y=_SPANS, x=_SPANS, channel=st.slices(3))
def test_any_part_is_that_part_of_the_whole(
    slide_of_noise: tuple[xr.DataArray, Picture], path: Any, y: Any, x: Any, channel: Any
) -> None:
    image, values = slide_of_noise
    np.testing.assert_array_equal(image[path, y, x, channel], values[path, 0][..., y, x, channel])


@pytest.fixture(scope="module")
def slide_of_noise(tmp_path_factory: pytest.TempPathFactory) -> tuple[xr.DataArray, Picture]:
    values = picture(2, 1, 10, 15, 3)
    path = write_image(tmp_path_factory.mktemp("noise") / "a.dcm", values)
    return open_slide(path)["level/0/image"], values


def test_a_cut_file_is_an_error_when_it_is_read_and_the_other_levels_are_there(tmp_path: Path) -> None:
    values = [picture(1, 1, 20, 30), picture(1, 1, 10, 15)]
    paths = [write_image(tmp_path / f"{number}.dcm", each) for number, each in enumerate(values)]
    os.truncate(paths[0], paths[0].stat().st_size - 30)
    slide = open_slide(paths)
    with pytest.raises(DecodeError, match=r"0\.dcm.*pixel data are cut"):
        slide["level/0/image"].compute()
    np.testing.assert_array_equal(slide["level/1/image"], values[1][0, 0])


def test_records_of_the_catalog_open_like_files(tmp_path: Path, indexed: Any) -> None:
    values = picture(1, 1, 10, 15, 3)
    write_image(tmp_path / "archive.dcm", values)
    (found,) = indexed(tmp_path / "archive.dcm")
    image = open_slide(found.instances)["level/0/image"]
    np.testing.assert_array_equal(image, values[0, 0])
    assert image.attrs["series_instance_uid"] == found.series.series_instance_uid


# --- steps on tiles --------------------------------------------------------------------------------------


def tissue_fraction(image: xr.DataArray) -> xr.DataArray:
    """Part of the pixels that are darker than glass."""
    return (image.mean("channel") < 220).mean()


def test_workers_of_a_cluster_compute_on_tiles(tmp_path: Path, scheduler: str) -> None:
    image = open_slide(write_jpeg(tmp_path / "a.dcm", 256, 64))["level/0/image"]
    with Client(scheduler, set_as_default=False) as client:  # type: ignore[no-untyped-call]
        fraction, colours = client.gather(  # type: ignore[no-untyped-call]
            client.compute([tissue_fraction(image), image.coarsen(y=64, x=64).mean()])  # type: ignore[no-untyped-call]
        )
    assert float(fraction) == pytest.approx(0.5)
    np.testing.assert_allclose(colours[0, 0], (200, 100, 150), atol=1)
    np.testing.assert_allclose(colours[3, 3], (240, 240, 240), atol=1)


def test_an_image_that_was_read_can_still_be_sent_elsewhere(tmp_path: Path) -> None:
    values = picture(1, 1, 10, 15, 3)
    image = open_slide(write_image(tmp_path / "a.dcm", values))["level/0/image"]
    image.compute()
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(image)), values[0, 0])


def test_a_computation_over_a_level_of_192_mb_holds_a_few_tiles(tmp_path: Path) -> None:
    image = open_slide(write_jpeg(tmp_path / "a.dcm", 8_000, 500))["level/0/image"]
    assert image.nbytes == 192_000_000
    tracemalloc.start()
    try:
        with dask.config.set(scheduler="threads", num_workers=2):
            tissue, colour = dask.compute(
                (image.sel(channel="green") < 200).mean(), image.mean(("y", "x"), dtype=np.float32)
            )
        assert tracemalloc.get_traced_memory()[1] < 40_000_000
    finally:
        tracemalloc.stop()
    assert float(tissue) == 0.5
    np.testing.assert_allclose(colour, (220, 170, 195), atol=1)
