"""Reads TAR archives front to back in small memory, also packed ones (POSIX.1-2017 pax, ustar and GNU names).

No header of it is believed: long names and pax records have a limit, links and devices are never followed.
"""

import bz2
import lzma
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from catalog.errors import HeaderError
from catalog.window import BLOCK, Read
from catalog.zips import NAME_LIMIT, ReadAt

BLOCK_SIZE = 512
PAX_LIMIT = 1 << 20
"""Bytes of the longest pax record that is read."""
MEMORY_LIMIT = 96 << 20
"""What unpacking may take; the dictionary of an .xz file would be as large as it says."""
RATIO_LIMIT = 250
"""How many times its size an archive may unpack to ..."""
FREE = 256 << 20
"""... beyond these bytes."""

_FILES, _FOLDER = b"\0" + b"07", b"5"
_LINKS, _DEVICES = b"12", b"346"


@dataclass(frozen=True, slots=True)
class Member:
    """One entry, whose bytes come when they are asked for and before the next one is."""

    name: str
    size: int
    read: Read
    offset: int
    """Of its bytes in the unpacked archive."""
    fault: str = ""


class Source:
    """Bytes one after the other, which can be passed over."""

    __slots__ = ("_read", "position")

    def __init__(self, read: ReadAt, position: int = 0) -> None:
        self._read = read
        self.position = position

    def read(self, count: int) -> bytes:
        """Read on."""
        part = self._read(self.position, count)
        self.position += len(part)
        return part

    def skip(self, count: int) -> None:
        """Pass over bytes without reading them."""
        self.position += count


class Packed:
    """What packed bytes unpack to; counted, and ended where they are more than their packing explains.

    Parameters
    ----------
    source
        Of the packed bytes.
    unpacker
        Makes the decompressor, anew for each of several that follow each other.
    """

    __slots__ = ("_make", "_rest", "_source", "_unpacker", "position")

    def __init__(self, source: Source, unpacker: "Callable[[], Unpacker]") -> None:
        self._source, self._make = source, unpacker
        self._unpacker = unpacker()
        self._rest = b""
        self.position = 0

    def read(self, count: int) -> bytes:
        """Read on.

        Raises
        ------
        HeaderError
            If the bytes are damaged, or explode.
        """
        part = b""
        try:
            while not part:
                if self._unpacker.eof:
                    self._rest = self._unpacker.unused_data or self._source.read(BLOCK)
                    if not self._rest.strip(b"\0"):
                        break
                    self._unpacker = self._make()
                packed = self._rest or (self._source.read(BLOCK) if self._wants() else b"")
                if not packed and self._wants():
                    raise HeaderError("is cut: its packed bytes end too early")
                part = self._unpacker.decompress(packed, count)
                self._rest = getattr(self._unpacker, "unconsumed_tail", b"")
        except (zlib.error, lzma.LZMAError, OSError, EOFError, MemoryError):
            raise HeaderError("is damaged: it cannot be unpacked any further") from None
        self.position += len(part)
        if self.position > FREE and self.position > RATIO_LIMIT * self._source.position:
            raise HeaderError(f"unpacks to more than {RATIO_LIMIT} times its size; it was read no further")
        return part

    def skip(self, count: int) -> None:
        """Pass over bytes, which are unpacked all the same."""
        while count:
            part = self.read(min(count, 64 * BLOCK))
            if not part:
                return
            count -= len(part)

    def _wants(self) -> bool:
        return bool(getattr(self._unpacker, "needs_input", True))


type Unpacker = "zlib._Decompress | bz2.BZ2Decompressor | lzma.LZMADecompressor"

UNPACKERS: tuple[tuple[bytes, Callable[[], Unpacker]], ...] = (
    (b"\x1f\x8b", lambda: zlib.decompressobj(16 + zlib.MAX_WBITS)),
    (b"BZh", bz2.BZ2Decompressor),
    (b"\xfd7zXZ\0", lambda: lzma.LZMADecompressor(memlimit=MEMORY_LIMIT)),
)
"""How packed bytes begin, and what unpacks them."""


def opened(read: ReadAt, magic: bytes) -> Source | Packed:
    """Return the bytes of a TAR archive, unpacked where it is packed; `magic` is how it begins."""
    unpacker = next((make for begins, make in UNPACKERS if magic.startswith(begins)), None)
    return Source(read) if unpacker is None else Packed(Source(read), unpacker)


