"""Gets the instances of a series from a node into files, by C-GET or else by C-MOVE (PS3.4 C.4.2, C.4.3)."""

from collections.abc import Sequence
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    MPEG2MPHL,
    MPEG2MPML,
    MPEG4HP41,
    MPEG4HP41BD,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)
from pynetdicom import build_role, evt
from pynetdicom.events import EventHandlerType
from pynetdicom.presentation import build_context

from catalog.durable import make_folder, write
from catalog.errors import RefusedError
from catalog.identifiers import folder_name, is_uid
from workbench.pacs import dimse
from workbench.pacs.association import CONTEXTS_AT_MOST, associate
from workbench.pacs.dimse_node import DimseNode
from workbench.pacs.receive import Listener, answer_store, know_storage_class
from workbench.pacs.sop_classes import STUDY_ROOT_GET, STUDY_ROOT_MOVE

SYNTAXES = (
    ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian,
    JPEGLosslessSV1, JPEGLossless, JPEGLSLossless, JPEG2000Lossless, HTJ2KLossless, HTJ2KLosslessRPCL,
    RLELossless, JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless, JPEG2000, HTJ2K, MPEG2MPML,
    MPEG2MPHL, MPEG4HP41, MPEG4HP41BD,
)  # fmt: skip
"""What is proposed for every SOP class; a node that keeps an encoding may send it as it is."""


def retrieve(
    node: DimseNode, study_instance_uid: str, series_instance_uid: str, folder: Path, listener: Listener
) -> Sequence[Path]:
    """Write every instance of a series that a node has into a folder, each durable before it is answered for.

    The names of the files are digests of the UIDs: nothing that a peer says is part of a path.

    Raises
    ------
    catalog.errors.DeliveryError
        If the node cannot be asked, does not know the series, or gives fewer instances than it says it has.
    OSError
        If the folder cannot be written.
    """
    identifier = _identifier("IMAGE", study_instance_uid, series_instance_uid)
    identifier.SOPInstanceUID = identifier.SOPClassUID = None
    found = dimse.find(node, identifier)
    uids = [str(each.get("SOPInstanceUID", "")) for each in found]
    classes = sorted({str(each.get("SOPClassUID", "")) for each in found} - {""})
    if not found or not all(map(is_uid, (*uids, *classes))):
        raise RefusedError(f"{node.name} does not find the instances of series {series_instance_uid}")
    into = folder / folder_name(series_instance_uid)
    make_folder(into)
    kept = _Kept(into)
    refusals = []
    for service, get in (("C-GET", _get), ("C-MOVE", _move)):
        wanted = [uid for uid in uids if uid not in kept.paths]
        try:
            get(node, identifier, classes, dict.fromkeys(wanted, kept), listener)
        except RefusedError as error:
            refusals.append(str(error))
        if kept.error is not None:
            raise kept.error
        missing = len(set(uids) - kept.paths.keys())
        if not missing:
            return tuple(kept.paths.values())
        refusals.append(f"{service}: {missing:,} of {len(uids):,} instances did not come")
    raise RefusedError(
        f"{node.name} does not give all of series {series_instance_uid}. {'. '.join(refusals)}"
    )


class _Kept:
    """Takes instances as they come, and keeps them in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.paths: dict[str, Path] = {}
        self.error: OSError | None = None

    def __call__(self, uid: str, content: bytes) -> None:
        path = self._folder / f"{folder_name(uid)}.dcm"
        try:
            write(path, content)
        except OSError as error:  # the node is told of it, and the caller
            self.error = error
            raise
        self.paths[uid] = path


def _get(
    node: DimseNode,
    identifier: Dataset,
    classes: Sequence[str],
    expected: dict[str, _Kept],
    _listener: Listener,
) -> None:
    handlers: list[EventHandlerType] = [(evt.EVT_C_STORE, lambda event: answer_store(event, expected))]
    some = classes[: CONTEXTS_AT_MOST - 1]
    for sop_class_uid in some:
        know_storage_class(sop_class_uid)
    contexts = [build_context(UID(each), list(SYNTAXES)) for each in some]
    roles = [build_role(UID(each), scp_role=True) for each in some]
    with associate(
        node, [build_context(STUDY_ROOT_GET), *contexts], roles=roles, handlers=handlers
    ) as association:
        dimse.get(association, _of_series(identifier))


def _move(
    node: DimseNode,
    identifier: Dataset,
    classes: Sequence[str],
    expected: dict[str, _Kept],
    listener: Listener,
) -> None:
    pairs = [(each, str(syntax)) for each in classes for syntax in SYNTAXES]
    for kept in list(expected.values())[:1]:
        with (
            listener.expecting(list(expected), pairs, kept),
            associate(node, [build_context(STUDY_ROOT_MOVE)]) as association,
        ):
            dimse.move(association, _of_series(identifier), node.calling_ae_title)


def _identifier(level: str, study_instance_uid: str, series_instance_uid: str) -> Dataset:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    identifier.StudyInstanceUID = study_instance_uid
    identifier.SeriesInstanceUID = series_instance_uid
    return identifier


def _of_series(identifier: Dataset) -> Dataset:
    return _identifier("SERIES", identifier.StudyInstanceUID, identifier.SeriesInstanceUID)
