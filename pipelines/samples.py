"""One small series of every kind a hospital images, as real DICOM: for the notebook, the docs and the tests.

Real files are those that the pydicom package brings along (MIT); what it lacks is made here, each with a
picture a person recognises and numbers that can be checked. Nothing is downloaded.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom.data
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate

from catalog.errors import CodecMissingError
from catalog.headers import read_dataset
from pipelines import phantoms
from pipelines.phantoms import known_uid

type Gray = npt.NDArray[np.uint16]
type Colour = npt.NDArray[np.uint8]

UPTAKE_PER_TIME = (0, 40, 180, 320, 400, 420, 410, 395)
"""What the sphere of the dynamic series rises by at each time point, in stored values."""
SECONDS_PER_TIME = 12.0
B_VALUES = (0, 500, 1000)
ADC_MM2_PER_S = 0.001
"""Apparent diffusion coefficient of the sphere of the diffusion series."""
TILT_DEGREES = 18.0
VIDEO_RATE = 25
VIDEO_FRAMES = 75
SUV_IN_SPHERE = 8.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One kind of series: its folder's name, what it is in words, and how it is written."""

    name: str
    words: str
    write: Callable[[Path], object]


def write_samples(folder: Path) -> Path:
    """Write one series of every kind, a folder each, unless they are there.

    A video is left out where PyAV is not installed.
    """
    if folder.is_dir():
        return folder
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    for sample in SAMPLES:
        target = partial / sample.name
        target.mkdir(parents=True)
        try:
            sample.write(target)
        except CodecMissingError:
            target.rmdir()
    partial.rename(folder)
    return folder


def series_of(folder: Path) -> dict[str, str]:
    """Series Instance UID of each sample by its name, as `write_samples` laid them out."""
    found = {}
    for sample in SAMPLES:
        path = next((folder / sample.name).rglob("*.dcm"), None)
        if path is not None:
            found[sample.name] = str(read_dataset(path).SeriesInstanceUID)
    return found


# --- volumes ---------------------------------------------------------------------------------------------


def _ct(folder: Path) -> None:
    _sphere_series(folder, "CT, oblique", orientation=(0.8, 0.6, 0.0, 0.0, 0.0, -1.0))


def _ct_tilted(folder: Path) -> None:
    """Planes whose stacking leans away from their normal, as with a tilted gantry."""
    phantom = _sphere_series(folder, "CT, tilted gantry")
    lean = np.tan(np.radians(TILT_DEGREES))
    for index, path in enumerate(phantom.paths):
        ds = pydicom.dcmread(path)
        x, y, z = ds.ImagePositionPatient
        ds.ImagePositionPatient = [x, round(y + index * 2.0 * lean, 6), z]
        ds.GantryDetectorTilt = TILT_DEGREES
        ds.save_as(path)


def _mr_dynamic(folder: Path) -> None:
    """Contrast that runs in: one volume each 12 s, the sphere brighter by `UPTAKE_PER_TIME`."""
    base = _head((12, 96, 96), noise=6)
    inside = _inside(base.shape, 12)
    for time, rise in enumerate(UPTAKE_PER_TIME):
        phantom = phantoms.write_series(
            folder / f"{time}", stored=np.where(inside, base + rise, base).astype(np.uint16),
            modality="MR", description="MR, contrast running in", intercept=0.0, study="samples", seed=time,
            spacing=(2.0, 2.0), distance=4.0,
        )  # fmt: skip
        seconds = 15 * 60 + time * SECONDS_PER_TIME
        _rewrite(
            phantom.paths,
            SeriesInstanceUID=known_uid("samples", "dynamic"),
            AcquisitionTime=f"10{int(seconds // 60):02}{seconds % 60:05.2f}",
            TemporalPositionIdentifier=time + 1,
            NumberOfTemporalPositions=len(UPTAKE_PER_TIME),
        )


