"""One file that is an object of its own (SEG, dose, structures, waveforms): header, frames and errors.

Headers are bounded by `catalog.guard` before pydicom sees them; frames are read when they are indexed.
"""

import warnings
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any
from weakref import finalize

import dask.array as da
import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.uid import UID

from catalog.attributes import BY_COLUMN, Kind
from catalog.encoding import DEFLATED_UID
from catalog.errors import DecodeError, GeometryError, HeaderError, WorkbenchError, words_of
from catalog.headers import read_dataset, read_header
from catalog.identifiers import digest_of_texts
from catalog.records import InstanceHeader, InstanceRecord, Unreadable
from pipelines import accessor  # noqa: F401 (registers `array.dicom`)
from pipelines.axes.lattice import Lattice, Raster, Stack, lattice, stack
from pipelines.decoding.frames import Frames, open_frames
from pipelines.decoding.pixels import PixelDescription
from pipelines.geometry import FARTHEST_MM

CHUNK_BYTES = 64 << 20
"""Frames in one chunk of a lazy array take together no more, unless a single one does."""

_NAMED = (HeaderError, DecodeError, GeometryError)


@contextmanager
def named(path: str | Path) -> Iterator[None]:
    """Name the file in errors raised within; whatever pydicom stumbles over becomes a `HeaderError`.

    So does an error of the disk, which is its cause then; that memory has run out is no fault of the file.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # departures that pydicom would warn of are tolerated here
            yield
    except WorkbenchError as error:
        if isinstance(error, _NAMED):
            raise type(error)(f"{path}: {error}") from None
        raise
    except MemoryError:
        raise
    except OSError as error:
        if error.errno is None:  # pydicom's own, of bytes that end too early
            raise HeaderError(f"{path}: has a value that cannot be read") from None
        raise HeaderError(f"{path}: cannot be read: {words_of(error)}") from error
    except Exception as error:  # hostile bytes surface wherever a value is first looked at
        raise HeaderError(f"{path}: has a value that cannot be read ({type(error).__name__})") from None


@dataclass(frozen=True)
class DicomObject:
    """The header of one file and the record through which its frames are read."""

    ds: Dataset
    instance: InstanceRecord

    @property
    def frames(self) -> int:
        """Number of Frames (0028,0008), 1 where it is absent."""
        return self.instance.number_of_frames or 1

    def group(self, frame_index: int, keyword: str) -> Dataset | None:
        """The first item of a functional group of a frame, or of that shared by all (PS3.3 C.7.6.16.1)."""
        for groups in (self._own[frame_index], *self._shared):
            items = groups.get(keyword)
            if items:
                item: Dataset = items[0]
                return item
        return None

    @cached_property
    def _shared(self) -> list[Dataset]:
        return list(self.ds.get("SharedFunctionalGroupsSequence") or ())[:1]

    @cached_property
    def _own(self) -> list[Dataset]:
        own = list(self.ds.get("PerFrameFunctionalGroupsSequence") or ())
        if len(own) != self.frames:
            raise HeaderError(f"has {self.frames:,} frames and functional groups for {len(own):,}")
        return own

    def attributes(self) -> dict[str, Any]:
        """UIDs and modality, for the attributes of an array."""
        found = {
            "modality": self.ds.get("Modality"),
            "object_sop_instance_uid": self.instance.sop_instance_uid,
            "series_instance_uid": self.instance.series_instance_uid,
            "study_instance_uid": self.instance.study_instance_uid,
            "frame_of_reference_uid": self.ds.get("FrameOfReferenceUID"),
            "input_digest": digest_of_texts((self.instance.sop_instance_uid, self.instance.header_digest)),
        }
        return {name: str(value) for name, value in found.items() if value}


def open_object(path: str | Path, sop_classes: Container[str], kind: str) -> DicomObject:
    """Open a file of one of some SOP classes; its pixel data are not read.

    Raises
    ------
    HeaderError
        If it is no readable DICOM or of another SOP class; `kind` says what was wanted.
    """
    header = read_header(path)
    if isinstance(header, Unreadable):
        raise HeaderError(header.reason)
    sop_class = str(header.values.get("sop_class_uid") or "")
    if sop_class not in sop_classes:
        raise HeaderError(f"is {UID(sop_class).name or 'of no SOP class'}, not {kind}")
    return DicomObject(read_dataset(path), _record(header))


def place_frames(found: DicomObject, keys: Sequence[tuple[Any, ...]]) -> Lattice | Stack:
    """Lay the frames of an object with functional groups out in planes (PS3.3 C.7.6.16.2.1 to .4).

    Parameters
    ----------
    keys
        Of each frame, what tells planes apart where the frames have no positions.
    """
    rows, columns = found.instance.rows or 0, found.instance.columns or 0
    positions = [
        _attribute(found.group(index, "PlanePositionSequence"), "ImagePositionPatient")
        for index in range(found.frames)
    ]
    raster = None
    try:
        raster = _raster(found, rows, columns)
        return lattice(positions, raster)
    except GeometryError as error:
        if all(len(each) == 3 and max(map(abs, each)) <= FARTHEST_MM for each in positions) and raster:
            return stack(positions, str(error), rows, columns, raster)
        return stack(keys, str(error), rows, columns)


def _raster(found: DicomObject, rows: int, columns: int) -> Raster:
    orientations = {
        _attribute(found.group(index, "PlaneOrientationSequence"), "ImageOrientationPatient")
        for index in range(found.frames)
    }
    if len(orientations) > 1:
        raise GeometryError("planes of several orientations")
    measures = found.group(0, "PixelMeasuresSequence")
    return Raster(
        rows,
        columns,
        orientations.pop(),
        _attribute(measures, "PixelSpacing"),
        (*_attribute(measures, "SpacingBetweenSlices"), *_attribute(measures, "SliceThickness")),
    )


def _attribute(item: Dataset | None, keyword: str) -> tuple[float, ...]:
    return numbers(item.get(keyword)) if item is not None else ()


def items_of(ds: Dataset, keyword: str) -> Sequence[Dataset]:
    """The items of a sequence; none where it is absent or empty."""
    found: Sequence[Dataset] = ds.get(keyword) or ()
    return found


def numbers(value: Any) -> tuple[float, ...]:
    """The numbers of an attribute with any multiplicity; none where it is absent or empty."""
    if value is None or value == "":
        return ()
    many = isinstance(value, Iterable) and not isinstance(value, str | bytes)
    return tuple(float(each) for each in (value if many else (value,)))


def frames_array(
    instance: InstanceRecord,
    frame_index: npt.NDArray[np.intp],
    dtype: npt.DTypeLike,
    *,
    rescale: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    absent: float = 0,
) -> da.Array:
    """Lay the frames of an instance out lazily; shape that of `frame_index`, then rows and columns.

    Parameters
    ----------
    frame_index
        The frame at each place, from 0; -1 where there is none.
    dtype
        Of the values; `bool` is true where a stored value is not 0.
    rescale
        Slope and intercept, each a number or one for each place; applied in float64.
    absent
        The value of all pixels at a place without a frame.

    Raises
    ------
    DecodeError
        If the pixel data are not what the header describes; for a frame, when it is read.
    """
    with open_frames(instance):  # cut pixel data are refused now rather than when they are first looked at
        values = _FrameValues(instance, frame_index, np.dtype(dtype), rescale, absent)
    rows, columns = values.shape[-2:]
    depth = max(1, CHUNK_BYTES // (rows * columns * values.dtype.itemsize))
    chunks = (*(1 for _ in values.shape[:-3]), depth, rows, columns)
    name = f"frames-{digest_of_texts((instance.path, instance.header_digest, repr(values)))[:32]}"
    lazy: da.Array = da.from_array(  # type: ignore[no-untyped-call]  # dask leaves it untyped
        values, chunks=chunks, name=name, meta=np.empty((0,) * values.ndim, values.dtype)
    )
    return lazy


class _FrameValues:
    """Values of frames, decoded when indexed; goes to a Dask worker as the record of the instance."""

    def __init__(
        self,
        instance: InstanceRecord,
        frame_index: npt.NDArray[np.intp],
        dtype: np.dtype[Any],
        rescale: tuple[npt.ArrayLike, npt.ArrayLike] | None,
        absent: float,
    ) -> None:
        self._instance, self._index, self._absent = instance, frame_index, absent
        self._rescale = None
        if rescale is not None:
            self._rescale = [
                np.broadcast_to(np.asarray(each, np.float64), frame_index.shape) for each in rescale
            ]
        self._description = PixelDescription.of(instance)
        if self._description.samples != 1:
            raise DecodeError(f"has {self._description.samples} samples per pixel, where one is expected")
        self.shape = (*frame_index.shape, *self._description.shape)
        self.ndim, self.dtype = len(self.shape), dtype
        self._kept: Frames | None = None

    def __repr__(self) -> str:
        lines = [self._index, *(self._rescale or ())]
        return repr((str(self.dtype), self._absent, [(each.shape, each.tobytes()) for each in lines]))

    def __getitem__(self, key: Any) -> npt.NDArray[Any]:
        keys = key if isinstance(key, tuple) else (key,)
        places, within = keys[: self._index.ndim], keys[self._index.ndim :]
        index = np.asarray(self._index[places])
        rescale = self._rescale and [np.asarray(each[places]) for each in self._rescale]
        frame = np.empty(self._description.shape, self._description.dtype)
        values = np.full(index.shape + frame[within].shape, self._absent, self.dtype)
        if np.all(index < 0):
            return values
        with named(self._instance.path), self._frames() as frames:
            for place, number in np.ndenumerate(index):
                if number >= 0:
                    frames.load(int(number), frame)
                    stored = frame[within]
                    values[place] = (
                        stored if rescale is None else stored * rescale[0][place] + rescale[1][place]
                    )
        return values

    def _frames(self) -> AbstractContextManager[Frames]:
        """Open the frames; deflated ones stay open, as all of them are passed each time they are opened."""
        if self._instance.transfer_syntax_uid != DEFLATED_UID:
            return open_frames(self._instance)
        if self._kept is None:
            opened = open_frames(self._instance)
            self._kept = opened.__enter__()
            finalize(self, opened.__exit__, None, None, None)
        return nullcontext(self._kept)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_kept": None}


def _record(header: InstanceHeader) -> InstanceRecord:
    values: Mapping[str, Any] = header.values
    known: dict[str, Any] = {
        each.name: _numbers(values[each.name])
        if BY_COLUMN[each.name].kind is Kind.NUMBERS
        else values[each.name]
        for each in fields(InstanceRecord)
        if each.name in BY_COLUMN and values.get(each.name) is not None
    }
    return InstanceRecord(
        **known,
        transfer_syntax_uid=header.transfer_syntax_uid,
        path=str(Path(header.path).absolute()),
        header_digest=header.header_digest,
        pixel_data=header.pixel_data,
        deviations=header.deviations,
    )


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(each) for each in text.split("\\") if each)
