"""Reads ZIP archives in small memory: the directory record by record, an entry's bytes as they are asked for.

What an archive declares is never allocated and never believed; its names are texts, not paths
(APPNOTE.TXT 6.3, sections 4.3 and 4.4).
"""

import bz2
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from catalog.errors import HeaderError
from catalog.window import BLOCK, Read

type ReadAt = Callable[[int, int], bytes]
"""Gives at most so many bytes from an offset on."""

NAME_LIMIT = 4096
"""Bytes of the longest name that is looked at."""

_END, _END_64, _LOCATOR_64 = b"PK\5\6", b"PK\6\6", b"PK\6\7"
_DIRECTORY, _LOCAL = b"PK\1\2", b"PK\3\4"
_END_SIZE, _COMMENT_LIMIT = 22, 0xFFFF
_RECORD = struct.Struct("<4s6H3L5H2L")
_AHEAD = 256 << 10
_STORED, _DEFLATED, _BZIP2 = 0, 8, 12
_IS_ENCRYPTED, _IS_UTF_8 = 0x1, 0x800


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the directory, as it declares itself."""

    name: str
    size: int
    packed: int
    method: int
    crc: int
    offset: int
    """Of its local header, from the start of the file."""
    fault: str = ""
    """Why it cannot be read, in words."""


@dataclass(frozen=True, slots=True)
class _Directory:
    start: int
    size: int
    count: int
    shift: int
    """Bytes that stand before the archive in the file."""


def entries(read: ReadAt, size: int) -> Iterator[Entry]:
    """Go through the directory of a ZIP archive.

    Parameters
    ----------
    read, size
        Bytes of the file, and how many there are.

    Raises
    ------
    HeaderError
        If it has no directory, or a damaged one; what came before stands.
    """
    directory = _directory(read, size)
    position, end = directory.start, directory.start + directory.size
    window, packed = b"", 0
    while position < end:
        if len(window) < _RECORD.size + 3 * 0xFFFF:
            window += read(position + len(window), min(_AHEAD, end - position - len(window)))
        if window[:4] != _DIRECTORY or len(window) < _RECORD.size:
            raise HeaderError("is a ZIP archive with a damaged directory; what stands behind it was not read")
        fields = _RECORD.unpack_from(window)
        length = _RECORD.size + sum(fields[10:13])
        if len(window) < length:
            raise HeaderError("is a ZIP archive with a damaged directory; what stands behind it was not read")
        entry = _entry(fields, window[_RECORD.size : length], directory.shift)
        packed += entry.packed
        if packed > size:
            raise HeaderError(
                f"is a ZIP archive whose entries are longer than itself, from {entry.name!r} on; they "
                "overlap or lie, and were not read"
            )
        yield entry
        window, position = window[length:], position + length


def stream(read: ReadAt, entry: Entry) -> Read:
    """Return the bytes of an entry, unpacked as they are asked for.

    Raises
    ------
    HeaderError
        If the entry cannot be read; the reading raises it, too, where the bytes are damaged.
    """
    if entry.fault:
        raise HeaderError(entry.fault)
    header = read(entry.offset, 30)
    if len(header) < 30 or header[:4] != _LOCAL:
        raise HeaderError("is an entry of a ZIP archive that is not where the directory says")
    name, extra = struct.unpack_from("<2H", header, 26)
    raw = _stretch(read, entry.offset + 30 + name + extra, entry.packed)
    return raw if entry.method == _STORED else unpacking(raw, _unpacker(entry.method))


def _stretch(read: ReadAt, position: int, left: int) -> Read:
    def raw(count: int) -> bytes:
        nonlocal position, left
        part = read(position, min(count, left))
        position, left = position + len(part), left - len(part)
        return part

    return raw


def unpacking(read: Read, unpacker: "zlib._Decompress | bz2.BZ2Decompressor") -> Read:
    """Read what packed bytes unpack to, never more than is asked for."""
    rest = b""

    def unpack(count: int) -> bytes:
        nonlocal rest
        part = b""
        try:
            while not part and not unpacker.eof:
                if isinstance(unpacker, bz2.BZ2Decompressor):
                    packed = read(BLOCK) if unpacker.needs_input else b""
                    is_over = unpacker.needs_input and not packed
                    part = unpacker.decompress(packed, count)
                else:
                    packed = rest or read(BLOCK)
                    is_over = not packed
                    part = unpacker.decompress(packed, count)
                    rest = unpacker.unconsumed_tail
                if is_over:
                    break
        except (zlib.error, OSError, EOFError):
            raise HeaderError("is an entry of an archive that is damaged: it cannot be unpacked") from None
        return part

    return unpack


def _unpacker(method: int) -> "zlib._Decompress | bz2.BZ2Decompressor":
    return bz2.BZ2Decompressor() if method == _BZIP2 else zlib.decompressobj(-zlib.MAX_WBITS)


def _directory(read: ReadAt, size: int) -> _Directory:
    tail_start = max(0, size - _END_SIZE - _COMMENT_LIMIT)
    tail = read(tail_start, size - tail_start)
    at = tail.rfind(_END)
    if at < 0 or len(tail) - at < _END_SIZE:
        raise HeaderError("is a ZIP archive that is cut: it has no directory at its end")
    count, length, start = struct.unpack_from("<HLL", tail, at + 10)
    end = tail_start + at
    if 0xFFFFFFFF in (length, start) or count == 0xFFFF:
        locator = read(end - 20, 20) if end >= 20 else b""
        if locator[:4] == _LOCATOR_64:
            record_at = struct.unpack_from("<Q", locator, 8)[0]
            record = read(record_at, 56) if record_at < size else b""
            if record[:4] != _END_64 or len(record) < 56:
                raise HeaderError("is a ZIP archive with a damaged directory; nothing of it was read")
            count, length, start = struct.unpack_from("<3Q", record, 32)
            end = record_at
    shift = end - length - start
    if shift < 0:
        raise HeaderError("is a ZIP archive whose directory reaches beyond the file; nothing of it was read")
    return _Directory(start + shift, length, count, shift)


def _entry(fields: tuple[int, ...], rest: bytes, shift: int) -> Entry:
    flags, method, crc, packed, size, name_length = (fields[each] for each in (3, 4, 7, 8, 9, 10))
    raw, extra = rest[:name_length], rest[name_length : name_length + fields[11]]
    name = raw[:NAME_LIMIT].decode("utf-8" if flags & _IS_UTF_8 else _CODE_PAGE, "replace")
    size, packed, offset = _of_64(extra, size, packed, fields[16])
    fault = ""
    if len(raw) > NAME_LIMIT:
        fault = f"has a name of more than {NAME_LIMIT:,} bytes"
    elif flags & _IS_ENCRYPTED:
        fault = "is encrypted; unpack the archive with its password and index the folder"
    elif method not in (_STORED, _DEFLATED, _BZIP2):
        fault = (
            f"is packed by method {method}, which is not read here; unpack the archive and index the folder"
        )
    elif method == _STORED and size != packed:
        fault = "declares two sizes for bytes that are not packed"
    return Entry(name, size, packed, method, crc, offset + shift, fault)


_CODE_PAGE = "cp437"


def _of_64(extra: bytes, size: int, packed: int, offset: int) -> tuple[int, int, int]:
    """Sizes and offset of an entry beyond 4 GB, which stand in an extra field."""
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<2H", extra)
        value, extra = extra[4 : 4 + length], extra[4 + length :]
        if kind == 1:
            numbers = iter(struct.unpack_from(f"<{len(value) // 8}Q", value))
            size, packed, offset = (
                next(numbers, each) if each == 0xFFFFFFFF else each for each in (size, packed, offset)
            )
            break
    return size, packed, offset
