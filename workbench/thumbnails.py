"""Thumbnails that are made once and kept: a PNG file for each series, in the bench's home.

The name is a digest of the series' UID and of what it consists of, so that a changed series gets a new one.
What has no picture keeps a card with the reason, and is not decoded again either.
"""

import struct
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from catalog.arrays import arrays_of
from catalog.database import Catalog
from catalog.durable import write
from catalog.fetch import Fetched
from catalog.identifiers import digest_of_texts
from catalog.locks import shared
from catalog.query import contents, instances_of
from catalog.records import Progress, SeriesRecord, no_progress
from workbench.selection import elsewhere
from workbench.settings import Settings

if TYPE_CHECKING:
    from pipelines.presentation.thumbnail import Thumbnail

DRAWING = 1
"""Counts the ways in which pictures were drawn: with a new one, all are made again."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_REASON = b"reason"
_LARGEST_BYTES = 1 << 20
"""Of a file that is taken for a thumbnail."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One thumbnail as a file holds it."""

    png: bytes
    reason: str = ""
    """Why there is no picture but a card, in words; empty where there is one."""


def thumbnail_names(catalog: Catalog, uids: Collection[str] | None = None) -> dict[str, str]:
    """Name of the thumbnail's file of each series, of every one where none is named."""
    return {
        uid: f"{digest_of_texts([str(DRAWING), uid, *parts])}.png"
        for uid, parts in contents(catalog, uids).items()
    }


def thumbnails_of(
    catalog: Catalog,
    series: Sequence[SeriesRecord],
    folder: Path,
    *,
    threads: int,
    fetched: Fetched,
    progress: Progress = no_progress,
) -> dict[str, Kept]:
    """Return the thumbnail of each series by its UID; those that are not there are made, several at a time.

    Parameters
    ----------
    folder
        Where they are kept.
    threads
        How many are made at a time; each holds one frame.
    fetched
        Of what lies elsewhere; of a series no more than is drawn.

    Raises
    ------
    OSError
        If the folder cannot be written.
    """
    names = thumbnail_names(catalog, [each.series_instance_uid for each in series])
    kept: dict[str, Kept] = {}
    missing = []
    for each in series:
        found = read_kept(folder / names.get(each.series_instance_uid, "none"))
        if found is None:
            missing.append(each)
        else:
            kept[each.series_instance_uid] = found
    if missing:
        with shared(folder):
            for done, (uid, made) in enumerate(
                _made(catalog, missing, names, folder, threads, fetched), start=1
            ):
                kept[uid] = made
                progress(done, len(missing))
    return kept


def fetched_of(catalog: Catalog, settings: Settings) -> Fetched:
    """Copies of what lies elsewhere, as the settings say."""
    return Fetched(catalog, settings.fetched_folder, int(settings.fetched_gb * 1e9))


def _made(
    catalog: Catalog,
    series: Sequence[SeriesRecord],
    names: Mapping[str, str],
    folder: Path,
    threads: int,
    fetched: Fetched,
) -> Iterator[tuple[str, Kept]]:
    from pipelines.presentation.thumbnail import thumbnail

    def make(record: SeriesRecord) -> tuple[str, Kept]:
        uid = record.series_instance_uid
        with ExitStack() as in_use:
            made = thumbnail(
                instances_of(catalog, uid),
                arrays_of(catalog, uid),
                record.modality,
                local=lambda some: in_use.enter_context(fetched.local(some)).instances,
                elsewhere=elsewhere(record) if record.remote else "",
            )
        kept = _to_keep(made)
        if made.is_lasting and uid in names:
            write(folder / names[uid], kept.png)
        return uid, kept

    with ThreadPoolExecutor(max(1, min(threads, len(series))), thread_name_prefix="thumbnails") as executor:
        futures = [executor.submit(make, each) for each in series]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            executor.shutdown(cancel_futures=True)


def _to_keep(made: "Thumbnail") -> Kept:
    from pipelines.presentation.display import to_png

    png = to_png(made.picture)
    return Kept(_with_reason(png, made.reason) if made.reason else png, made.reason)


# --- files -----------------------------------------------------------------------------------------------


def read_kept(path: Path) -> Kept | None:
    """Read a thumbnail's file; `None` where there is none, or it is damaged."""
    try:
        with path.open("rb") as file:
            png = file.read(_LARGEST_BYTES + 1)
    except OSError:
        return None
    chunks = _chunks(png)
    if chunks is None or not chunks or chunks[-1][0] != b"IEND":
        return None
    texts = [content for name, content in chunks if name == b"iTXt" and content.startswith(_REASON + b"\0")]
    reason = texts[0].removeprefix(_REASON + bytes(5)).decode("utf-8", "replace") if texts else ""
    return Kept(png, reason)


def _chunks(png: bytes) -> list[tuple[bytes, bytes]] | None:
    """Chunks of a PNG file in their order; `None` where a checksum is wrong or something is missing."""
    if not png.startswith(_SIGNATURE) or len(png) > _LARGEST_BYTES:
        return None
    found, at = [], len(_SIGNATURE)
    while at < len(png):
        head = png[at : at + 8]
        if len(head) < 8:
            return None
        length, name = struct.unpack(">L4s", head)
        content, checksum = png[at + 8 : at + 8 + length], png[at + 8 + length : at + 12 + length]
        if checksum != struct.pack(">L", zlib.crc32(name + content)):
            return None
        found.append((name, content))
        at += 12 + length
    return found


def _with_reason(png: bytes, reason: str) -> bytes:
    """Put a text chunk behind the header of a PNG file."""
    content = _REASON + bytes(5) + reason.encode("utf-8", "replace")
    chunk = struct.pack(">L4s", len(content), b"iTXt") + content
    end = len(_SIGNATURE) + 25  # of IHDR, which has 13 bytes
    return png[:end] + chunk + struct.pack(">L", zlib.crc32(b"iTXt" + content)) + png[end:]
