"""The way back to DICOM: the instances an array was made from as files again, from the array alone.

A file has the SOP Instance UID of its source, as stored values and attributes are those of the source: a
transfer syntax makes no other instance. That holds for values decoded from a lossy encoding, too, as every
reader of the source gets them; Lossy Image Compression (0028,2110) stays `01` then, and becomes it where the
source did not say so (PS3.3 C.7.6.1.1.5). Colour that was stored as YBR without loss is in the array as RGB,
which is rounded: such an image gets a UID of its own, is DERIVED and names its source.

What the store does not have is named in the report: icons, private and long binary, sequences that vary.
Elements behind the pixel data, such as digital signatures and private groups above 7FE0, are not in the
store, nor in its list. Of a mosaic the private header is missing, so its file opens as one image. Objects
that are no images of planes (segmentations, dose, waveforms, video) are not written.
"""

import struct
import uuid
import warnings
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import DataElement, Dataset, uid
from pydicom.datadict import keyword_for_tag
from pydicom.dataset import FileMetaDataset
from pydicom.multival import MultiValue
from pydicom.valuerep import CUSTOMIZABLE_CHARSET_VR

from catalog.durable import write_parts
from catalog.errors import ArrayError, ExportError
from catalog.identifiers import digest, folder_name, is_uid
from catalog.records import ArrayRecord, Mosaic
from pipelines.decoding.pixels import DOUBLE_FLOAT_PIXEL_DATA, FLOAT_PIXEL_DATA, NATIVE, Stored
from pipelines.kinds import OBJECT_ARRAYS
from pipelines.presentation.overlays import GROUPS
from pipelines.store import arrays
from pipelines.store.dicom_json import PER_FRAME
from pipelines.store.layout import Layout
from pipelines.volumes import checked_block

SLABS = 4
"""How many slabs of an array are held in memory."""
LONGEST_PIXEL_DATA = 0xFFFFFFFE
"""Bytes that an element of defined length may have (PS3.5 section 7.1)."""
LONGEST_DECIMAL = 16
"""Characters of a decimal string (PS3.5 section 6.2)."""

