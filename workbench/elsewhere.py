"""Sources elsewhere: what a node or the IDC tells of series, and how the instances of a node come here."""

import errno
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from catalog.errors import DeliveryError, NoRoomError, QuestionError, RefusedError
from catalog.identifiers import folder_name
from catalog.query import instances_of
from catalog.records import Progress, Rejection, RemoteReport, RemoteSeries
from workbench.pacs.node import node_in
from workbench.progress import bar

if TYPE_CHECKING:
    from catalog.database import Catalog
    from workbench.pacs.node import ListenAddress, Node

_UIDS = ("study_instance_uid", "series_instance_uid")
RECEIVED = "received"
"""Folder of the bench for what came from a node."""


class ShortWarning(UserWarning):
    """What is opened has fewer instances than its source told of."""


def index_elsewhere(
    catalog: "Catalog",
    path: str | Path,
    matching: Mapping[str, Any],
    node_named: Callable[[str], "Node"],
    *,
    quiet: bool,
) -> RemoteReport | None:
    """Record what the IDC, a Parquet file of its form or a node tells; `None` where the path is none of them.

    Without matching a node tells of all it has, and rows of series that it has no more are taken away. So
    does the index of the IDC, but no file of its form, which may be a part.

    Raises
    ------
    catalog.errors.QuestionError
        If something is to be matched that is no node, or no node is named.
    """
    from catalog.idc import SOURCE, SUFFIX, idc_index, index_idc
    from catalog.remotes import record_remotes

    if (name := node_in(str(path))) is not None:
        if not name:
            raise QuestionError("pacs://NODE names a node of the settings; pacs:// names none")
        started, node = monotonic(), node_named(name)
        with bar("index", "series", quiet=quiet) as progress:
            told = _counted(node.survey(matching), progress)
            report = record_remotes(catalog, node.address, told, complete=not matching)
        return replace(report, seconds=monotonic() - started)
    if matching:
        raise QuestionError(f"only a node is asked for {', '.join(matching)}; files are indexed as they are")
    is_source = str(path) == SOURCE and not Path(path).exists()
    if not is_source and Path(path).suffix.lower() != SUFFIX:
        return None
    with bar("index", "series", quiet=quiet) as progress:
        file = idc_index() if is_source else Path(path).expanduser()
        return index_idc(catalog, file, complete=is_source, progress=progress)


def retrieve_series(
    told: Sequence[RemoteSeries],
    node_named: Callable[[str], "Node"],
    listen: "ListenAddress",
    folder: Path,
    *,
    reserve: int,
    quiet: bool,
) -> tuple[list[Path], DeliveryError | NoRoomError | None]:
    """Get series from the nodes that told of them into folders, which are returned.

    What `workbench receive` took in, as a node sent it there, is returned as files.

    A series that its node does not give whole keeps no other from coming; a node that cannot be asked ends
    it, and so does a disk on which fewer bytes than `reserve` are free. The error is returned beside the
    folders of what came, that of its own series included; so what came can be indexed, and the error raised
    then.
    """
    folders: list[Path] = []
    refused: list[RefusedError] = []
    with bar("fetch", "series", quiet=quiet) as progress:
        for done, each in enumerate(told, start=1):
            node = node_named(node_in(each.address) or "")
            study, series = (str(each.values[name]) for name in _UIDS)
            place = folder / folder_name(series)
            try:
                paths = node.retrieve(study, series, folder, listen, reserve=reserve)
            except RefusedError as error:
                refused.append(error)
                folders += [place] * place.is_dir()
            except DeliveryError as error:
                return folders + [place] * place.is_dir(), error
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                return folders + [place] * place.is_dir(), no_room(folder, reserve)
            else:
                folders += [place] * place.is_dir()
                folders += [path for path in paths if path.parent != place]
            progress(done, len(told))
    if len(refused) > 1:
        first = f"{len(refused):,} of {len(told):,} series did not come whole. The first: {refused[0]}"
        return folders, RefusedError(first)
    return folders, refused[0] if refused else None


def no_room(folder: Path, reserve: int) -> NoRoomError:
    """Say that no more is taken in, and what to do."""
    return NoRoomError(
        f"fewer than {reserve >> 20:,} MB are free on the disk of {folder} (receive_free_mb of the "
        "settings), so nothing more is fetched; what came is kept. Make room, then do the same again"
    )


def short_of(catalog: "Catalog", told: Iterable[RemoteSeries]) -> tuple[Rejection, ...]:
    """Say of which series fewer instances are here than their source told of (PS3.4 C.6.2.1.3)."""
    found = []
    for each in told:
        uid = str(each.values[_UIDS[1]])
        here = len(instances_of(catalog, uid))
        if here < (each.instances or 0):
            counts = f"{each.source} told of {each.instances:,} instances, {here:,} are here"
            found.append(Rejection(uid, counts))
    return tuple(found)


def warn_of_short(short: Rejection) -> None:
    """Warn where something is opened that did not come whole."""
    warnings.warn(f"series {short.path}: {short.reason}", ShortWarning, stacklevel=5)


def _counted(told: Iterable[RemoteSeries], progress: Progress) -> Iterator[RemoteSeries]:
    for number, each in enumerate(told, start=1):
        yield each
        progress(number, None)
