"""Projections: single images of X-rays."""

from pathlib import Path

import numpy as np
from pydicom import uid

from pipelines.samples.parts import (
    dataset,
    save,
    set_frames,
)


def mammogram(folder: Path) -> None:
    """MONOCHROME1 with a window: what is dense is stored low and shown white."""
    rows, columns = 320, 200
    y, x = np.ogrid[:rows, :columns]
    breast = (x / 160) ** 2 + ((y - 160) / 150) ** 2 <= 1
    values = np.where(breast, 1800, 3900).astype(np.uint16)
    values[(x - 70) ** 2 + (y - 120) ** 2 <= 100] = 700
    ds = dataset(uid.DigitalMammographyXRayImageStorageForPresentation, "MG", "mammogram")
    ds.ImageLaterality, ds.ViewPosition, ds.BodyPartExamined = "R", "CC", "BREAST"
    ds.ImagerPixelSpacing = [0.5, 0.5]
    ds.WindowCenter, ds.WindowWidth, ds.PresentationLUTShape = 2000, 3200, "INVERSE"
    set_frames(ds, values[None], bits=12, photometric_interpretation="MONOCHROME1")
    save(ds, folder)


def radiograph(folder: Path) -> None:
    """CR of a hand-like shape, MONOCHROME1."""
    y, x = np.ogrid[:256, :200]
    values = np.full((256, 200), 3600, np.uint16)
    values[(np.abs(x - 100) < 60) & (y > 120)] = 1800
    for finger in range(4):
        values[(np.abs(x - 55 - 30 * finger) < 9) & (y > 30 + 10 * abs(finger - 1)) & (y <= 120)] = 1500
    ds = dataset(uid.ComputedRadiographyImageStorage, "CR", "radiograph")
    ds.ImagerPixelSpacing, ds.WindowCenter, ds.WindowWidth = [0.5, 0.5], 2500, 3000
    set_frames(ds, values[None], bits=12, photometric_interpretation="MONOCHROME1")
    save(ds, folder)


def digital_radiograph(folder: Path) -> None:
    """DX of a chest-like shape."""
    y, x = np.ogrid[:256, :256]
    values = np.full((256, 256), 2600, np.uint16)
    for side in (75, 181):
        values[((x - side) / 45) ** 2 + ((y - 130) / 90) ** 2 <= 1] = 900
    values[:, 120:136] = 3300
    ds = dataset(uid.DigitalXRayImageStorageForPresentation, "DX", "digital radiograph")
    ds.ImagerPixelSpacing, ds.WindowCenter, ds.WindowWidth = [0.4, 0.4], 2000, 3200
    set_frames(ds, values[None], bits=12)
    save(ds, folder)


def nuclear(folder: Path) -> None:
    """A whole body from the front and from the back: two detectors of nuclear medicine."""
    y, x = np.ogrid[:256, :96]
    frames = np.zeros((2, 256, 96), np.uint16)
    body = ((x - 48) / 24) ** 2 + ((y - 128) / 110) ** 2 <= 1
    frames[:, body] = 60
    frames[0][(x - 40) ** 2 + (y - 90) ** 2 <= 60] = 400
    frames[1][(x - 56) ** 2 + (y - 150) ** 2 <= 60] = 300
    ds = dataset(uid.NuclearMedicineImageStorage, "NM", "whole body")
    ds.ImageType = ["ORIGINAL", "PRIMARY", "WHOLE BODY", "EMISSION"]
    ds.FrameIncrementPointer = [0x00540010, 0x00540020]
    ds.EnergyWindowVector, ds.DetectorVector = [1, 1], [1, 2]
    ds.NumberOfEnergyWindows, ds.NumberOfDetectors = 1, 2
    ds.PixelSpacing = [4.0, 4.0]
    set_frames(ds, frames, bits=12)
    save(ds, folder)