def members(source: Source | Packed, size: int) -> Iterator[Member]:
    """Go through the entries that are no folders.

    Parameters
    ----------
    size
        Of the archive's file; an entry of a bare one that reaches beyond it is cut.

    Raises
    ------
    HeaderError
        If the archive is damaged or cut, or explodes; what came before stands.
    """
    long_name, pax = "", dict[str, str]()
    while True:
        header = _exactly(source, BLOCK_SIZE)
        if not header or not header.strip(b"\0"):
            return
        if len(header) < BLOCK_SIZE or _sum(header) != _number(header[148:156]):
            raise HeaderError("is a TAR archive that is cut or damaged; what stands behind was not read")
        kind, length = header[156:157], _number(header[124:136])
        start = source.position
        after = start + -(-length // BLOCK_SIZE) * BLOCK_SIZE
        if kind in b"LKxg":
            more_name, more = _preface(source, kind, length)
            long_name, pax = more_name or long_name, more or pax
        else:
            length = _size_in(pax, length)
            after = start + -(-length // BLOCK_SIZE) * BLOCK_SIZE
            name = pax.get("path") or long_name or _name(header)
            if kind != _FOLDER and not (kind in _FILES and name.endswith("/")):
                if isinstance(source, Source) and start + length > size:
                    raise HeaderError(f"is a TAR archive that is cut in its entry {name!r}")
                is_sparse = any(each.startswith("GNU.sparse") for each in pax)
                yield Member(name, length, _bounded(source, length), start, _fault(kind, name, is_sparse))
            long_name, pax = "", {}
        if after < source.position:
            raise HeaderError("is a TAR archive that is damaged")
        source.skip(after - source.position)


def _preface(source: Source | Packed, kind: bytes, length: int) -> tuple[str, dict[str, str]]:
    """Long name and pax records that stand before the entry they are about."""
    if length > (PAX_LIMIT if kind in b"xg" else NAME_LIMIT + 1):
        raise HeaderError("is a TAR archive with a name or record too long to be read")
    content = _exactly(source, length)
    name = content.rstrip(b"\0").decode("utf-8", "surrogateescape") if kind == b"L" else ""
    return name, _records(content) if kind == b"x" else {}


def _exactly(source: Source | Packed, count: int) -> bytes:
    content = b""
    while len(content) < count and (part := source.read(count - len(content))):
        content += part
    return content


def _bounded(source: Source | Packed, left: int) -> Read:
    def read(count: int) -> bytes:
        nonlocal left
        part = source.read(min(count, left)) if left else b""
        left -= len(part)
        return part

    return read


def _fault(kind: bytes, name: str, is_sparse: bool) -> str:
    if len(name) > NAME_LIMIT:
        return f"has a name of more than {NAME_LIMIT:,} characters"
    if kind in _LINKS:
        return "is a link in an archive, which is not followed"
    if kind in _DEVICES:
        return "is a device in an archive, no file"
    if is_sparse or kind not in _FILES:
        return "is an entry of an archive of a kind that is not read here; unpack it and index the folder"
    return ""


def _sum(header: bytes) -> int:
    return sum(header[:148]) + 8 * 0x20 + sum(header[156:])


def _number(field: bytes) -> int:
    """Octal digits, or beyond 8 GB binary (GNU and star)."""
    if field[0] & 0x80:
        found = int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
        if field[0] == 0xFF or found > 1 << 62:
            raise HeaderError("is a TAR archive with an impossible size of an entry")
        return found
    digits = field.strip(b" \0")
    try:
        return int(digits or b"0", 8)
    except ValueError:
        raise HeaderError("is a TAR archive that is damaged; what stands behind was not read") from None


def _size_in(pax: dict[str, str], otherwise: int) -> int:
    digits = pax.get("size", "")
    if not digits:
        return otherwise
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20):
        raise HeaderError("is a TAR archive with an impossible size of an entry")
    return int(digits)


def _name(header: bytes) -> str:
    name = header[:100].split(b"\0")[0]
    if header[257:263] == b"ustar\0" and (prefix := header[345:500].split(b"\0")[0]):
        name = prefix + b"/" + name
    return name.decode("utf-8", "surrogateescape")


def _records(content: bytes) -> dict[str, str]:
    """Records of a pax header: their length in digits, a blank, `key=value`, a line end."""
    found: dict[str, str] = {}
    while content.strip(b"\0"):
        digits, _, _ = content[:20].partition(b" ")
        if not digits.isdigit() or not len(digits) < int(digits) <= len(content):
            raise HeaderError("is a TAR archive with a damaged pax record")
        length = int(digits)
        key, _, value = content[len(digits) + 1 : length - 1].partition(b"=")
        found[key.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        content = content[length:]
    return found


def is_tar(block: bytes) -> bool:
    """Whether a block of 512 bytes is the header of a TAR archive."""
    try:
        return len(block) >= BLOCK_SIZE and _sum(block[:BLOCK_SIZE]) == _number(block[148:156]) > 8 * 0x20
    except (HeaderError, struct.error):
        return False