_PIXEL_DATA = 0x7FE00010
_LENGTH = "0000"
"""Element of group lengths, which are retired."""
_LENGTH_TO_END = 0x00080001
_LOSSY = frozenset(
    (
        uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLSNearLossless, uid.JPEG2000, uid.HTJ2K,
        "1.2.840.10008.1.2.4.111", "1.2.840.10008.1.2.4.112",
    )
)  # fmt: skip
"""Transfer syntaxes that may lose; of some of them an image may be without loss ..."""
_ALWAYS_LOSSY = frozenset((uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLSNearLossless))
"""... and of these it is not."""
_TEXTS = frozenset(("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "SH", "ST", "TM", "UC", "UI", "UT"))
_YBR_STORED = frozenset(("YBR_FULL", "YBR_FULL_422"))


@dataclass(frozen=True, slots=True)
class Originals:
    """What was written, and what could not be as it was."""

    paths: tuple[Path, ...]
    left_out: tuple[str, ...] = ()
    """Elements that the store does not have: tags, those of sequences around them first, and keyword."""
    changed: tuple[str, ...] = ()
    """Elements that say something else than those of the source, in sentences."""
    rejected: Mapping[str, str] = field(default_factory=dict)
    """SOP Instance UID to the reason why there is no file."""


def write_originals(records: Iterable[ArrayRecord], folder: Path) -> Originals:
    """Write the source instances of arrays as DICOM files, Explicit VR Little Endian, not compressed.

    The archive is not asked. An instance is written where all of its frames are in the arrays, which may be
    several parts of a series. A file has the name of its SOP Instance UID.

    Raises
    ------
    ExportError
        If a file is there already; then nothing was written. Or if none of the arrays has planes.
    ArrayError
        If an array is absent, incomplete or altered since it was written; what is whole stays.
    OSError
        If the folder cannot be written.
    """
    all_records = list(records)
    sources = [_Source(each) for each in all_records if each.kind not in OBJECT_ARRAYS]
    if not sources:
        kinds = ", ".join(sorted({each.kind for each in all_records})) or "no array"
        raise ExportError(
            f"only images of planes are written as DICOM again, and this is: {kinds}; "
            "the file itself is in the archive"
        )
    found: dict[str, dict[int, _Place]] = {}
    for source in sources:
        for number, key in enumerate(source.planes):
            found.setdefault(key[0], {})[key[1]] = (source, number)
    made, rejected = [], {}
    for sop_instance_uid, frames in found.items():
        try:
            made.append(_Original(sop_instance_uid, frames))
        except ExportError as error:
            rejected[sop_instance_uid] = str(error)
    paths = [folder / each.file_name for each in made]
    there = next((path for path in paths if path.exists()), None)
    if there is not None:
        raise ExportError(f"{there} is there already, and nothing is overwritten; name another folder")
    written = []
    for original, path in zip(made, paths, strict=True):
        try:
            write_parts(path, original.parts())
        except ExportError as error:
            rejected[original.sop_instance_uid] = str(error)
        else:
            written.append(path)
    left_out = dict.fromkeys(
        tag for source in sources for tag in source.described.left_out if tag[-4:] != _LENGTH
    )
    changed = dict.fromkeys(text for original in made for text in original.changed)
    return Originals(tuple(written), tuple(map(_named, sorted(left_out))), tuple(changed), rejected)


def _named(path: str) -> str:
    """Tags and the keyword of the last one: `00081140.00081150 ReferencedSOPClassUID`."""
    return f"{path} {keyword_for_tag(int(path[-8:], 16))}".rstrip()


# --- values ----------------------------------------------------------------------------------------------


class _Source:
    """An array that planes are read from, some slabs of which stay in memory."""

    def __init__(self, record: ArrayRecord) -> None:
        self.block = checked_block(record)
        self.described = arrays.read_described(record.path)
        self._path, self._values = record.path, arrays.open_values(record.path)
        self._layout = Layout(record.shape, np.dtype(record.dtype).itemsize, record.kind)
        self._slabs = list(self._layout.slabs())
        self.dtype = np.dtype(record.dtype)
        self._starts = [slab.start for slab in self._slabs]
        self._held: OrderedDict[int, Stored] = OrderedDict()

    @property
    def planes(self) -> Iterator[tuple[str, int]]:
        """SOP Instance UID and frame index of each."""
        columns = self.block.planes
        return zip(columns.sop_instance_uids, columns.frame_indices, strict=True)

    def stored(self, number: int) -> Stored:
        """Stored values of a plane; raises `ArrayError` where they are not those that were ingested."""
        index = bisect_right(self._starts, number) - 1
        slab = self._slabs[index]
        if index not in self._held:
            values = arrays.read(self._path, self._values, slab.index)
            self._held[index] = values.reshape(-1, *self._layout.plane_shape)
            while len(self._held) > SLABS:
                self._held.popitem(last=False)
        self._held.move_to_end(index)
        plane = np.ascontiguousarray(self._held[index][number - slab.start])
        if digest(plane.reshape(-1).view(np.uint8).data) != self.block.planes.stored_digests[number]:
            raise ArrayError(
                f"plane {number} of {self._path} is not what was ingested; `workbench verify UID` names it"
            )
        return plane


type _Place = tuple[_Source, int]
"""An array and the number of a plane in it."""


# --- one instance ----------------------------------------------------------------------------------------


class _Original:
    """One instance on its way into a file."""

    def __init__(self, sop_instance_uid: str, frames: Mapping[int, _Place]) -> None:
        source, plane = frames[min(frames)]
        self.sop_instance_uid = sop_instance_uid
        self.changed: list[str] = []
        self._mosaic = source.block.mosaic
        self._source_digest = source.block.planes.source_digests[plane]
        self._transfer_syntax = source.described.transfer_syntaxes[plane]
        self._ds = ds = source.described.instance(plane)
        self._places = _whole(ds, frames, source.block.mosaic)
        if name := _named_groups(source):
            raise ExportError(f"its functional groups ({name}) are too many to be in the store")
        if source.described.groups:
            items = [each.described.functional_groups(number) for each, number in self._places]
            ds[PER_FRAME] = DataElement(PER_FRAME, "SQ", items)
        self._bits = _Bits.of(ds, source.dtype)
        self._keep_what_is_true()
        size = (self._bits.frame_bits(ds) * int(ds.get("NumberOfFrames") or 1) + 7) // 8
        self._size = size + size % 2
        if self._size > LONGEST_PIXEL_DATA:
            raise ExportError(
                f"its pixel data have {size:,} bytes, and 4 GiB is the limit without compression"
            )

    @property
    def file_name(self) -> str:
        """Its SOP Instance UID, if that may be a name."""
        name = str(self._ds.SOPInstanceUID)
        return f"{name if is_uid(name) else folder_name(name)}.dcm"

    def parts(self) -> Iterator[bytes]:
        """The bytes of the file: header, then frame by frame."""
        yield self._header()
        yield struct.pack(
            "<HH2sHL", self._bits.tag >> 16, self._bits.tag & 0xFFFF, self._bits.vr, 0, self._size
        )
        written = 0
        for part in self._bits.packed(self._frames()):
            written += len(part)
            yield part
        if written > self._size or self._size - written > 1:
            raise ExportError(f"its frames have {written:,} bytes, and its header says {self._size:,}")
        yield b"\0" * (self._size - written)

    def _header(self) -> bytes:
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = self._ds.SOPClassUID
        meta.MediaStorageSOPInstanceUID = self._ds.SOPInstanceUID
        meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
        self._ds.file_meta = meta
        buffer = BytesIO()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # departures of the source are kept
                self._ds.save_as(buffer, enforce_file_format=True)
        except Exception as error:  # whatever pydicom stumbles over in values of a device
            raise ExportError(f"its header cannot be written: {type(error).__name__}") from None
        return buffer.getvalue()

    def _frames(self) -> Iterator[Stored]:
        if self._mosaic is not None:
            yield self._tiled(self._mosaic)
            return
        for source, number in self._places:
            stored = source.stored(number)
            is_planar = stored.ndim == 3 and self._ds.get("PlanarConfiguration") == 1
            yield np.moveaxis(stored, -1, 0) if is_planar else stored

    def _tiled(self, mosaic: Mosaic) -> Stored:
        """The image of a mosaic; tiles without a plane are empty, which the digest of the source proves."""
        rows, columns = mosaic.rows // mosaic.down, mosaic.columns // mosaic.across
        first = self._places[0][0].stored(self._places[0][1])
        whole = np.zeros((mosaic.rows, mosaic.columns), first.dtype)
        for tile, (source, number) in enumerate(self._places):
            down, right = divmod(tile, mosaic.across)
            top, left = down * rows, right * columns
            whole[top : top + rows, left : left + columns] = source.stored(number)
        is_full = len(self._places) == mosaic.across * mosaic.down
        is_proven = digest(b"".join(self._bits.packed([whole]))) == self._source_digest
        if not is_proven and (self._transfer_syntax in NATIVE or not is_full):
            raise ExportError(
                "it is a mosaic of which the store has the planes, and nothing proves that the rest is empty"
            )
        return whole

    # --- what must be said otherwise -----------------------------------------------------------------

    def _keep_what_is_true(self) -> None:
        """Change the attributes that would be untrue of the file."""
        ds = self._ds
        if _LENGTH_TO_END in ds:
            del ds[_LENGTH_TO_END]
            self.changed.append("(0008,0001) Length to End, which is retired, is gone")
        self._say_colour()
        self._say_loss()
        self._say_bits()
        self._say_overlays()
        ds.walk(_written)
        if ds.get("SpecificCharacterSet") != "ISO_IR 192" and not _is_ascii(ds):
            ds.SpecificCharacterSet = "ISO_IR 192"
        if ds.get("SpecificCharacterSet") == "ISO_IR 192":
            self.changed.append("(0008,0005) Specific Character Set is ISO_IR 192 (UTF-8)")

    def _say_colour(self) -> None:
        ds, was = self._ds, str(self._ds.get("PhotometricInterpretation", ""))
        if not was.startswith("YBR"):
            return
        ds.PhotometricInterpretation, ds.PlanarConfiguration = "RGB", 0
        self.changed.append(f"(0028,0004) Photometric Interpretation is RGB, as {was} was decoded")
        if was not in _YBR_STORED or self._transfer_syntax in _LOSSY:
            return
        reference = Dataset()
        reference.ReferencedSOPClassUID = ds.SOPClassUID
        reference.ReferencedSOPInstanceUID = ds.SOPInstanceUID
        ds.SourceImageSequence = [reference]
        ds.SOPInstanceUID = f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, f'RGB of {self.sop_instance_uid}').int}"
        ds.ImageType = ["DERIVED", *list(ds.get("ImageType") or ("", "SECONDARY"))[1:]]
        ds.DerivationDescription = f"{was} to RGB"
        self.changed.append(
            f"(0008,0018) SOP Instance UID is a new one, as {was} was stored without loss, RGB is rounded; "
            "(0008,0008) Image Type is DERIVED, (0008,2112) Source Image Sequence names the source"
        )

    def _say_loss(self) -> None:
        if self._transfer_syntax in _ALWAYS_LOSSY and self._ds.get("LossyImageCompression") != "01":
            self._ds.LossyImageCompression = "01"
            self.changed.append(
                "(0028,2110) Lossy Image Compression is 01, as the source was encoded with loss"
            )

    def _say_bits(self) -> None:
        """Values that a lossy codec gave beyond Bits Stored, which readers would cut off, get their bits."""
        stored, dtype = int(self._ds.get("BitsStored") or 0), self._places[0][0].dtype
        if self._transfer_syntax in NATIVE or dtype.kind == "f" or not 1 < stored < 8 * dtype.itemsize:
            return
        extremes = [(int(each.min()), int(each.max())) for each in self._frames()]
        sign = 1 if dtype.kind == "i" else 0
        low, high = min(each for each, _ in extremes), max(each for _, each in extremes)
        needed = sign + max(high.bit_length(), (~low if low < 0 else low).bit_length())
        if needed > stored:
            self._ds.BitsStored, self._ds.HighBit = needed, needed - 1
            self._bits = _Bits.of(self._ds, dtype)
            self.changed.append(
                f"(0028,0101) Bits Stored is {needed} instead of {stored}, as decoded values are beyond it"
            )

    def _say_overlays(self) -> None:
        """Overlays that were in unused bits of the pixel data are in elements of their own now, or gone."""
        for group in GROUPS:
            if not self._ds.get((group, 0x0102)) or not self._ds[group, 0x0102].value:
                continue
            if (group, 0x3000) in self._ds:
                self._ds[group, 0x0100].value, self._ds[group, 0x0102].value = 1, 0
                what = "is in (60xx,3000) Overlay Data, no longer in the pixel data"
            else:
                del self._ds[group << 16 : (group << 16) + 0x10000]
                what = "was in unused bits of the pixel data and is gone"
            self.changed.append(f"the overlay of group {group:04X} {what}")


