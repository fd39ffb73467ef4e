"""Gets the instances of a series from a node into files, by C-GET or else by C-MOVE (PS3.4 C.4.2, C.4.3)."""

from collections.abc import Callable, Container, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom.presentation import build_role

from catalog.durable import Partial, make_folder, publish_files, sync_files, write_beside
from catalog.elements import Elements
from catalog.errors import NodeUnavailableError, RefusedError
from catalog.identifiers import folder_name, is_uid
from catalog.receptions import Reception
from catalog.room import Room
from workbench.pacs import dimse
from workbench.pacs.association import CONTEXTS_AT_MOST, associate, contexts_of, service
from workbench.pacs.dimse_node import DimseNode
from workbench.pacs.file_meta import file_meta
from workbench.pacs.moving import move
from workbench.pacs.proposed import (
    STORAGE_CLASSES,
    Pair,
    Wanted,
    grouped,
    left_of,
    wanted_of,
)
from workbench.pacs.receive import Listener
from workbench.pacs.sop_classes import STUDY_ROOT_GET
from workbench.pacs.wire.failures import AbortedError

SETTLED_BYTES = 512 << 20
"""Of instances that may have come and not have their names yet: waiting for many at once takes less."""
TOGETHER_BYTES = 32 << 20
"""Of instances that are waited for together while others come."""

ASSOCIATIONS_AT_MOST = 4
"""For the C-GET of one series, where one has no room for each encoding of each class."""

_SUCCESS, _OUT_OF_RESOURCES = 0x0000, 0xA700
_SOP_CLASS_UID, _SOP_INSTANCE_UID, _AVAILABLE_TRANSFER_SYNTAX_UID = 0x00080016, 0x00080018, 0x00083002


def retrieve(
    node: DimseNode,
    study_instance_uid: str,
    series_instance_uid: str,
    folder: Path,
    listener: Listener,
    *,
    reserve: int = 0,
    took: Callable[[int], None] = lambda _size: None,
) -> Sequence[Path]:
    """Write every instance of a series that a node has into a folder; they are durable when this returns.

    What a C-MOVE sends to `workbench receive`, as that has the port, lies and stays where that puts it.

    The node keeps what it has sent, so that its answers need not wait for the disk, one by one.
    The names of the files are digests of the UIDs: nothing that a peer says is part of a path. No file is
    written over: other bytes than those that were fetched before lie beside them.

    Parameters
    ----------
    reserve
        Bytes that stay free on the disk of the folder.
    took
        Told the bytes of each instance; it may take its time.

    Raises
    ------
    catalog.errors.DeliveryError
        If the node cannot be asked, does not know the series, or gives fewer instances than it says it has.
    OSError
        If the folder cannot be written; with `ENOSPC` before the disk is full.
    """
    identifier = _identifier("IMAGE", study_instance_uid, series_instance_uid)
    identifier.SOPInstanceUID = identifier.SOPClassUID = identifier.AvailableTransferSyntaxUID = None
    found = dimse.find_elements(node, identifier)
    uids = [_uid(each, _SOP_INSTANCE_UID) for each in found]
    pairs = {(_uid(each, _SOP_CLASS_UID), _uid(each, _AVAILABLE_TRANSFER_SYNTAX_UID)) for each in found}
    told = sorted(pair for pair in pairs if all(map(is_uid, pair)))
    classes = sorted({each for each, _ in pairs} - {""})
    if any(each == "" for each, _ in pairs):  # SOP Class UID (0008,0016) need not be told (PS3.4 table C.6-4)
        classes = list(dict.fromkeys([*classes, *STORAGE_CLASSES]))
    if not found or not all(map(is_uid, (*uids, *classes))):
        raise RefusedError(f"{node.name} does not find the instances of series {series_instance_uid}")
    asked = _Asked(node, identifier, wanted_of(classes, told), told, listener)
    into = folder / folder_name(series_instance_uid)
    make_folder(into)
    refusals: list[str] = []
    with ThreadPoolExecutor(1, "disk") as disk:
        kept = _Kept(into, set(uids), took, disk, Room(into, reserve))
        for name, retrieved in (("C-GET", _get), ("C-MOVE", _move)):
            wanted = [uid for uid in uids if uid not in kept.paths]
            try:
                retrieved(asked, kept, wanted)
            except RefusedError as error:
                refusals.append(str(error))
            except NodeUnavailableError as error:  # some nodes end the association where they allow no C-GET
                if name != "C-GET" or kept.paths or not isinstance(error.__cause__, AbortedError):
                    raise
                refusals.append(str(error))
            if kept.error is not None:
                raise kept.error
            missing = len(set(uids) - kept.paths.keys())
            if not missing:
                return tuple(kept.paths.values())
            refusals.append(f"{name}: {missing:,} of {len(uids):,} instances did not come")
    raise RefusedError(
        f"{node.name} does not give all of series {series_instance_uid}. {'. '.join(refusals)}"
    )


def _uid(answer: Elements, tag: int) -> str:
    """A UID of an answer; empty where it has none."""
    return answer[tag].value.decode("latin-1").strip(" \0") if tag in answer else ""


