"""What crashes and changes leave behind, that no row names: found, and removed where nobody is at work.

Arrays half written or replaced, thumbnails of series that changed, outputs of runs that were never put on
record, copies for the outbox that were never queued, copies of the catalog half made. Everything is decided
while the lock of its folder is held, by which those who write keep it from being taken for a leftover before
they have written the row.
"""

import json
import platform
import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from catalog import locks
from catalog.arrays import all_arrays
from catalog.backup import unfinished
from catalog.database import Catalog
from catalog.errors import ArrayError
from catalog.identifiers import digest, folder_name
from catalog.outbox import deliveries
from catalog.records import ArrayRecord
from catalog.runs import output_paths
from pipelines.kinds import VIDEO
from pipelines.objects.ingest import note_name
from pipelines.store.arrays import read_levels
from pipelines.store.multiscales import NAME
from pipelines.store.places import PARTIAL, LocalPlace, Place, at, extent
from workbench.settings import Settings
from workbench.thumbnails import thumbnail_names

GRACE = timedelta(days=1)
"""In a bucket there are no locks: what is younger may be somebody's who is still writing it."""
OWNER = "bench.json"
"""File in a place of arrays outside the home that says whose rows name them."""

_SERIES = re.compile(r"[0-9a-f]{32}")
_GROUP = re.compile(r"(\d+|object)-[0-9a-f]{16}(-[0-9a-f]{8})?|video-[0-9a-f]{16}\.json")
_LEVEL = re.compile(rf"({re.escape(PARTIAL)})?{NAME.pattern}")
_RUN = re.compile(r"[0-9a-f]{32}")
_THUMBNAIL = re.compile(r"[0-9a-f]{64}\.png(\.[0-9a-f]{8}\.partial)?")
_COPY = re.compile(r"[0-9a-f]{64}\.dcm(\.[0-9a-f]{8}\.partial)?")


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something that no row names."""

    what: str
    where: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Survey:
    """What one search found."""

    leftovers: tuple[Leftover, ...] = ()
    """Removed, where that was asked for."""
    in_use: tuple[str, ...] = ()
    """Folders that were passed over as somebody is at work there, with the reason."""
    lost: tuple[ArrayRecord, ...] = ()
    """Arrays that a row names and that are not there."""

    def __add__(self, other: "Survey") -> "Survey":
        return Survey(self.leftovers + other.leftovers, self.in_use + other.in_use, self.lost + other.lost)

    @property
    def bytes(self) -> int:
        """Of all leftovers."""
        return sum(each.bytes for each in self.leftovers)


def survey(settings: Settings, catalog: Catalog, *, now: datetime, repair: bool) -> Survey:
    """Find everything that no row names, and remove it where `repair` says so.

    Raises
    ------
    OSError
        If a folder or the S3 server cannot be read, or something cannot be removed.
    """
    return (
        _arrays(settings, catalog, now, repair=repair)
        + _outputs(settings, catalog, repair=repair)
        + _outbox(settings, catalog, repair=repair)
        + _thumbnails(settings, catalog, repair=repair)
        + _backups(catalog, repair=repair)
    )


# --- arrays ----------------------------------------------------------------------------------------------


def owner(settings: Settings) -> str:
    """Who a bench is to others that keep arrays in the same place: a digest of where its catalog is."""
    address = re.sub(r"//[^@/]*@", "//", settings.catalog_url)
    machine = "" if settings.catalog else platform.node()
    return digest(f"{machine} {address}".encode())


def claim(settings: Settings) -> None:
    """Say whose the arrays in a place outside the home are, unless somebody has said so before."""
    if settings.arrays is None:
        return
    root = at(settings.arrays_address)
    try:
        root.read(OWNER, 1)
    except FileNotFoundError:
        root.write(OWNER, json.dumps({"owner": owner(settings)}).encode())


def _is_ours(settings: Settings, root: Place) -> bool:
    if settings.arrays is None:
        return True
    try:
        return bool(json.loads(root.read(OWNER, 1 << 16))["owner"] == owner(settings))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _arrays(settings: Settings, catalog: Catalog, now: datetime, *, repair: bool) -> Survey:
    root = at(settings.arrays_address)
    with _undisturbed(settings.arrays_folder) as busy:
        if busy:
            return Survey(in_use=(f"{settings.arrays_folder}: an ingest is at work",))
        named: dict[str, set[str]] = {}
        records = all_arrays(catalog)
        for record in records:
            named.setdefault(folder_name(record.series_instance_uid), set()).add(_name_of(record))
        if repair and not _is_ours(settings, root):
            return Survey(in_use=(f"{root}: arrays of another bench may lie there",))
        found = Survey()
        there: dict[str, Collection[str]] = {}
        for folder in (each.place for each in root.holdings() if _SERIES.fullmatch(each.place.name)):
            of_series, there[folder.name] = _series(folder, named.get(folder.name, set()), now, repair=repair)
            found += of_series
    lost = [
        each
        for each in records
        if each.path.startswith(str(root)) and _name_of(each) not in _of(there, each.series_instance_uid)
    ]
    return found + Survey(lost=tuple(lost))


def _of(there: dict[str, Collection[str]], uid: str) -> Collection[str]:
    return there.get(folder_name(uid), ())


def _name_of(record: ArrayRecord) -> str:
    """Name in the folder of its series of what a row stands for."""
    return note_name(record.input_digest) if record.kind == VIDEO.name else at(record.path).name


def _series(
    folder: Place, named: Collection[str], now: datetime, *, repair: bool
) -> tuple[Survey, Collection[str]]:
    """What is left in the folder of one series, and the names of all that was there."""
    with _undisturbed(folder.path if isinstance(folder, LocalPlace) else None) as busy:
        held = folder.holdings()
        names = {each.place.name for each in held}
        if busy:
            return Survey(in_use=(f"{folder}: an ingest is at work",)), names
        found: list[Leftover] = []
        for each in held:
            name = each.place.name
            is_partial = name.startswith(PARTIAL)
            is_young = not isinstance(folder, LocalPlace) and now - each.changed < GRACE
            if name in named:
                found += _levels(each.place, now, repair=repair)
            if name in named or is_young or not (is_partial or _GROUP.fullmatch(name)):
                continue
            what = "array half written" if is_partial else "array that no row names"
            found.append(Leftover(what, str(each.place), each.bytes))
            if repair:
                each.place.remove()
        if repair and isinstance(folder, LocalPlace) and not folder.holdings():
            folder.remove()
    return Survey(tuple(found)), names


def _levels(group: Place, now: datetime, *, repair: bool) -> Iterator[Leftover]:
    """Coarser levels of an array that are half made, or that it does not list."""
    try:
        listed = {level.name for level in read_levels(group)}
    except ArrayError:  # a note of a video, or an array for `verify` to judge
        return
    for each in group.holdings():
        is_young = not isinstance(group, LocalPlace) and now - each.changed < GRACE
        if is_young or each.place.name in listed or not _LEVEL.fullmatch(each.place.name):
            continue
        yield Leftover("coarser level half made", str(each.place), each.bytes)
        if repair:
            each.place.remove()


# --- outputs and outbox ----------------------------------------------------------------------------------


def _outputs(settings: Settings, catalog: Catalog, *, repair: bool) -> Survey:
    folder = settings.outputs_folder
    with _undisturbed(folder) as busy:
        if busy:
            return Survey(in_use=(f"{folder}: a run is at work",))
        named = {Path(path).parent for path in output_paths(catalog)}
        runs = [run for run in _inside(folder) if run.is_dir() and _RUN.fullmatch(run.name)]
        items = [item for run in runs for item in _inside(run) if item not in named]
        found = _collected("outputs of a run that is not on record", items, repair=repair)
        if repair:
            for run in runs:
                with suppress(OSError):  # there are outputs in it
                    run.rmdir()
    return Survey(found)


def _outbox(settings: Settings, catalog: Catalog, *, repair: bool) -> Survey:
    folder = settings.outbox_folder
    with _undisturbed(folder) as busy:
        if busy:
            return Survey(in_use=(f"{folder}: objects are being put into it",))
        named = {Path(each.path) for each in deliveries(catalog)}
        copies = [each for each in _inside(folder) if _COPY.fullmatch(each.name) and each not in named]
        return Survey(_collected("copy for the outbox that was never queued", copies, repair=repair))


def _thumbnails(settings: Settings, catalog: Catalog, *, repair: bool) -> Survey:
    folder = settings.thumbnails_folder
    with _undisturbed(folder) as busy:
        if busy:
            return Survey(in_use=(f"{folder}: thumbnails are being made",))
        there = [each for each in _inside(folder) if _THUMBNAIL.fullmatch(each.name)]
        named = set(thumbnail_names(catalog).values()) if there else set()
        unnamed = [each for each in there if each.name not in named]
        return Survey(_collected("thumbnail of no series as it is now", unnamed, repair=repair))


def _backups(catalog: Catalog, *, repair: bool) -> Survey:
    """Whole copies of the catalog are no leftovers: who is sure not to go back deletes them by hand."""
    file = catalog.file
    if file is None:
        return Survey()
    with catalog.transaction() if repair else nullcontext():  # who makes one holds the catalog
        what = "copy of the catalog half made"
        return Survey(_collected(what, unfinished(file), repair=repair))


def _collected(what: str, paths: Iterable[Path], *, repair: bool) -> tuple[Leftover, ...]:
    found = []
    for path in paths:
        found.append(Leftover(what, str(path), extent(path)[0]))
        if repair:
            LocalPlace(path).remove()
    return tuple(found)


def _inside(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


@contextmanager
def _undisturbed(folder: Path | None) -> Iterator[bool]:
    """Hold a folder's lock, where there is such a folder, or say that another holds it."""
    if folder is None or not folder.is_dir():
        yield False
        return
    with ExitStack() as stack:
        try:
            stack.enter_context(locks.alone(folder, wait=False))
        except BlockingIOError:
            yield True
        else:
            yield False