def _named_groups(source: _Source) -> str:
    name = f"{PER_FRAME:08X}"
    return _named(name) if name in source.described.left_out else ""


def _whole(ds: Dataset, frames: Mapping[int, _Place], mosaic: Mosaic | None) -> Sequence[_Place]:
    """Places of all frames in their order; raises `ExportError` where one is missing."""
    count = max(frames) + 1 if mosaic else int(ds.get("NumberOfFrames") or 1)
    missing = [index + 1 for index in range(count) if index not in frames]
    if missing or len(frames) > count:
        raise ExportError(
            f"{len(missing):,} of its {count:,} frames are not in these arrays, the first is frame "
            f"{missing[0] if missing else count + 1}; without --part all parts of the series are taken"
        )
    return [frames[index] for index in range(count)]


@dataclass(frozen=True, slots=True)
class _Bits:
    """How stored values stand in the pixel data element (PS3.5 section 8.1)."""

    tag: int
    vr: bytes
    allocated: int
    shift: int
    """How many bits are below the lowest one of a value."""

    @classmethod
    def of(cls, ds: Dataset, dtype: np.dtype[Any]) -> "_Bits":
        if dtype.kind == "f":
            is_double = dtype.itemsize == 8
            tag = DOUBLE_FLOAT_PIXEL_DATA if is_double else FLOAT_PIXEL_DATA
            return cls(tag, b"OD" if is_double else b"OF", 8 * dtype.itemsize, 0)
        allocated = int(ds.get("BitsAllocated") or 0)
        stored = int(ds.get("BitsStored") or allocated)
        high_bit = ds.get("HighBit")
        shift = 0 if high_bit is None else int(high_bit) + 1 - stored
        return cls(_PIXEL_DATA, b"OW" if allocated > 8 else b"OB", allocated, shift)

    def frame_bits(self, ds: Dataset) -> int:
        """Bits of one frame."""
        return int(ds.Rows) * int(ds.Columns) * int(ds.get("SamplesPerPixel") or 1) * self.allocated

    def packed(self, frames: Iterable[Stored]) -> Iterator[bytes]:
        """Bytes of the frames; single bits go on from one frame to the next without padding."""
        rest = np.empty(0, np.uint8)
        for frame in frames:
            if self.allocated == 1:
                bits = np.concatenate((rest, frame.reshape(-1)))
                full = len(bits) // 8 * 8
                yield np.packbits(bits[:full], bitorder="little").tobytes()
                rest = bits[full:]
            else:
                yield self._in_place(frame).astype(frame.dtype.newbyteorder("<"), copy=False).tobytes()
        if len(rest):
            yield np.packbits(rest, bitorder="little").tobytes()

    def _in_place(self, frame: Stored) -> Stored:
        return np.left_shift(frame, self.shift) if self.shift else frame


