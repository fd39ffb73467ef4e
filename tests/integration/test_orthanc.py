"""What a real PACS refuses, cannot do, or is not there for."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pydicom
import pytest

from catalog import outbox
from catalog.database import Catalog
from pipelines.encode.part10 import write_object
from workbench.pacs.deliver import deliver
from workbench.pacs.dimse_node import DimseNode
from workbench.pacs.node import ListenAddress

pytestmark = pytest.mark.pacs

type Objects = dict[str, Any]
type Start = Callable[..., Any]

LABEL_MAP_SEGMENTATION_STORAGE = "1.2.840.10008.5.1.4.1.1.66.7"
NOW = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)
WAIT = timedelta(seconds=15)


def queue_label_map(catalog: Catalog, objects: Objects, folder: Path) -> None:
    """A SEG under a SOP class that is younger than the node."""
    ds = pydicom.dcmread(objects["SEG"].path)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = LABEL_MAP_SEGMENTATION_STORAGE
    digest = write_object(ds, folder / "labelmap.dcm")
    outbox.queue(
        catalog, folder / "labelmap.dcm", "ORTHANC", sop_instance_uid=ds.SOPInstanceUID,
        sop_class_uid=ds.SOPClassUID, digest=digest, now=NOW,
    )  # fmt: skip


def queue(catalog: Catalog, each: Any) -> None:
    outbox.queue(
        catalog, each.path, "ORTHANC", sop_instance_uid=each.sop_instance_uid,
        sop_class_uid=each.sop_class_uid, digest=each.digest, now=NOW,
    )  # fmt: skip


def test_an_sop_class_the_node_does_not_know_fails_for_good(
    catalog: Catalog, objects: Objects, start_orthanc: Start, tmp_path: Path
) -> None:
    peer = start_orthanc(UnknownSopClassAccepted=False)
    queue_label_map(catalog, objects, tmp_path)
    queue(catalog, objects["SR"])
    refused, other = deliver(catalog, peer.node, listen=peer.listen, now=lambda: NOW, wait=WAIT)
    assert (refused.state, other.state) == ("failed", "confirmed")
    assert "the node does not accept this SOP class" in refused.reason
    assert "stored" not in refused.times
    assert refused.next_step == "remove the cause, then send it again"


def test_once_the_administrator_has_enabled_it_sending_again_works(
    catalog: Catalog, objects: Objects, start_orthanc: Start, tmp_path: Path
) -> None:
    refusing, accepting = start_orthanc(UnknownSopClassAccepted=False), start_orthanc()
    queue_label_map(catalog, objects, tmp_path)
    (refused,) = deliver(catalog, refusing.node, listen=refusing.listen, now=lambda: NOW, wait=WAIT)
    queue_label_map(catalog, objects, tmp_path)
    (accepted,) = deliver(catalog, accepting.node, listen=accepting.listen, now=lambda: NOW, wait=WAIT)
    assert (refused.state, accepted.state) == ("failed", "confirmed")


@pytest.mark.parametrize(("may_get", "service"), [(True, "C-GET"), (False, "C-MOVE")])
def test_what_c_get_does_not_give_back_comes_by_c_move(
    catalog: Catalog, objects: Objects, start_orthanc: Start, tmp_path: Path, may_get: bool, service: str
) -> None:
    peer = start_orthanc(may_get=may_get)
    queue_label_map(catalog, objects, tmp_path)
    (receipt,) = deliver(catalog, peer.node, listen=peer.listen, now=lambda: NOW, wait=WAIT)
    words = f"read back by {service}, identical"
    assert (receipt.state, receipt.stages[-1].text) == ("confirmed", words)


def test_the_orthanc_of_debian_13_gives_a_label_map_back_by_c_get(
    catalog: Catalog, objects: Objects, newer_orthanc: Any, tmp_path: Path
) -> None:
    queue_label_map(catalog, objects, tmp_path)
    peer = newer_orthanc
    (receipt,) = deliver(catalog, peer.node, listen=peer.listen, now=lambda: NOW, wait=WAIT)
    assert (receipt.state, receipt.stages[-1].text) == ("confirmed", "read back by C-GET, identical")


def test_a_node_that_is_down_gets_it_later(
    catalog: Catalog, objects: Objects, start_orthanc: Start, free_port: int
) -> None:
    queue(catalog, objects["SEG"])
    (down,) = deliver(
        catalog,
        DimseNode("ORTHANC", "127.0.0.1", free_port),
        listen=ListenAddress(),
        now=lambda: NOW,
        wait=WAIT,
    )
    assert down.state == "queued"
    assert "cannot be reached" in down.reason
    assert "due again" in down.next_step
    peer = start_orthanc(DicomPort=free_port)
    too_early = deliver(catalog, peer.node, listen=peer.listen, now=lambda: NOW, wait=WAIT)
    later = NOW + timedelta(minutes=1)
    (up,) = deliver(catalog, peer.node, listen=peer.listen, now=lambda: later, wait=WAIT)
    assert (too_early, up.state) == ([], "confirmed")


def test_a_node_that_does_not_know_us_postpones_and_says_what_to_enter(
    catalog: Catalog, objects: Objects, start_orthanc: Start
) -> None:
    peer = start_orthanc()
    queue(catalog, objects["SEG"])
    wrong = DimseNode("ANOTHER", peer.node.host, peer.node.port, name="ORTHANC")
    (receipt,) = deliver(catalog, wrong, listen=peer.listen, now=lambda: NOW, wait=WAIT)
    assert receipt.state == "queued"
    assert "rejected the association of WORKBENCH: called ae title not recognised" in receipt.reason


def test_a_node_that_cannot_reach_us_is_confirmed_by_reading_back_alone(
    catalog: Catalog, objects: Objects, start_orthanc: Start
) -> None:
    peer = start_orthanc()
    queue(catalog, objects["SR"])
    elsewhere = ListenAddress(port=0)
    (receipt,) = deliver(catalog, peer.node, listen=elsewhere, now=lambda: NOW, wait=timedelta(seconds=1))
    assert receipt.state == "confirmed"
    assert "committed" not in receipt.times
    assert "did not report within 1 seconds" in receipt.stages[-1].text
