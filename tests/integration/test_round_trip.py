"""The whole way of a result to a node and back, the same at every node."""

import socket
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset

from catalog import outbox
from catalog.database import Catalog
from catalog.deliveries import Event
from workbench.pacs import dimse
from workbench.pacs.association import associate, contexts_for
from workbench.pacs.deliver import deliver
from workbench.pacs.instance import Instance
from workbench.pacs.readback import compare, get_back, move_back
from workbench.pacs.receipt import Receipt
from workbench.pacs.receive import Listener

type Objects = dict[str, Any]

NOW = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)
WAIT = timedelta(seconds=15)


def queue(catalog: Catalog, peer: Any, each: Any) -> None:
    outbox.queue(
        catalog, each.path, peer.node.name, sop_instance_uid=each.sop_instance_uid,
        sop_class_uid=each.sop_class_uid, digest=each.digest, now=NOW,
    )  # fmt: skip


def send(catalog: Catalog, peer: Any, *, now: datetime = NOW) -> list[Receipt]:
    return deliver(catalog, peer.node, listen=peer.listen, now=lambda: now, wait=WAIT)


def instance(each: Any) -> Instance:
    ds = pydicom.dcmread(each.path, stop_before_pixels=True)
    return Instance(
        each.path, each.sop_class_uid, each.sop_instance_uid, str(ds.file_meta.TransferSyntaxUID),
        str(ds.StudyInstanceUID), str(ds.SeriesInstanceUID),
    )  # fmt: skip


def contexts_of(each: Any) -> list[Any]:
    found = instance(each)
    return contexts_for([(found.sop_class_uid, found.transfer_syntax_uid)])


def test_results_arrive_are_committed_and_read_back(catalog: Catalog, peer: Any, objects: Objects) -> None:
    for each in objects.values():
        queue(catalog, peer, each)
    receipts = send(catalog, peer)
    assert [receipt.kind for receipt in receipts] == ["CT Image", "SEG", "SR"]
    for receipt in receipts:
        names = [stage.name for stage in receipt.stages]
        assert names == ["queued", "validated", "sending", "stored", "committed", "confirmed"], str(receipt)
        assert receipt.stages[-1].text == "read back by C-GET, identical"
        assert receipt.reason == ""


def test_nothing_is_sent_twice(catalog: Catalog, peer: Any, objects: Objects) -> None:
    queue(catalog, peer, objects["SEG"])
    send(catalog, peer)
    queue(catalog, peer, objects["SEG"])
    assert send(catalog, peer) == []


@pytest.mark.parametrize("retrieve", [get_back, move_back])
def test_each_way_back_gives_the_same_object(
    catalog: Catalog, peer: Any, objects: Objects, retrieve: Callable[..., Dataset]
) -> None:
    for each in objects.values():
        queue(catalog, peer, each)
    send(catalog, peer)
    with Listener(peer.node, peer.listen) as listener:
        for each in objects.values():
            returned = retrieve(peer.node, instance(each), listener)
            assert compare(instance(each), returned, "C-GET").event is Event.SAME


def test_what_is_committed_to_on_the_same_association_needs_no_port(
    catalog: Catalog, pacs: Any, objects: Objects
) -> None:
    unknown = replace(pacs, node=replace(pacs.node, calling_ae_title="UNKNOWN"))  # it has no address of that
    queue(catalog, unknown, objects["SR"])
    with socket.create_server((pacs.listen.host, pacs.listen.port)):
        (receipt,) = send(catalog, unknown)
    assert [stage.name for stage in receipt.stages][-2:] == ["committed", "confirmed"]


def test_an_older_object_under_the_same_uid_is_found_out(
    catalog: Catalog, peer: Any, objects: Objects
) -> None:
    older = pydicom.dcmread(objects["SR"].path)
    older.SeriesDescription = "an older version"
    older.ContentTime = "010203"
    older.save_as(objects["SR"].path.with_name("older.dcm"))
    with associate(peer.node, contexts_of(objects["SR"])) as association:
        sent = instance(objects["SR"])
        answer = dimse.store(
            association, objects["SR"].path.with_name("older.dcm"), sop_class_uid=sent.sop_class_uid,
            sop_instance_uid=sent.sop_instance_uid, transfer_syntax_uid=sent.transfer_syntax_uid,
        )  # fmt: skip
    assert answer.event is Event.SUCCESS
    queue(catalog, peer, objects["SR"])
    (receipt,) = send(catalog, peer)
    assert receipt.state == "failed"
    assert receipt.reason.endswith("it differs in ContentTime, SeriesDescription")
    assert "an older version" not in str(receipt)


def test_a_node_is_there_and_finds_what_it_holds(catalog: Catalog, peer: Any, objects: Objects) -> None:
    dimse.echo(peer.node)
    for each in objects.values():
        queue(catalog, peer, each)
    send(catalog, peer)
    for level, key, count in (("STUDY", "StudyInstanceUID", 1), ("SERIES", "SeriesInstanceUID", 3)):
        identifier = Dataset()
        identifier.QueryRetrieveLevel = level
        identifier.StudyInstanceUID = instance(objects["CT"]).study_instance_uid
        if level == "SERIES":
            identifier.SeriesInstanceUID = ""
            identifier.Modality = ""
        found = dimse.find(peer.node, identifier)
        assert len({match[key].value for match in found}) == count
    assert {match.Modality for match in found} == {"CT", "SEG", "SR"}


def test_a_foreign_instance_is_not_found_without_an_error(peer: Any) -> None:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "STUDY"
    identifier.StudyInstanceUID = "1.2.3.4.5"
    assert dimse.find(peer.node, identifier) == []