# --- values of the header --------------------------------------------------------------------------------


def _written(_: Dataset, element: DataElement) -> None:
    """Put the values of an element in a form that may be written; they stay what they are."""
    if element.VR not in _TEXTS or element.is_empty:
        return
    values = element.value if isinstance(element.value, MultiValue | list) else [element.value]
    if element.VR == "DS":
        element.value = [_decimal(each) for each in values]
    elif None in values:
        element.value = ["" if each is None else each for each in values]


def _decimal(value: Any) -> str:
    """The number in as few characters as any that is equal to it; 16 where that is possible."""
    if value is None or value == "":
        return ""
    number = float(value)
    mantissa, _, exponent = f"{Decimal(repr(number)).normalize():E}".partition("E")
    digits = mantissa.replace(".", "")
    point = int(exponent) - len(mantissa.partition(".")[2])
    plain = f"{Decimal(repr(number)).normalize():f}"
    bare = plain.replace("0.", ".", 1) if plain.startswith(("0.", "-0.")) else plain
    forms = (plain, bare, f"{mantissa}E{int(exponent)}", f"{digits}E{point}")
    return next((each for each in forms if len(each) <= LONGEST_DECIMAL), plain)


def _is_ascii(ds: Dataset) -> bool:
    texts = (each.value for each in ds.iterall() if each.VR in CUSTOMIZABLE_CHARSET_VR)
    return all(str(text).isascii() for text in texts)