def _mr_diffusion(folder: Path) -> None:
    """b-values 0, 500 and 1000 s/mm2; the sphere falls by exp(-b ADC)."""
    base = _head((12, 96, 96)).astype(float)
    inside = _inside(base.shape, 12)
    for number, b_value in enumerate(B_VALUES):
        stored = np.where(inside, 2000 * np.exp(-b_value * ADC_MM2_PER_S), base * np.exp(-b_value * 0.0025))
        phantom = phantoms.write_series(
            folder / f"{number}", stored=np.rint(stored).astype(np.uint16), modality="MR",
            description="MR, diffusion", intercept=0.0, study="samples", seed=number,
            spacing=(2.0, 2.0), distance=4.0,
        )  # fmt: skip
        _rewrite(
            phantom.paths,
            SeriesInstanceUID=known_uid("samples", "diffusion"),
            DiffusionBValue=float(b_value),
            DiffusionDirectionality="NONE" if b_value == 0 else "ISOTROPIC",
            AcquisitionNumber=number + 1,
        )


def _mr_enhanced(folder: Path) -> None:
    """A classic MR series in one Legacy Converted Enhanced MR object (PS3.3 A.71)."""
    from highdicom.legacy import LegacyConvertedEnhancedMRImage

    phantom = phantoms.write_series(
        folder / "classic", stored=_head((16, 96, 96), noise=10), modality="MR", description="MR, enhanced",
        intercept=0.0, study="samples", spacing=(2.0, 2.0), distance=3.0,
    )  # fmt: skip
    _rewrite(phantom.paths, WindowCenter=500, WindowWidth=1000)
    converted = LegacyConvertedEnhancedMRImage(
        legacy_datasets=[pydicom.dcmread(path) for path in phantom.paths],
        series_instance_uid=known_uid("samples", "enhanced"),
        series_number=1,
        sop_instance_uid=known_uid("samples", "enhanced", "instance"),
        instance_number=1,
        transfer_syntax_uid=uid.ExplicitVRLittleEndian,
    )
    converted.save_as(folder / "enhanced.dcm", enforce_file_format=True)
    converted._db_con.close()  # highdicom has no public way to close it
    shutil.rmtree(folder / "classic")


def _pet(folder: Path) -> None:
    """A slope for each plane, and what the standardized uptake value needs."""
    activity = np.full((20, 96, 96), 2500.0)
    activity[_inside(activity.shape, 14)] = SUV_IN_SPHERE * 370e6 * 0.5 / 70_000
    slopes = 1.0 + np.arange(20) * 0.05
    stored = np.clip(np.rint(activity / slopes[:, None, None] / 10), 0, 4095).astype(np.uint16)
    phantom = phantoms.write_series(
        folder, stored=stored, modality="PT", description="PET", intercept=0.0, study="samples",
        spacing=(3.0, 3.0), distance=3.0,
    )  # fmt: skip
    tracer = Dataset()
    tracer.Radiopharmaceutical = "FDG"
    tracer.RadiopharmaceuticalStartTime = "082512.00"
    tracer.RadionuclideTotalDose, tracer.RadionuclideHalfLife = 370e6, 6588.0
    for slope, path in zip(slopes, phantom.paths, strict=True):
        _rewrite(
            [path],
            RescaleSlope=round(float(slope) * 10, 6),
            Units="BQML",
            DecayCorrection="START",
            CorrectedImage=["ATTN", "DECY", "SCAT"],
            PatientWeight=70.0,
            SeriesType=["WHOLE BODY", "IMAGE"],
            RadiopharmaceuticalInformationSequence=[tracer],
        )


def _tomosynthesis(folder: Path) -> None:
    """Planes through a breast, in one multi-frame object."""
    count, rows, columns = 12, 160, 96
    frames = np.full((count, rows, columns), 300, np.uint16)
    y, x = np.ogrid[:rows, :columns]
    breast = (x / 80) ** 2 + ((y - 80) / 75) ** 2 <= 1
    frames[:, breast] = 700
    frames[5:8, (x - 35) ** 2 + (y - 60) ** 2 <= 16] = 1500
    ds = _dataset(uid.BreastTomosynthesisImageStorage, "MG", "breast tomosynthesis")
    ds.ImageType = ["DERIVED", "PRIMARY", "TOMOSYNTHESIS", "NONE"]
    ds.ImageLaterality, ds.BodyPartExamined = "R", "BREAST"
    shared, measures, orientation = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness, measures.SpacingBetweenSlices = [0.5, 0.5], 4.0, 4.0
    orientation.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    ds.SharedFunctionalGroupsSequence = [shared]
    ds.PerFrameFunctionalGroupsSequence = [_placed(index, [-4.0 * index, 0.0, 0.0]) for index in range(count)]
    _set_frames(ds, frames, bits=12)
    _save(ds, folder)


