"""Series with known answers, written as real DICOM files: for the demo, the tests and the benchmarks."""

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
    RLELossless,
    SpatialRegistrationStorage,
)

from catalog.errors import EncodeError
from catalog.identifiers import digest_of_texts

type Numbers = Sequence[float]

_STORAGE = {
    "CT": CTImageStorage,
    "MR": MRImageStorage,
    "PT": PositronEmissionTomographyImageStorage,
    "REG": SpatialRegistrationStorage,
}


@dataclass(frozen=True, slots=True)
class Phantom:
    """A series on disk with the answers an honest reader must give."""

    paths: tuple[Path, ...]
    """One file per plane, in the order of `stored`."""
    stored: npt.NDArray[np.uint16]
    """Stored values, shape (z, y, x); z along the normal of the planes."""
    slope: float
    intercept: float
    affine_lps: npt.NDArray[np.float64]
    """4 × 4, from (column, row, plane) index to LPS mm."""
    study_instance_uid: str
    series_instance_uid: str
    frame_of_reference_uid: str
    sop_instance_uids: tuple[str, ...]
    """In the order of `stored`."""

    @property
    def modality_values(self) -> npt.NDArray[np.float32]:
        """Shape (z, y, x); HU for CT (PS3.3 C.11.1)."""
        return self.stored.astype(np.float32) * np.float32(self.slope) + np.float32(self.intercept)


def known_uid(*words: object) -> str:
    """Return the same valid UID for the same words, below 2.25 (PS3.5 section B.2)."""
    return f"2.25.{int(digest_of_texts(str(word) for word in words)[:30], 16)}"


def sphere(
    shape: tuple[int, int, int],
    spacing_zyx_mm: tuple[float, float, float],
    *,
    radius_mm: float,
    inside: int = 1324,
    outside: int = 24,
    body: int | None = None,
    noise: float = 0.0,
    seed: int = 0,
) -> npt.NDArray[np.uint16]:
    """Stored values of a sphere in the middle of a box, 12 bits; shape (z, y, x).

    With slope 1 and intercept -1024 the defaults are 300 HU inside and -1000 HU outside. A `body` is the
    value of an elliptic cylinder around the sphere.
    """
    middle = [(count - 1) / 2 for count in shape]
    grids = np.ogrid[tuple(slice(0, count) for count in shape)]
    distance = sum(
        ((grid - at) * mm) ** 2 for grid, at, mm in zip(grids, middle, spacing_zyx_mm, strict=True)
    )
    around: npt.ArrayLike = outside
    if body is not None:
        ellipse = sum(
            ((grid - at) / (count * part)) ** 2
            for grid, at, count, part in zip(grids[1:], middle[1:], shape[1:], (0.34, 0.44), strict=True)
        )
        around = np.where(ellipse <= 1, body, outside)
    values = np.where(distance <= radius_mm**2, inside, around).astype(np.float32)
    if noise:
        values += np.random.default_rng(seed).normal(0.0, noise, shape).astype(np.float32)
    return np.clip(np.rint(values), 0, 4095).astype(np.uint16)


