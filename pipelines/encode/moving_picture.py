"""Plain video files as Video Photographic, Endoscopic or Microscopic Image objects (PS3.3 A.32)."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from highdicom.base import SOPClass
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sr.coding import Code
from pydicom.uid import (
    HEVCMP51,
    MPEG2MPHL,
    MPEG4HP41,
    VideoEndoscopicImageStorage,
    VideoMicroscopicImageStorage,
    VideoPhotographicImageStorage,
)

from catalog.errors import EncodeError
from catalog.identifiers import new_uid
from pipelines.encode import algorithm as made_by
from pipelines.encode.algorithm import coded, shortened
from pipelines.encode.secondary_capture import reference
from pipelines.encode.sources import identity, inheritable, name_set_aside, without_quotes
from pipelines.video.opening import open_video

SERIES_NUMBER = 9008
"""Of videos."""

KINDS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "XC": (VideoPhotographicImageStorage, "XC"),
        "ES": (VideoEndoscopicImageStorage, "ES"),
        "GM": (VideoMicroscopicImageStorage, "GM"),
    }
)
"""Modality to SOP class and Modality (0008,0060)."""

SYNTAXES: Mapping[str, str] = MappingProxyType({"h264": MPEG4HP41, "hevc": HEVCMP51, "mpeg2video": MPEG2MPHL})
"""FFmpeg's name of the codec to the transfer syntax (PS3.5 section 8.2.5 to 8.2.9)."""

_METHODS = {"h264": "ISO_14496_10", "hevc": "ISO_23008_2", "mpeg2video": "ISO_13818_2"}
"""Lossy Image Compression Method (0028,2114)."""


_WHOLE_BODY = Code("38266002", "SCT", "Entire body")


@without_quotes()
def moving_picture(
    path: Path,
    source: Dataset,
    *,
    modality: str = "XC",
    description: str,
    anatomic_region: Code = _WHOLE_BODY,
) -> Dataset:
    """Wrap a video file, its bytes unchanged, in the study of its source, which it names (PS3.5 A.4.5).

    Size, number and times of the frames are read from the stream. Its profile and level are not checked
    against those of the transfer syntax.

    Parameters
    ----------
    path
        An MP4 or MPEG file.
    source
        Header of an instance of the study the video belongs to.
    modality
        `XC` photographic, `ES` endoscopic, `GM` microscopic.
    description
        Series Description (0008,103E).
    anatomic_region
        Of PS3.16 CID 4 (Anatomic Region Sequence (0008,2218)).

    Raises
    ------
    EncodeError
        If the codec or the modality is none of these, or the video has fewer than two frames or no times.
    DecodeError
        If the file has no video that can be read.
    CodecMissingError
        If PyAV is not installed.
    """
    if modality not in KINDS:
        raise EncodeError(f"a video is one of {', '.join(KINDS)}, not {modality!r}")
    video = open_video(path)
    frames, rows, columns, _ = video.shape
    codec, times = str(video.attrs.get("codec")), video.coords.get("time")
    video.close()
    if codec not in SYNTAXES:
        raise EncodeError(f"the video is {codec}; DICOM takes {', '.join(SYNTAXES)}")
    if times is None or frames < 2:
        raise EncodeError("the video has fewer than two frames, or no times for them")
    frame_ms = float(times[-1] - times[0]) * 1000 / (frames - 1)
    (header,) = inheritable([source])
    patient_name = name_set_aside(header)
    content = path.read_bytes()
    sop_class_uid, stated = KINDS[modality]
    ds = SOPClass(
        series_instance_uid=new_uid(),
        series_number=SERIES_NUMBER,
        sop_instance_uid=new_uid(),
        sop_class_uid=sop_class_uid,
        instance_number=1,
        modality=stated,
        transfer_syntax_uid=SYNTAXES[codec],
        specific_character_set="ISO_IR 192",
        series_description=shortened(description),
        **identity(header),
        **made_by.equipment(),
    )
    ds.PatientName = patient_name
    ds.ImageType = ["DERIVED", "SECONDARY"]
    ds.PatientOrientation = None
    ds.AcquisitionContextSequence = []
    ds.AnatomicRegionSequence = [coded(anatomic_region)]
    ds.FrameTime, ds.FrameIncrementPointer = f"{frame_ms:.8g}", 0x00181063
    ds.CineRate = max(1, round(1000 / frame_ms))
    ds.NumberOfFrames, ds.Rows, ds.Columns = frames, rows, columns
    ds.SamplesPerPixel, ds.PlanarConfiguration, ds.PhotometricInterpretation = 3, 0, "YBR_PARTIAL_420"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.LossyImageCompression = "01"
    ds.LossyImageCompressionRatio = f"{max(1.0, frames * rows * columns * 3 / len(content)):.2f}"
    ds.LossyImageCompressionMethod = _METHODS[codec]
    ds.BurnedInAnnotation = "NO"
    ds.SourceImageSequence = [reference(header)]
    ds.PixelData = encapsulate([content], has_bot=False)
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    return ds
