"""Photographs and slides."""

from pathlib import Path

import numpy as np
import pydicom
import pydicom.data
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from pipelines.samples.parts import (
    dataset,
    placed,
    save,
    set_frames,
)


def photograph(folder: Path) -> None:
    """A fundus with its colour profile."""
    y, x = np.mgrid[:256, :256]
    radius = np.hypot(y - 128, x - 128)
    picture = np.zeros((256, 256, 3), np.uint8)
    picture[radius < 120] = (190, 90, 40)
    picture[np.hypot(y - 128, x - 180) < 18] = (250, 220, 150)
    picture[(np.abs(y - 128 - 30 * np.sin(x / 40)) < 2) & (radius < 120)] = (120, 20, 20)
    ds = dataset(uid.OphthalmicPhotography8BitImageStorage, "OP", "fundus")
    ds.ICCProfile = (Path(pydicom.data.__file__).parent / "test_files" / "crayons.icc").read_bytes()
    set_frames(ds, picture[None], bits=8, photometric_interpretation="RGB")
    save(ds, folder)


def slide(folder: Path) -> None:
    """Three levels of a stained section, tiles of 128 × 128 in JPEG."""
    import imagecodecs

    y, x = np.mgrid[:512, :512]
    picture = np.full((512, 512, 3), 240, np.uint8)
    tissue = np.hypot(y - 256, (x - 256) * 0.8) < 190
    picture[tissue] = (230, 150, 190)
    rng = np.random.default_rng(0)
    for row, column in rng.integers(60, 450, (220, 2)):
        nucleus = (np.hypot(y - row, x - column) < rng.integers(3, 7)) & tissue
        picture[nucleus] = (90, 40, 130)
    for level in range(3):
        tiles = [
            bytes(imagecodecs.jpeg8_encode(picture[row : row + 128, column : column + 128], level=95))
            for row in range(0, len(picture), 128)
            for column in range(0, len(picture), 128)
        ]
        ds = _slide_header(len(picture), len(tiles), level)
        ds.PixelData = encapsulate(tiles)
        ds["PixelData"].VR = "OB"
        save(ds, folder, uid.JPEGBaseline8Bit, name=f"{level}.dcm")
        picture = picture.reshape(len(picture) // 2, 2, -1, 2, 3).mean((1, 3)).astype(np.uint8)


def _slide_header(size: int, tiles: int, level: int) -> Dataset:
    ds = dataset(uid.VLWholeSlideMicroscopyImageStorage, "SM", "whole slide", level)
    ds.ImageType = [
        "ORIGINAL" if level == 0 else "DERIVED",
        "PRIMARY",
        "VOLUME",
        "NONE" if not level else "RESAMPLED",
    ]
    ds.TotalPixelMatrixRows = ds.TotalPixelMatrixColumns = size
    ds.ImagedVolumeWidth = ds.ImagedVolumeHeight = 0.256
    ds.ImagedVolumeDepth = 0.004
    ds.DimensionOrganizationType = "TILED_FULL"
    ds.ImageOrientationSlide = [0, -1, 0, -1, 0, 0]
    ds.TotalPixelMatrixFocalPlanes = ds.NumberOfOpticalPaths = 1
    ds.FocusMethod, ds.ExtendedDepthOfField, ds.VolumetricProperties = "AUTO", "NO", "VOLUME"
    ds.ContainerIdentifier = "S-1"
    origin, path = Dataset(), Dataset()
    origin.XOffsetInSlideCoordinateSystem, origin.YOffsetInSlideCoordinateSystem = 10.0, 20.0
    path.OpticalPathIdentifier = "1"
    path.ObjectiveLensPower = 20.0
    ds.TotalPixelMatrixOriginSequence, ds.OpticalPathSequence = [origin], [path]
    shared, measures = Dataset(), Dataset()
    spacing = 0.256 / size
    measures.PixelSpacing, measures.SliceThickness = [spacing, spacing], 0.004
    shared.PixelMeasuresSequence = [measures]
    ds.SharedFunctionalGroupsSequence = [shared]
    ds.NumberOfFrames, ds.Rows, ds.Columns = tiles, 128, 128
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "YBR_FULL_422", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.LossyImageCompression = "01"
    return ds


def skin(folder: Path) -> None:
    """Dermatology: a mole on skin, one still in colour."""
    y, x = np.mgrid[:192, :256]
    picture = np.empty((192, 256, 3), np.uint8)
    picture[...] = (225, 180, 155)
    picture[((x - 128) / 50) ** 2 + ((y - 96) / 38) ** 2 <= 1] = (120, 70, 50)
    picture[((x - 140) / 18) ** 2 + ((y - 90) / 14) ** 2 <= 1] = (60, 35, 30)
    ds = dataset(uid.VLPhotographicImageStorage, "XC", "skin")
    set_frames(ds, picture[None], bits=8, photometric_interpretation="RGB")
    save(ds, folder)


def endoscopy(folder: Path) -> None:
    """A still of endoscopy in colour."""
    ds = dataset(uid.VLEndoscopicImageStorage, "ES", "endoscopy, still")
    y, x = np.mgrid[:160, :192]
    picture = np.empty((160, 192, 3), np.uint8)
    picture[...] = (150, 60, 50)
    picture[np.hypot(y - 80, x - 96) < 30] = (40, 10, 10)
    picture[np.hypot(y - 50, x - 50) < 14] = (220, 150, 130)
    set_frames(ds, picture[None], bits=8, photometric_interpretation="RGB")
    save(ds, folder)


def tomography_of_the_eye(folder: Path) -> None:
    """OCT: a retina in layers, 12 frames placed by functional groups (PS3.3 A.52)."""
    y, x = np.mgrid[:128, :160]
    frames = np.empty((12, 128, 160), np.uint8)
    for index, frame in enumerate(frames):
        pit = 18 * np.exp(-(((x - 80) / 22) ** 2) - ((index - 5.5) / 3) ** 2)
        frame[...] = 20
        for number, (top, grey) in enumerate(((40, 190), (56, 90), (70, 150), (84, 230), (92, 60))):
            frame[y > top + pit * (1 - number / 5)] = grey
    ds = dataset(uid.OphthalmicTomographyImageStorage, "OPT", "OCT of a retina")
    shared, measures, orientation = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.004, 0.03], 0.25
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    ds.SharedFunctionalGroupsSequence = [shared]
    ds.PerFrameFunctionalGroupsSequence = [placed(index, [0.0, 0.25 * index, 0.0]) for index in range(12)]
    set_frames(ds, frames, bits=8)
    save(ds, folder)