def write_series(  # every keyword is one attribute a test wants to vary
    folder: Path,
    *,
    planes: int = 8,
    rows: int = 32,
    columns: int = 24,
    spacing: tuple[float, float] = (0.8, 0.7),
    distance: float = 2.5,
    orientation: Numbers = (1, 0, 0, 0, 1, 0),
    origin: Numbers = (-10, -20, 30),
    modality: str = "CT",
    transfer_syntax: str = ExplicitVRLittleEndian,
    slope: float = 1.0,
    intercept: float = -1024.0,
    stored: npt.NDArray[np.uint16] | None = None,
    radius_mm: float = 6.0,
    noise: float = 8.0,
    seed: int = 0,
    patient_name: str = "Phantom^Sphere",
    patient_id: str = "PHANTOM",
    description: str = "sphere",
    series_number: int = 1,
    study: str = "phantom study",
) -> Phantom:
    """Write one series of parallel, equally spaced planes, one file each.

    Parameters
    ----------
    folder
        Made when absent; files are called `0000.dcm` and on, in the order of the planes.
    spacing, distance
        Between rows and between columns, and between planes, in mm.
    orientation, origin
        Image Orientation (Patient) (0020,0037), and Image Position (Patient) (0020,0032) of plane 0, LPS mm.
    stored
        Stored values (z, y, x) of at most 12 bits; a noisy sphere when left out.

    Raises
    ------
    EncodeError
        If the transfer syntax is none a phantom is written in.
    """
    if stored is None:
        stored = sphere(
            (planes, rows, columns), (distance, *spacing), radius_mm=radius_mm, noise=noise, seed=seed
        )
    row_cosines, column_cosines = np.array(orientation[:3], float), np.array(orientation[3:], float)
    normal = np.cross(row_cosines, column_cosines)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = row_cosines * spacing[1], column_cosines * spacing[0]
    affine[:3, 2], affine[:3, 3] = normal * distance, origin
    name = (study, description, series_number, seed, modality, transfer_syntax)
    study_uid, series_uid = known_uid("study", study), known_uid("series", *name)
    frame_of_reference_uid = known_uid("frame of reference", study)
    folder.mkdir(parents=True, exist_ok=True)
    paths, sop_uids = [], []
    for index, plane in enumerate(stored):
        ds = header(modality, patient_name=patient_name, patient_id=patient_id)
        ds.StudyDescription, ds.SeriesDescription = study, description
        ds.SeriesNumber, ds.InstanceNumber = series_number, index + 1
        ds.StudyInstanceUID, ds.SeriesInstanceUID = study_uid, series_uid
        ds.FrameOfReferenceUID = frame_of_reference_uid
        ds.SOPInstanceUID = known_uid("instance", *name, index)
        ds.ImageOrientationPatient = [float(each) for each in orientation]
        ds.ImagePositionPatient = [round(float(each), 8) for each in affine[:3, 3] + index * affine[:3, 2]]
        ds.PixelSpacing, ds.SliceThickness = list(spacing), distance
        ds.RescaleSlope, ds.RescaleIntercept = slope, intercept
        _set_pixels(ds, plane, UID(transfer_syntax))
        path = folder / f"{index:04}.dcm"
        ds.save_as(path, enforce_file_format=True)
        paths.append(path)
        sop_uids.append(str(ds.SOPInstanceUID))
    return Phantom(
        tuple(paths), stored, slope, intercept, affine, study_uid, series_uid, frame_of_reference_uid,
        tuple(sop_uids),
    )  # fmt: skip


def write_registration(
    path: Path,
    frame_of_reference_uid: str,
    matrices: Mapping[str, Sequence[npt.ArrayLike]],
    images: Sequence[str] = (),
    *,
    patient_id: str = "PHANTOM",
    label: str = "KNOWN",
    created: str = "20260301120000",
) -> Path:
    """Write a Spatial Registration (PS3.3 A.39.1) and return its path.

    Parameters
    ----------
    frame_of_reference_uid
        The frame that the others are registered to.
    matrices
        By Frame of Reference UID: 4 × 4 each, the first applies first; of an empty UID for the images alone.
    images
        SOP Instance UIDs that the registration of an empty UID names.
    created
        Content Date and Time.
    """
    ds = header("REG", patient_name="Phantom^Sphere", patient_id=patient_id)
    name = (str(path), frame_of_reference_uid, label, created)
    ds.StudyInstanceUID, ds.SeriesInstanceUID = known_uid("study", *name), known_uid("series", *name)
    ds.SOPInstanceUID, ds.FrameOfReferenceUID = known_uid("instance", *name), frame_of_reference_uid
    ds.SeriesNumber, ds.InstanceNumber = 1, 1
    ds.ContentDate, ds.ContentTime, ds.ContentLabel = created[:8], created[8:], label
    ds.ContentDescription, ds.ContentCreatorName = "", None
    ds.RegistrationSequence = []
    for frame, steps in matrices.items():
        item, registration = Dataset(), Dataset()
        if frame:
            item.FrameOfReferenceUID = frame
        else:
            item.ReferencedImageSequence = [_reference(each) for each in images]
        registration.RegistrationTypeCodeSequence = []
        registration.MatrixSequence = [_step(each) for each in steps]
        item.MatrixRegistrationSequence = [registration]
        ds.RegistrationSequence.append(item)
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.save_as(path, enforce_file_format=True)
    return path


