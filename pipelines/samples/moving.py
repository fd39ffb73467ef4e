"""Moving pictures: frames with times."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom import uid
from pydicom.encaps import encapsulate

from pipelines.samples.parts import (
    dataset,
    save,
    set_frames,
)

type Colour = npt.NDArray[np.uint8]

VIDEO_RATE = 25
VIDEO_FRAMES = 75


def angiogram(folder: Path) -> None:
    """Contrast that runs down a vessel, with a time for each frame."""
    frames = np.full((24, 128, 128), 3000, np.uint16)
    y, x = np.mgrid[:128, :128]
    vessel = np.abs(x - 64 - 18 * np.sin(y / 16)) < 4
    for index, frame in enumerate(frames):
        frame[vessel & (y < index * 6)] = 900
    ds = dataset(uid.XRayAngiographicImageStorage, "XA", "angiogram")
    ds.FrameTimeVector = [0.0] + [66.7] * 11 + [133.3] * 12
    ds.FrameIncrementPointer = 0x00181065
    ds.PositionerPrimaryAngle, ds.PositionerSecondaryAngle = -30.0, 10.0
    set_frames(ds, frames, bits=12)
    save(ds, folder)


def video(folder: Path) -> None:
    """Endoscopy in H.264: a bright spot that goes once round in three seconds."""
    path = folder / "stream.mp4"
    write_mp4(path)
    ds = dataset(uid.VideoEndoscopicImageStorage, "ES", "endoscopy")
    ds.NumberOfFrames, ds.CineRate, ds.FrameTime = VIDEO_FRAMES, VIDEO_RATE, 1000 / VIDEO_RATE
    ds.FrameIncrementPointer = 0x00181063
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PlanarConfiguration = 128, 160, 3, 0
    ds.PhotometricInterpretation, ds.PixelRepresentation = "YBR_PARTIAL_420", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
    ds.LossyImageCompression = "01"
    ds.PixelData = encapsulate([path.read_bytes()], has_bot=False)
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    path.unlink()
    save(ds, folder, uid.MPEG4HP41)


def write_mp4(path: Path) -> None:
    """Write the endoscopy as a plain video, without DICOM.

    Raises
    ------
    CodecMissingError
        If PyAV is not installed.
    """
    from pipelines.video.demux import pyav

    av = pyav()
    with av.open(str(path), "w", format="mp4") as output:
        stream = output.add_stream("libx264", rate=VIDEO_RATE)
        stream.width, stream.height, stream.pix_fmt = 160, 128, "yuv420p"
        stream.codec_context.gop_size = VIDEO_RATE
        for number in range(VIDEO_FRAMES):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(_endoscopic(number), format="rgb24")))
        output.mux(stream.encode())


def _endoscopic(number: int) -> Colour:
    y, x = np.mgrid[:128, :160]
    angle = 2 * np.pi * number / VIDEO_FRAMES
    picture = np.empty((128, 160, 3), np.uint8)
    picture[...] = (120, 50, 45)
    picture[np.hypot(y - 64, x - 80) < 22] = (40, 10, 10)
    picture[np.hypot(y - 64 - 40 * np.sin(angle), x - 80 - 40 * np.cos(angle)) < 9] = (250, 230, 210)
    return picture


def fluoroscopy(folder: Path) -> None:
    """RF: a swallow that runs down, 15 frames a second."""
    frames = np.full((20, 128, 128), 2800, np.uint16)
    y, x = np.ogrid[:128, :128]
    for index, frame in enumerate(frames):
        frame[:, 54:74] = 2200
        frame[((x - 64) / 8) ** 2 + ((y - 10 - 5 * index) / 14) ** 2 <= 1] = 600
    ds = dataset(uid.XRayRadiofluoroscopicImageStorage, "RF", "fluoroscopy")
    ds.FrameTime, ds.FrameIncrementPointer = 66.7, 0x00181063
    set_frames(ds, frames, bits=12)
    save(ds, folder)