def _placed(index: int, position_lps_mm: Sequence[float]) -> Dataset:
    group, position, content = Dataset(), Dataset(), Dataset()
    position.ImagePositionPatient = list(position_lps_mm)
    content.StackID, content.InStackPositionNumber = "1", index + 1
    content.DimensionIndexValues = [index + 1]
    group.PlanePositionSequence, group.FrameContentSequence = [position], [content]
    return group


# --- planes, moving pictures, colour ---------------------------------------------------------------------


def _mammogram(folder: Path) -> None:
    """MONOCHROME1 with a window: what is dense is stored low and shown white."""
    rows, columns = 320, 200
    y, x = np.ogrid[:rows, :columns]
    breast = (x / 160) ** 2 + ((y - 160) / 150) ** 2 <= 1
    values = np.where(breast, 1800, 3900).astype(np.uint16)
    values[(x - 70) ** 2 + (y - 120) ** 2 <= 100] = 700
    ds = _dataset(uid.DigitalMammographyXRayImageStorageForPresentation, "MG", "mammogram")
    ds.ImageLaterality, ds.ViewPosition, ds.BodyPartExamined = "R", "CC", "BREAST"
    ds.ImagerPixelSpacing = [0.5, 0.5]
    ds.WindowCenter, ds.WindowWidth, ds.PresentationLUTShape = 2000, 3200, "INVERSE"
    _set_frames(ds, values[None], bits=12, photometric_interpretation="MONOCHROME1")
    _save(ds, folder)


def _angiogram(folder: Path) -> None:
    """Contrast that runs down a vessel, with a time for each frame."""
    frames = np.full((24, 128, 128), 3000, np.uint16)
    y, x = np.mgrid[:128, :128]
    vessel = np.abs(x - 64 - 18 * np.sin(y / 16)) < 4
    for index, frame in enumerate(frames):
        frame[vessel & (y < index * 6)] = 900
    ds = _dataset(uid.XRayAngiographicImageStorage, "XA", "angiogram")
    ds.FrameTimeVector = [0.0] + [66.7] * 11 + [133.3] * 12
    ds.FrameIncrementPointer = 0x00181065
    ds.PositionerPrimaryAngle, ds.PositionerSecondaryAngle = -30.0, 10.0
    _set_frames(ds, frames, bits=12)
    _save(ds, folder)


def _photograph(folder: Path) -> None:
    """A fundus with its colour profile."""
    y, x = np.mgrid[:256, :256]
    radius = np.hypot(y - 128, x - 128)
    picture = np.zeros((256, 256, 3), np.uint8)
    picture[radius < 120] = (190, 90, 40)
    picture[np.hypot(y - 128, x - 180) < 18] = (250, 220, 150)
    picture[(np.abs(y - 128 - 30 * np.sin(x / 40)) < 2) & (radius < 120)] = (120, 20, 20)
    ds = _dataset(uid.OphthalmicPhotography8BitImageStorage, "OP", "fundus")
    ds.ICCProfile = (Path(pydicom.data.__file__).parent / "test_files" / "crayons.icc").read_bytes()
    _set_frames(ds, picture[None], bits=8, photometric_interpretation="RGB")
    _save(ds, folder)


def _video(folder: Path) -> None:
    """Endoscopy in H.264: a bright spot that goes once round in three seconds."""
    from pipelines.video.demux import pyav

    av = pyav()
    path = folder / "stream.mp4"
    with av.open(str(path), "w", format="mp4") as output:
        stream = output.add_stream("libx264", rate=VIDEO_RATE)
        stream.width, stream.height, stream.pix_fmt = 160, 128, "yuv420p"
        stream.codec_context.gop_size = VIDEO_RATE
        for number in range(VIDEO_FRAMES):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(_endoscopic(number), format="rgb24")))
        output.mux(stream.encode())
    ds = _dataset(uid.VideoEndoscopicImageStorage, "ES", "endoscopy")
    ds.NumberOfFrames, ds.CineRate, ds.FrameTime = VIDEO_FRAMES, VIDEO_RATE, 1000 / VIDEO_RATE
    ds.FrameIncrementPointer = 0x00181063
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PlanarConfiguration = 128, 160, 3, 0
    ds.PhotometricInterpretation, ds.PixelRepresentation = "YBR_PARTIAL_420", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
    ds.LossyImageCompression = "01"
    ds.PixelData = encapsulate([path.read_bytes()], has_bot=False)
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    path.unlink()
    _save(ds, folder, uid.MPEG4HP41)