class _Kept:
    """Takes instances as they come, and keeps them in a folder; a thread waits for the disk meanwhile."""

    def __init__(
        self,
        folder: Path,
        wanted: Container[str],
        took: Callable[[int], None],
        disk: Executor,
        room: Room,
    ) -> None:
        self._folder, self._wanted, self._took, self._disk, self.room = folder, wanted, took, disk, room
        self._whole: dict[str, Partial] = {}
        self._fresh: list[Partial] = []
        """Those that nobody waits for yet."""
        self._size = self._fresh_size = 0
        self._waits: list[Future[None]] = []
        self.paths: dict[str, Path] = {}
        self.error: OSError | None = None

    def path(self, uid: str) -> Path:
        """Where an instance goes."""
        return self._folder / f"{folder_name(uid)}.dcm"

    def __call__(self, uid: str, content: bytes) -> None:
        """Take an instance whole."""
        try:
            self.room.take(len(content))
            path = write_beside(self.path(uid), (content,))
        except OSError as error:  # the node is told of it, and the caller
            self.error = error
            raise
        self.paths[uid] = path
        self._took(len(content))

    def found(self, reception: Reception) -> None:
        """Take an instance that `workbench receive` has received; it lies where that has put it."""
        path = Path(reception.path)
        self.paths[reception.sop_instance_uid] = path
        self._took(path.stat().st_size)

    def begin(self, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> "_File | None":
        """Take an instance that begins to come, unless nobody asked for it or it is there already."""
        is_here = sop_instance_uid in self.paths or sop_instance_uid in self._whole
        if is_here or sop_instance_uid not in self._wanted:
            return None
        return _File(self, sop_instance_uid, file_meta(sop_class_uid, sop_instance_uid, transfer_syntax_uid))

    def came(self, uid: str, file: Partial, size: int) -> None:
        """Take a file that is whole."""
        self._whole[uid] = file
        self._fresh.append(file)
        self._took(size)
        self._size += size
        self._fresh_size += size
        if self._fresh_size > TOGETHER_BYTES:
            self._waits.append(self._disk.submit(sync_files, self._fresh))
            self._fresh, self._fresh_size = [], 0
        if self._size > SETTLED_BYTES:
            self.settle()

    def settle(self) -> None:
        """Wait until whatever came is on the disk, and give it its name.

        Raises
        ------
        OSError
            If it does not get there.
        """
        whole, self._whole = self._whole, {}
        waits, self._waits, self._fresh = self._waits, [], []
        self._size = self._fresh_size = 0
        try:
            for each in waits:  # what went wrong on the disk is told once
                each.result()
            for file in whole.values():  # what was fetched before stays, whatever the node has of it now
                file.step_aside()
            publish_files(list(whole.values()))
        except OSError:
            for file in whole.values():
                file.discard()
            raise
        self.paths |= {uid: file.target for uid, file in whole.items()}


class _File:
    """An instance on its way into its file."""

    def __init__(self, kept: _Kept, uid: str, begin: bytes) -> None:
        self._kept, self._uid, self._size = kept, uid, 0
        self._file: Partial | None = None
        with self._telling():
            self._file = Partial(kept.path(uid))
            self._file.write(begin)

    def write(self, fragment: memoryview, /) -> None:
        with self._telling():
            if self._file is not None:
                self._kept.room.take(len(fragment))
                self._file.write(fragment)
                self._size += len(fragment)

    def finish(self) -> int:
        with self._telling():
            if self._file is not None:
                self._file.close()
                self._kept.came(self._uid, self._file, self._size)
                return _SUCCESS
        return _OUT_OF_RESOURCES

    def discard(self) -> None:
        if self._file is not None:
            self._file.discard()
            self._file = None

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Go on without keeping anything where that fails: the node is told of it, and the caller."""
        try:
            yield
        except OSError as error:
            self._kept.error = error
            self.discard()


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is asked of whom, and in which encodings it may come."""

    node: DimseNode
    identifier: Dataset
    encodings: Wanted
    told: Sequence[Pair]
    listener: Listener


def _get(asked: _Asked, kept: _Kept, wanted: Sequence[str]) -> None:
    """Get over as many associations as it takes to propose what may be of use, while something is missing."""
    left = asked.encodings
    for number in range(1, ASSOCIATIONS_AT_MOST + 1):
        groups = grouped(left, asked.told, CONTEXTS_AT_MOST - 1)
        contexts = [service(STUDY_ROOT_GET), *contexts_of(groups)]
        roles = [build_role(UID(each), scp_role=True) for each in dict.fromkeys(each for each, _ in groups)]
        before, left = left, left_of(left, groups, ())
        try:
            with associate(asked.node, contexts, roles=roles) as association:
                accepted = {
                    (str(each.abstract_syntax), str(each.transfer_syntax[0]))
                    for each in association.agreed.accepted.values()
                }
                may_get = any(each == STUDY_ROOT_GET for each, _ in accepted)
                left = left_of(before, groups, accepted) if may_get else {}
                dimse.get(association, _of_series(asked.identifier), kept.begin)
        except RefusedError:  # such is the answer too where nothing could go in what was proposed (A702)
            if not left or number == ASSOCIATIONS_AT_MOST:
                raise
        finally:
            kept.settle()
        if not left or kept.error is not None or all(uid in kept.paths for uid in wanted):
            return


def _move(asked: _Asked, kept: _Kept, wanted: Sequence[str]) -> None:
    pairs = [(each, syntax) for each, syntaxes in asked.encodings.items() for syntax in syntaxes]
    if wanted:
        move(asked.node, _of_series(asked.identifier), wanted, pairs, asked.listener, kept, kept.found)


def _identifier(level: str, study_instance_uid: str, series_instance_uid: str) -> Dataset:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    identifier.StudyInstanceUID = study_instance_uid
    identifier.SeriesInstanceUID = series_instance_uid
    return identifier


def _of_series(identifier: Dataset) -> Dataset:
    return _identifier("SERIES", identifier.StudyInstanceUID, identifier.SeriesInstanceUID)
