"""Images of a series as planes: frames of enhanced objects and tiles of mosaics; others as they are."""

from dataclasses import dataclass, replace

from catalog.errors import HeaderError
from catalog.headers import read_dataset
from catalog.records import InstanceRecord
from pipelines import mosaic
from pipelines.cine import frame_times_s
from pipelines.frames import open_frames
from pipelines.functional_groups import frames_of, is_enhanced
from pipelines.private import read_private
from pipelines.repeats import Axis


@dataclass(frozen=True, slots=True)
class Expanded:
    """An image with what its header says of its frames."""

    planes: tuple[InstanceRecord, ...]
    """Frames of an enhanced object or tiles of a mosaic one by one; any other image as it is."""
    times: Axis | None = None
    """When the frames of a cine were taken, where it says so."""


def expanded(image: InstanceRecord) -> Expanded:
    """Look into the header of an image that may consist of several planes.

    Raises
    ------
    DecodeError
        If the file does not hold as many frames as its header promises.
    HeaderError
        If its functional groups cannot be read.
    """
    maker = mosaic.maker(image)
    count = image.number_of_frames or 1
    if count == 1:
        return Expanded(_tiles(image, maker) if maker else (image,))
    with open_frames(image):
        pass  # before anything is made for each frame: the file holds as many as its header promises
    ds = read_dataset(image.path)
    if is_enhanced(ds):
        return Expanded(frames_of(image, ds))
    times = frame_times_s(ds, count).values
    return Expanded((image,), None if times is None else Axis("time", "s", times))


def _tiles(image: InstanceRecord, maker: str) -> tuple[InstanceRecord, ...]:
    """The tiles of a mosaic; the image with the reason where it cannot be unfolded."""
    try:
        if maker == mosaic.SIEMENS:
            return mosaic.siemens_tiles(image, read_private(image.path))
        return mosaic.united_imaging_tiles(image, read_dataset(image.path))
    except HeaderError as error:
        return (replace(image, obstacle=f"mosaic that cannot be unfolded: {error}"),)
