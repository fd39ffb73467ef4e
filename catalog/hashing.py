"""Reads whole files whose digest nobody knows yet, and puts it on record; a bad file is a value."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from itertools import batched

from catalog.checks import Check, Due, Soundness, files_read, note
from catalog.database import Catalog
from catalog.records import Progress, no_progress
from catalog.rot import reread

READERS = 4
"""Threads that read; SHA-256 leaves the interpreter to others meanwhile, and so does a slow disk."""
_NOTED = 200
"""Files after which what was read is put on record: so much is read twice after a crash."""


def hash_files(
    catalog: Catalog,
    series_instance_uids: Iterable[str],
    *,
    now: datetime,
    again: bool = False,
    progress: Progress = no_progress,
) -> list[Check]:
    """Read the files of series that were never read as a whole; return those that are not as indexed.

    What lies on a server is not read: it would be copied here to be hashed.

    Parameters
    ----------
    again
        Whether files whose digest is known are read, too, and compared with it.
    progress
        Told how many files were read, and how many there are.
    """
    due = [each for some in files_read(catalog, series_instance_uids, again=again) for each in some]
    bad: list[Check] = []
    read: partial[Check] = partial(_read, now)
    with ThreadPoolExecutor(READERS) as pool:
        for done, some in enumerate(batched(due, _NOTED)):
            checks = list(pool.map(read, some))
            note(catalog, checks)
            bad += [each for each in checks if each.state is not Soundness.SOUND]
            progress(done * _NOTED + len(some), len(due))
    return bad


def _read(now: datetime, due: Due) -> Check:
    return reread(due, checked=now, spend=_at_once)


def _at_once(_count: int) -> None:
    """Somebody waits for it: no rate is kept to."""
