"""A DICOMweb node that lies, cuts, stalls or changes what it is sent: the receipt says what is true."""

import hashlib
import resource
import socket
import threading
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import pydicom
import pytest

from catalog import outbox
from catalog.database import Catalog
from catalog.records import Delivery
from pipelines import phantoms
from tests.peers.web import Peer, Web, answer, close, instance_in, keep, serving
from workbench.pacs.deliver import deliver
from workbench.pacs.node import ListenAddress
from workbench.pacs.posting import post
from workbench.pacs.web.client import PIECE

NOW = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)


@pytest.fixture
def ct(tmp_path: Path) -> phantoms.Phantom:
    """Two instances of one study."""
    return phantoms.write_series(tmp_path / "ct", planes=2, study="stow")


def sent(catalog: Catalog, ct: phantoms.Phantom, web: Web, *, now: datetime = NOW) -> list[Delivery]:
    """Queue both, and deliver what is due."""
    for path in ct.paths:
        post(catalog, path, "WEB", outbox_folder=ct.paths[0].parent / "outbox", now=now)
    deliver(catalog, web.node, listen=ListenAddress(), now=lambda: now, wait=timedelta(seconds=1))
    return outbox.deliveries(catalog)


def digests(ct: phantoms.Phantom) -> list[str]:
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in ct.paths]


def test_27_P5_an_honest_node_gets_the_bytes_as_they_stand_in_their_order_and_confirms(
    catalog: Catalog, ct: phantoms.Phantom
) -> None:
    with serving() as web:
        found = sent(catalog, ct, web)
        assert [each.state for each in found] == ["confirmed", "confirmed"]
        assert web.received == digests(ct)
        assert "identical; DICOMweb has no storage commitment" in found[0].stages[-1].text
        assert found[0].transaction_uid is None


def test_27_a_warning_is_in_the_receipt_and_the_read_back_decides(
    catalog: Catalog, ct: phantoms.Phantom
) -> None:
    def coerced(web: Web, peer: Peer, content: bytes) -> None:
        keep(web, peer, content, warning=0xB000)
        ds = pydicom.dcmread(BytesIO(content))
        ds.PatientID = "COERCED"
        ds.save_as(buffer := BytesIO(), enforce_file_format=True)
        web.kept[str(ds.SOPInstanceUID)] = buffer.getvalue()

    with serving(coerced) as web:
        first, _ = sent(catalog, ct, web)
        assert first.state == "failed"
        assert any("changed some of the values (status B000)" in each.text for each in first.stages)
        assert "it differs in PatientID" in first.reason
        assert "COERCED" not in first.reason


def test_27_a_node_that_says_stored_and_keeps_nothing_is_sent_it_again(
    catalog: Catalog, ct: phantoms.Phantom
) -> None:
    def lie(web: Web, peer: Peer, content: bytes) -> None:
        keep(web, peer, content)
        if web.received.count(web.received[-1]) == 1:
            web.kept.clear()

    with serving(lie) as web:
        assert {each.state for each in sent(catalog, ct, web)} == {"queued"}
        assert "does not find the instance (WADO-RS)" in outbox.deliveries(catalog)[0].reason
        assert {each.state for each in sent(catalog, ct, web, now=NOW + timedelta(hours=1))} == {"confirmed"}
        assert web.received == digests(ct) * 2  # the same bytes on each try


@pytest.mark.parametrize(
    ("status", "state", "words"),
    [
        (507, "queued", "has no room"),
        (503, "queued", "cannot store it now"),
        (401, "queued", "check token_variable"),
        (409, "failed", "does not take it"),
        (415, "failed", "does not take DICOM files"),
        (302, "failed", "is not followed"),
    ],
)
def test_27_what_may_pass_is_tried_again_and_what_cannot_is_not(
    catalog: Catalog, ct: phantoms.Phantom, status: int, state: str, words: str
) -> None:
    heard: list[str] = []

    def refuse(web: Web, peer: Peer, content: bytes) -> None:
        heard.append(peer.path)
        answer(peer, b"", status=status, Location="/elsewhere")

    with serving(refuse) as web:
        first, second = sent(catalog, ct, web)
        assert (first.state, words in first.reason) == (state, True), first.reason
        if state == "queued":  # instances of one study keep their order
            assert "goes before it" in second.reason
        assert set(heard) == {"/web/studies"}


def test_27_a_node_that_answers_before_it_has_read_all_is_understood(
    catalog: Catalog, tmp_path: Path
) -> None:
    large = phantoms.write_series(
        tmp_path / "large", stored=phantoms.sphere((1, 2048, 2048), (2.0, 1.0, 1.0), radius_mm=30.0)
    )

    def too_large(web: Web, peer: Peer, content: bytes) -> None:
        answer(peer, b"", status=413, Connection="close")
        peer.connection.shutdown(socket.SHUT_WR)
        while peer.rfile.read1(PIECE):
            pass

    with serving(too_large, reads=False) as web:
        (found,) = sent(catalog, large, web)
        assert (found.state, "too large" in found.reason) == ("failed", True), found.reason


