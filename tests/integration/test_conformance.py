"""A running receiver negotiates what the conformance statement says, and nothing else."""

from collections.abc import Callable
from pathlib import Path
from runpy import run_path
from typing import Any

import pytest
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
)
from pynetdicom import AE, build_context, sop_class

SCRIPT = run_path(str(Path(__file__).resolve().parents[2] / "docs" / "make_conformance.py"))
PLAIN = {ImplicitVRLittleEndian, ExplicitVRLittleEndian}
STORED = (
    "1.2.840.10008.5.1.4.1.1.2",
    "1.2.840.10008.5.1.4.1.1.66.7",
    "1.2.840.113619.4.26",
    "1.2.826.0.1.99",
)
PRIVATE_SYNTAX = UID("1.2.826.0.1.100")


@pytest.fixture(scope="module")
def receiving(start_receive: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    return start_receive(tmp_path_factory.mktemp("bench"))


def accepted(receiving: Any, uid: str, *syntaxes: str) -> set[str]:
    """The transfer syntaxes that are accepted of those proposed, each in a context of its own."""
    contexts = [build_context(UID(uid), UID(syntax)) for syntax in syntaxes]
    association = AE("TEST").associate("127.0.0.1", receiving.port, ae_title="WORKBENCH", contexts=contexts)
    found = {str(each.transfer_syntax[0]) for each in association.accepted_contexts}
    association.release() if association.is_established else association.abort()
    return found


def test_every_service_of_the_statement_is_there_in_its_transfer_syntaxes(receiving: Any) -> None:
    services = [each for each in SCRIPT["OFFERED"] if each.uid != SCRIPT["EVERY"]]
    assert len(services) == 8
    proposed = (*PLAIN, DeflatedExplicitVRLittleEndian, HTJ2KLossless)
    for each in services:
        assert accepted(receiving, each.uid, *proposed) == PLAIN, each.name


@pytest.mark.parametrize("uid", STORED)
def test_every_class_is_stored_in_every_transfer_syntax(receiving: Any, uid: str) -> None:
    proposed = (*PLAIN, DeflatedExplicitVRLittleEndian, HTJ2KLossless, PRIVATE_SYNTAX)
    assert accepted(receiving, uid, *proposed) == set(proposed)


@pytest.mark.parametrize(
    "uid",
    [
        sop_class.ModalityWorklistInformationFind,
        sop_class.ModalityPerformedProcedureStep,
        sop_class.UnifiedProcedureStepPush,
        sop_class.BasicGrayscalePrintManagementMeta,
        sop_class.HangingProtocolInformationModelFind,
        sop_class.CompositeInstanceRootRetrieveGet,
        sop_class.InstanceAvailabilityNotification,
        sop_class.MediaCreationManagement,
        sop_class.ProceduralEventLogging,
        "1.2.840.10008.5.1.4.1.2.3.1",  # Patient/Study Only, retired
    ],
)
def test_another_service_is_not_taken_for_storage(receiving: Any, uid: str) -> None:
    assert accepted(receiving, uid, *PLAIN) == set()