def _reference(uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CTImageStorage, uid
    return item


def _step(matrix: npt.ArrayLike) -> Dataset:
    item = Dataset()
    item.FrameOfReferenceTransformationMatrix = np.asarray(matrix, float).ravel().tolist()
    item.FrameOfReferenceTransformationMatrixType = "RIGID"
    return item


def header(
    modality: str,
    *,
    sop_class: str | None = None,
    patient_name: str = "Phantom^Sphere",
    patient_id: str = "PHANTOM",
) -> Dataset:
    """Return what every phantom says of patient, study and equipment; its SOP class follows the modality."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SOPClassUID = sop_class or _STORAGE[modality]
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20260105"
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "101500"
    ds.AccessionNumber = "A2026"
    ds.Modality = modality
    ds.Manufacturer = "Imaging Workbench phantoms"
    ds.ManufacturerModelName = "sphere"
    ds.DeviceSerialNumber = "1"
    ds.SoftwareVersions = "1"
    ds.ReferringPhysicianName = ""
    ds.PatientName, ds.PatientID = patient_name, patient_id
    ds.PatientBirthDate, ds.PatientSex = "19610401", "O"
    ds.StudyID, ds.PatientPosition, ds.PositionReferenceIndicator = "1", "HFS", ""
    ds.BodyPartExamined = "ABDOMEN"
    ds.AcquisitionNumber = 1
    if modality == "CT":
        ds.KVP, ds.RescaleType = 120, "HU"
    elif modality == "MR":
        ds.ScanningSequence, ds.SequenceVariant, ds.ScanOptions, ds.MRAcquisitionType = "GR", "NONE", "", "3D"
        ds.EchoTime, ds.EchoTrainLength, ds.RepetitionTime = 4.6, 1, 12
    return ds


def _set_pixels(ds: Dataset, plane: npt.NDArray[np.uint16], transfer_syntax: UID) -> None:
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = plane.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = transfer_syntax
    if transfer_syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
        ds.PixelData = plane.astype("<u2").tobytes()
        ds["PixelData"].VR = "OW"
        return
    ds.PixelData = encapsulate([_compressed(plane, transfer_syntax)])
    ds["PixelData"].VR = "OB"


def _compressed(plane: npt.NDArray[np.uint16], transfer_syntax: UID) -> bytes:
    encode = _ENCODERS.get(transfer_syntax)
    if encode is None:
        names = ", ".join(UID(each).name for each in _ENCODERS)
        raise EncodeError(
            f"a phantom cannot be written as {transfer_syntax.name}; use explicit or implicit VR little "
            f"endian, or one of {names}"
        )
    import imagecodecs

    return bytes(encode(imagecodecs, plane))


def _run_lengths(codecs: Any, plane: npt.NDArray[np.uint16]) -> bytes:
    """Two segments, the more significant bytes first, each row by itself (PS3.5 annex G)."""
    high_low = plane.astype(">u2").view(np.uint8).reshape(*plane.shape, 2)
    segments = []
    for byte in range(2):
        segment = b"".join(codecs.packbits_encode(row.tobytes()) for row in high_low[..., byte])
        segments.append(segment + bytes(len(segment) % 2))
    offsets = [2, 64, 64 + len(segments[0])] + [0] * 13
    return struct.pack("<16L", *offsets) + b"".join(segments)


_ENCODERS: dict[str, Callable[[Any, npt.NDArray[np.uint16]], Any]] = {
    RLELossless: lambda codecs, plane: _run_lengths(codecs, plane),
    JPEGLosslessSV1: lambda codecs, plane: codecs.ljpeg_encode(plane, bitspersample=12),
    JPEGLSLossless: lambda codecs, plane: codecs.jpegls_encode(plane),
    JPEG2000Lossless: lambda codecs, plane: codecs.jpeg2k_encode(
        plane, codecformat="j2k", reversible=True, level=0, bitspersample=12, mct=False
    ),
    HTJ2KLossless: lambda codecs, plane: codecs.htj2k_encode(plane, reversible=True, bitspersample=12),
}
"""Transfer syntax to how imagecodecs, given first, encodes a plane of 12 bits without loss."""