def test_29_a_connection_that_was_closed_between_two_instances_is_made_again(
    catalog: Catalog, ct: phantoms.Phantom
) -> None:
    def last_word(web: Web, peer: Peer, content: bytes) -> None:
        keep(web, peer, content)
        close(peer)

    with serving(last_word) as web:
        assert [each.state for each in sent(catalog, ct, web)] == ["confirmed", "confirmed"]
        assert web.received == digests(ct)
        assert outbox.deliveries(catalog)[1].attempts == 1


@pytest.mark.parametrize("how", ["close", "cut", "garbage", "silent", "stall"])
def test_29_a_line_that_breaks_postpones_and_the_next_try_arrives(
    catalog: Catalog, ct: phantoms.Phantom, how: str
) -> None:
    mended, go_on = threading.Event(), threading.Event()

    def fail_once(web: Web, peer: Peer, content: bytes) -> None:
        if mended.is_set():
            content = content or instance_in(peer.rfile.read(int(peer.headers["Content-Length"])))
            keep(web, peer, content)
            return
        if how == "cut":
            peer.send_response(200)
            peer.send_header("Content-Length", "1000")
            peer.end_headers()
            peer.wfile.write(b"{")
        elif how == "garbage":
            peer.wfile.write(b"no HTTP at all\r\n\r\n")
        elif how in ("silent", "stall"):
            go_on.wait(20)
        close(peer)

    settings = {"answer_seconds": 0.5, "connection_seconds": 1.0}
    with serving(fail_once, reads=how != "stall", **settings) as web:
        states = [each.state for each in sent(catalog, ct, web)]
        assert set(states) <= {"queued", "confirmed"}
        assert "queued" in states
        assert all("stored" not in [s.name for s in each.stages] for each in outbox.deliveries(catalog)
                   if each.state == "queued")  # fmt: skip
        mended.set()
        go_on.set()
        for hours in range(1, 5):
            found = sent(catalog, ct, web, now=NOW + timedelta(hours=hours))
        assert [each.state for each in found] == ["confirmed", "confirmed"]


@pytest.mark.parametrize("how", ["other", "two", "cut", "not dicom", "no multipart", "none"])
def test_27_what_a_lying_node_gives_back_confirms_nothing(
    catalog: Catalog, ct: phantoms.Phantom, how: str
) -> None:
    def lie(web: Web, peer: Peer) -> None:
        uid = peer.path.rpartition("/")[2]
        other = next(content for each, content in web.kept.items() if each != uid)
        part = b"--b\r\nContent-Type: application/dicom\r\n\r\n"
        body = {
            "other": part + other + b"\r\n--b--\r\n",
            "two": part + web.kept[uid] + b"\r\n" + part + other + b"\r\n--b--\r\n",
            "cut": part + web.kept[uid] + b"\r\n",
            "not dicom": part + b"hello" + b"\r\n--b--\r\n",
            "no multipart": web.kept[uid],
            "none": b"--b--\r\n",
        }[how]
        kind = "text/html" if how == "no multipart" else "multipart/related; boundary=b"
        answer(peer, body, kind=kind)

    with serving(get=lie) as web:
        first, _ = sent(catalog, ct, web)
        assert first.state == {"other": "failed", "none": "queued"}.get(how, "stored"), first.reason
        assert "confirmed" not in [each.name for each in first.stages]
        if how == "other":
            assert "differs in" in first.reason


def test_5_an_answer_without_end_is_left(catalog: Catalog, ct: phantoms.Phantom) -> None:
    def endless(web: Web, peer: Peer, content: bytes) -> None:
        peer.send_response(200)
        peer.send_header("Transfer-Encoding", "chunked")
        peer.end_headers()
        while True:
            peer.wfile.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")

    with serving(endless) as web:
        first, _ = sent(catalog, ct, web)
        assert first.state in ("failed", "queued")
        assert "more than 1,048,576 bytes" in first.reason


def test_36_a_large_instance_is_sent_in_bounded_memory(tmp_path: Path) -> None:
    from workbench.pacs.instance import Instance
    from workbench.pacs.web.carrier import WebCarrier

    size = 512 * 1024 * 1024
    path = tmp_path / "large.dcm"
    with path.open("wb") as file:
        file.truncate(size)
    instance = Instance(path, "1.2", "1.2.3", "1.2.840.10008.1.2.1", "1.2", "1.2")
    count = 0

    def swallow(web: Web, peer: Peer, content: bytes) -> None:
        nonlocal count
        left = int(peer.headers["Content-Length"])
        while left:
            piece = peer.rfile.read(min(PIECE, left))
            left -= len(piece)
            count += len(piece)
        answer(peer, b"")

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with serving(swallow, reads=False, answer_seconds=60.0) as web, WebCarrier(web.node).storing([]) as store:
        assert store(instance).words == "stored (status 200)"
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert count > size
    assert grown < size / 8, f"{grown:,} bytes"
