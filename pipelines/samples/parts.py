"""Parts of headers and pictures that several samples have."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import pydicom.data
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset

from pipelines import phantoms
from pipelines.phantoms import known_uid

type Gray = npt.NDArray[np.uint16]


def head(shape: tuple[int, int, int], *, noise: float = 0.0) -> Gray:
    """An ellipse of tissue with a sphere in it, in air."""
    return phantoms.sphere(
        shape, (4.0, 2.0, 2.0), radius_mm=24, inside=900, outside=20, body=500, noise=noise
    )


def ball(shape: tuple[int, ...], radius: float) -> npt.NDArray[np.bool_]:
    """Whether a voxel lies in a ball in the middle; planes are twice as far apart as pixels."""
    z, y, x = np.ogrid[tuple(slice(0, count) for count in shape)]
    middle = [(count - 1) / 2 for count in shape]
    inside: npt.NDArray[np.bool_] = (
        ((z - middle[0]) * 2) ** 2 + (y - middle[1]) ** 2 + (x - middle[2]) ** 2
    ) <= radius**2
    return inside


def sphere_series(folder: Path, description: str, **differences: Any) -> phantoms.Phantom:
    """Write a CT series of a sphere in a body."""
    stored = phantoms.sphere((24, 96, 96), (2.0, 1.0, 1.0), radius_mm=18, body=1064, noise=15)
    return phantoms.write_series(
        folder, stored=stored, spacing=(1.0, 1.0), distance=2.0, description=description, study="samples",
        **differences,
    )  # fmt: skip


def rewrite(paths: Sequence[Path], **attributes: Any) -> None:
    """Give every file the same values of some attributes."""
    for path in paths:
        ds = pydicom.dcmread(path)
        for keyword, value in attributes.items():
            setattr(ds, keyword, value)
        ds.save_as(path)


def dataset(sop_class: str, modality: str, description: str, instance: int = 0) -> Dataset:
    """Return what every object of the samples says of itself."""
    ds = phantoms.header(modality, sop_class=sop_class)
    ds.StudyDescription, ds.SeriesDescription, ds.SeriesNumber = "samples", description, 1
    ds.InstanceNumber = instance + 1
    ds.StudyInstanceUID = known_uid("study", "samples")
    ds.SeriesInstanceUID = known_uid("samples", description)
    ds.SOPInstanceUID = known_uid("samples", description, instance)
    ds.FrameOfReferenceUID = known_uid("frame of reference", "samples", description)
    return ds


def set_frames(
    ds: Dataset, frames: npt.NDArray[Any], *, bits: int, photometric_interpretation: str = "MONOCHROME2"
) -> None:
    """Frames of shape (frame, y, x) or (frame, y, x, 3)."""
    ds.Rows, ds.Columns = frames.shape[1:3]
    if len(frames) > 1:
        ds.NumberOfFrames = len(frames)
    ds.SamplesPerPixel = 3 if frames.ndim == 4 else 1
    if frames.ndim == 4:
        ds.PlanarConfiguration = 0
    ds.PhotometricInterpretation, ds.PixelRepresentation = photometric_interpretation, 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8 * frames.itemsize, bits, bits - 1
    ds.PixelData = frames.astype(frames.dtype.newbyteorder("<")).tobytes()
    ds["PixelData"].VR = "OW" if frames.itemsize == 2 else "OB"


def save(
    ds: Dataset, folder: Path, transfer_syntax: str = uid.ExplicitVRLittleEndian, *, name: str = "0000.dcm"
) -> None:
    """Write one file."""
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = uid.UID(transfer_syntax)
    ds.save_as(folder / name, enforce_file_format=True)


def packaged(*names: str) -> Callable[[Path], None]:
    """Copies test files of the pydicom package."""

    def write(folder: Path) -> None:
        for name in names:
            shutil.copy(Path(pydicom.data.__file__).parent / "test_files" / name, folder)

    return write


def placed(index: int, position_lps_mm: Sequence[float]) -> Dataset:
    """Return the functional groups of a frame at a position."""
    group, position, content = Dataset(), Dataset(), Dataset()
    position.ImagePositionPatient = list(position_lps_mm)
    content.StackID, content.InStackPositionNumber = "1", index + 1
    content.DimensionIndexValues = [index + 1]
    group.PlanePositionSequence, group.FrameContentSequence = [position], [content]
    return group