def _endoscopic(number: int) -> Colour:
    y, x = np.mgrid[:128, :160]
    angle = 2 * np.pi * number / VIDEO_FRAMES
    picture = np.empty((128, 160, 3), np.uint8)
    picture[...] = (120, 50, 45)
    picture[np.hypot(y - 64, x - 80) < 22] = (40, 10, 10)
    picture[np.hypot(y - 64 - 40 * np.sin(angle), x - 80 - 40 * np.cos(angle)) < 9] = (250, 230, 210)
    return picture


def _slide(folder: Path) -> None:
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
        _save(ds, folder, uid.JPEGBaseline8Bit, name=f"{level}.dcm")
        picture = picture.reshape(len(picture) // 2, 2, -1, 2, 3).mean((1, 3)).astype(np.uint8)


def _slide_header(size: int, tiles: int, level: int) -> Dataset:
    ds = _dataset(uid.VLWholeSlideMicroscopyImageStorage, "SM", "whole slide", level)
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


# --- objects ---------------------------------------------------------------------------------------------


def _segmentation(folder: Path) -> None:
    """Two segments of an MR series that do not overlap: the sphere, and the tissue around it."""
    import highdicom as hd
    from pydicom.sr.codedict import codes

    phantom = phantoms.write_series(
        folder / "sources", stored=_head((12, 96, 96)), modality="MR", description="source of segments",
        intercept=0.0, study="samples", spacing=(2.0, 2.0), distance=4.0,
    )  # fmt: skip
    labels = np.digitize(phantom.stored, (100, 700)).astype(np.uint8)
    segments = [
        hd.seg.SegmentDescription(
            number, label, codes.SCT.Tissue, kind, "MANUAL",
            tracking_uid=known_uid("samples", "segment", label), tracking_id=label,
        )
        for number, label, kind in ((1, "tissue", codes.SCT.Tissue), (2, "sphere", codes.SCT.Neoplasm))
    ]  # fmt: skip
    made = hd.seg.Segmentation(
        [pydicom.dcmread(path) for path in phantom.paths], labels, "BINARY", segments,
        series_instance_uid=known_uid("samples", "segmentation"), series_number=9,
        sop_instance_uid=known_uid("samples", "segmentation", "instance"), instance_number=1,
        manufacturer="Imaging Workbench phantoms", manufacturer_model_name="sphere", software_versions="1",
        device_serial_number="1", series_description="segmentation",
    )  # fmt: skip
    made.save_as(folder / "segmentation.dcm", enforce_file_format=True)
    made._db_con.close()  # highdicom has no public way to close it
    shutil.rmtree(folder / "sources")


def _parametric_map(folder: Path) -> None:
    """Apparent diffusion coefficients in float32, made from an MR series (PS3.3 A.75)."""
    import highdicom as hd
    from pydicom.sr.codedict import codes

    phantom = phantoms.write_series(
        folder / "sources", stored=_head((12, 96, 96)), modality="MR", description="source of a map",
        intercept=0.0, study="samples", spacing=(2.0, 2.0), distance=4.0,
    )  # fmt: skip
    sources = [pydicom.dcmread(path) for path in phantom.paths]
    values = np.where(_inside(phantom.stored.shape, 12), ADC_MM2_PER_S, 0.0025).astype(np.float32)
    values[phantom.stored < 100] = 0
    mapping = hd.pm.RealWorldValueMapping(
        lut_label="ADC",
        lut_explanation="apparent diffusion coefficient",
        unit=codes.UCUM.SquareMillimeterPerSecond,
        value_range=(0.0, 0.01),
        intercept=0,
        slope=1,
    )
    made = hd.pm.ParametricMap(
        source_images=sources, pixel_array=values, series_instance_uid=known_uid("samples", "map"),
        series_number=9, sop_instance_uid=known_uid("samples", "map", "instance"), instance_number=1,
        manufacturer="Imaging Workbench phantoms", manufacturer_model_name="sphere", software_versions="1",
        device_serial_number="1", contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[hd.VOILUTTransformation(window_center=0.00125, window_width=0.0025)],
        content_label="ADC", series_description="parametric map",
    )  # fmt: skip
    made.save_as(folder / "map.dcm", enforce_file_format=True)
    made._db_con.close()  # highdicom has no public way to close it
    shutil.rmtree(folder / "sources")


def _real(*names: str) -> Callable[[Path], None]:
    """Copies test files of the pydicom package."""

    def write(folder: Path) -> None:
        for name in names:
            shutil.copy(Path(pydicom.data.__file__).parent / "test_files" / name, folder)

    return write


SAMPLES = (
    Sample("ct", "CT, oblique planes", _ct),
    Sample("ct-tilted", "CT, tilted gantry", _ct_tilted),
    Sample("mr-dynamic", "MR, contrast over time", _mr_dynamic),
    Sample("mr-diffusion", "MR, diffusion", _mr_diffusion),
    Sample("mr-enhanced", "MR, enhanced multi-frame", _mr_enhanced),
    Sample("pet", "PET, a slope for each plane", _pet),
    Sample("tomosynthesis", "breast tomosynthesis", _tomosynthesis),
    Sample("mammogram", "mammogram, MONOCHROME1", _mammogram),
    Sample("angiogram", "angiogram, frame times", _angiogram),
    Sample("ultrasound", "ultrasound cine, YBR in JPEG", _real("examples_ybr_color.dcm")),
    Sample("palette", "ultrasound, palette colour", _real("examples_palette.dcm")),
    Sample("photograph", "fundus photograph", _photograph),
    Sample("video", "endoscopy video, H.264", _video),
    Sample("slide", "whole slide, three levels", _slide),
    Sample("segmentation", "segmentation of two parts", _segmentation),
    Sample("parametric-map", "parametric map, float", _parametric_map),
    Sample("dose", "radiotherapy dose", _real("rtdose.dcm")),
    Sample("structures", "radiotherapy structure set", _real("rtstruct.dcm")),
    Sample("ecg", "12-lead ECG", _real("waveform_ecg.dcm")),
)
"""In the order in which a tour would show them."""


# --- parts of headers and pictures -----------------------------------------------------------------------


def _head(shape: tuple[int, int, int], *, noise: float = 0.0) -> Gray:
    """An ellipse of tissue with a sphere in it, in air."""
    return phantoms.sphere(
        shape, (4.0, 2.0, 2.0), radius_mm=24, inside=900, outside=20, body=500, noise=noise
    )


def _inside(shape: tuple[int, ...], radius: float) -> npt.NDArray[np.bool_]:
    z, y, x = np.ogrid[tuple(slice(0, count) for count in shape)]
    middle = [(count - 1) / 2 for count in shape]
    inside: npt.NDArray[np.bool_] = (
        ((z - middle[0]) * 2) ** 2 + (y - middle[1]) ** 2 + (x - middle[2]) ** 2
    ) <= radius**2
    return inside


def _sphere_series(folder: Path, description: str, **differences: Any) -> phantoms.Phantom:
    stored = phantoms.sphere((24, 96, 96), (2.0, 1.0, 1.0), radius_mm=18, body=1064, noise=15)
    return phantoms.write_series(
        folder, stored=stored, spacing=(1.0, 1.0), distance=2.0, description=description, study="samples",
        **differences,
    )  # fmt: skip


def _rewrite(paths: Sequence[Path], **attributes: Any) -> None:
    for path in paths:
        ds = pydicom.dcmread(path)
        for keyword, value in attributes.items():
            setattr(ds, keyword, value)
        ds.save_as(path)


def _dataset(sop_class: str, modality: str, description: str, instance: int = 0) -> Dataset:
    ds = phantoms.header(modality, sop_class=sop_class)
    ds.StudyDescription, ds.SeriesDescription, ds.SeriesNumber = "samples", description, 1
    ds.InstanceNumber = instance + 1
    ds.StudyInstanceUID = known_uid("study", "samples")
    ds.SeriesInstanceUID = known_uid("samples", description)
    ds.SOPInstanceUID = known_uid("samples", description, instance)
    ds.FrameOfReferenceUID = known_uid("frame of reference", "samples", description)
    return ds


def _set_frames(
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


def _save(
    ds: Dataset, folder: Path, transfer_syntax: str = uid.ExplicitVRLittleEndian, *, name: str = "0000.dcm"
) -> None:
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = uid.UID(transfer_syntax)
    ds.save_as(folder / name, enforce_file_format=True)
