"""A preamble that makes a DICOM file a program, too, comes in by no door unnoticed, and goes out by none."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pydicom
import pytest
import sqlalchemy as sa

import workbench
from catalog import outbox
from catalog.database import Catalog
from catalog.durable import file_digest
from pipelines import phantoms
from pipelines.encode.originals import write_originals
from tests.peers.scripted import scripted
from tests.peers.web import answer, serving
from workbench.pacs.deliver import deliver
from workbench.pacs.dimse_node import DimseNode
from workbench.pacs.file_meta import harmless
from workbench.pacs.node import ListenAddress
from workbench.pacs.posting import post

PROGRAMS = {"Windows": b"MZ\x90\x00", "Linux": b"\x7fELF\x02\x01\x01", "script": b"#!/bin/sh\nexec "}
NO_PREAMBLE = bytes(128)


@pytest.fixture(params=PROGRAMS.values(), ids=PROGRAMS)
def polyglot(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A CT plane whose preamble is that of a program."""
    (plane,) = phantoms.write_series(tmp_path / "ct", planes=1).paths
    content = plane.read_bytes()
    plane.write_bytes(request.param.ljust(128, b"\x01") + content[128:])
    return plane


def test_9_a_preamble_does_not_come_in_by_the_wire_nor_go_out_by_it(
    start_receive: Callable[..., Any], tmp_path: Path, polyglot: Path
) -> None:
    """What is sent is the data set; whoever receives writes a preamble of his own."""
    now = datetime(2026, 11, 30, tzinfo=UTC)
    receiving = start_receive(tmp_path / "bench")
    catalog = Catalog(tmp_path / "catalog.sqlite")
    node = DimseNode("WORKBENCH", "127.0.0.1", receiving.port, name="PACS")
    post(catalog, polyglot, "PACS", outbox_folder=tmp_path / "outbox", now=now)
    deliver(catalog, node, listen=ListenAddress(), now=lambda: now, wait=timedelta(seconds=1))
    catalog.close()
    (kept,) = [path for path in receiving.files if path.suffix == ".dcm"]
    assert kept.read_bytes()[:128] == NO_PREAMBLE
    assert pydicom.dcmread(kept).PixelData == pydicom.dcmread(polyglot).PixelData

    with scripted() as pacs:
        catalog = Catalog(tmp_path / "again.sqlite")
        post(catalog, polyglot, "PACS", outbox_folder=tmp_path / "outbox", now=now)
        deliver(catalog, pacs.node(), listen=ListenAddress(), now=lambda: now, wait=timedelta(seconds=1))
        catalog.close()
        (sent,) = pacs.kept.values()
    assert sent[:128] == NO_PREAMBLE


def test_9_a_preamble_is_noted_and_never_part_of_an_instance_that_is_written(
    tmp_path: Path, polyglot: Path
) -> None:
    with workbench.open(tmp_path / "bench") as bench:
        bench.index(polyglot.parent, quiet=True)
        with bench.catalog.reading() as connection:
            noted = list(connection.scalars(sa.text("SELECT deviations FROM instances")))
        assert "preamble is that of" in str(noted)
        bench.ingest(quiet=True)
        (made,) = bench.arrays()
        write_originals([made], tmp_path / "out")
    (written,) = list((tmp_path / "out").rglob("*.dcm"))
    assert written.read_bytes()[:128] == NO_PREAMBLE


def test_9_a_preamble_goes_out_by_no_request_of_the_web_and_the_digest_is_that_of_the_file(
    sqlite_catalog: Catalog, tmp_path: Path, polyglot: Path
) -> None:
    now = datetime(2026, 11, 30, tzinfo=UTC)
    with serving() as web:
        post(sqlite_catalog, polyglot, "WEB", outbox_folder=tmp_path / "outbox", now=now)
        deliver(sqlite_catalog, web.node, listen=ListenAddress(), now=lambda: now, wait=timedelta(seconds=1))
        (sent,) = web.kept.values()
    (delivery,) = outbox.deliveries(sqlite_catalog)
    assert delivery.state == "confirmed"
    assert delivery.digest == file_digest(polyglot), "what was queued is known by its own bytes"
    assert sent == NO_PREAMBLE + polyglot.read_bytes()[128:]


def test_9_a_preamble_comes_in_by_no_answer_of_the_web(tmp_path: Path, polyglot: Path) -> None:
    content = polyglot.read_bytes()
    header = pydicom.dcmread(polyglot, stop_before_pixels=True)
    uids = [str(header[name].value) for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")]

    def give(_web: Any, peer: Any) -> None:
        if peer.path.partition("?")[0].endswith("/instances"):
            answer(peer, json.dumps([{"00080018": {"vr": "UI", "Value": [uids[2]]}}]).encode())
            return
        body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + content + b"\r\n--b--\r\n"
        answer(peer, body, kind='multipart/related; type="application/dicom"; boundary=b')

    with serving(get=give) as web:
        (path,) = web.node.retrieve(uids[0], uids[1], tmp_path / "fetched", ListenAddress())
    assert path.read_bytes() == NO_PREAMBLE + content[128:]


@pytest.mark.parametrize("magic", [b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"])
def test_9_a_file_that_is_TIFF_too_stays_one(magic: bytes) -> None:
    """As those of whole-slide images (PS3.10 section 7.1)."""
    assert harmless(both := magic.ljust(128, b"\x01") + b"DICM" + b"\2\0\0\0") == both
    assert harmless(other := b"MZ".ljust(128) + b"PE") == other, "what is no DICOM file is left as it is"
    assert harmless(b"MZ".ljust(128) + b"DICM") == NO_PREAMBLE + b"DICM"
