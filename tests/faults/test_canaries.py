"""What must stay inside is planted and looked for in all that goes out: logs, metrics, errors, receipts.

The wire and the web are driven through all their errors; no name, identifier or token is said.
"""

import json
import logging
import re
import traceback
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pydicom
import pytest
from pydicom.config import IGNORE
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE

from catalog import outbox
from catalog.database import Catalog
from catalog.errors import WorkbenchError
from catalog.headers import read_header
from pipelines import phantoms
from tests.peers.caller import an_object, associated
from tests.peers.scripted import ABORT, CANNOT_UNDERSTAND, CRASH_AFTER_SUCCESS, OUT_OF_RESOURCES, scripted
from workbench.pacs.deliver import deliver
from workbench.pacs.node import ListenAddress
from workbench.pacs.posting import post
from workbench.pacs.sop_classes import STORAGE_COMMITMENT_PUSH_MODEL, STUDY_ROOT_FIND, STUDY_ROOT_MOVE
from workbench.pacs.web.node import WebNode

NAME, IDENTIFIER, TOKEN = "Kanarienvogel^Gelb", "CANARY-471147114", "Bearer canary-token-0815081508"
PLANTED = re.compile(r"Kanarienvogel|Gelb|CANARY|471147114|canary-token|0815081508")
"""The numbers are too long to stand in a UID by chance."""


def marked(ds: Dataset) -> Dataset:
    """The same object with canaries wherever a patient may be told of."""
    ds.PatientName, ds.PatientID, ds.AccessionNumber = NAME, IDENTIFIER, IDENTIFIER
    ds.StudyDescription = ds.PatientComments = f"{NAME} {IDENTIFIER}"
    return ds


def unlike(what: str, text: str) -> None:
    found = PLANTED.search(text)
    assert found is None, f"{what}: …{text[max(found.start() - 200, 0) : found.end() + 50]}"


def test_17_no_log_metric_or_comment_of_a_receiver_tells_of_a_patient(
    start_receive: Callable[..., Any], tmp_path: Path
) -> None:
    home, metrics = tmp_path / "bench", tmp_path / "counts.prom"
    home.mkdir()
    every = 'may = ["store", "find", "commit", "retrieve"]'
    (home / "workbench.toml").write_text(
        f'[nodes.A]\nae_title = "TEST"\nhost = "127.0.0.1"\nport = 9\n{every}\n'
    )
    receiving = start_receive(home, "--metrics", str(metrics), anyone=False)
    association = associated(receiving)
    first = marked(an_object())
    comments: list[str] = []

    def store(ds: Dataset) -> int:
        status = association.send_c_store(ds)
        comments.append(str(status.get("ErrorComment", "")))
        return int(status.Status)

    assert store(first) == 0x0000
    assert store(first) == 0x0000, "a duplicate"
    first.StudyDescription = f"other {NAME}"
    assert store(first) == 0x0000, "a conflict"
    without_series = marked(an_object())
    del without_series.SeriesInstanceUID
    assert store(without_series) != 0x0000
    broken = marked(an_object())
    for tag, vr, text in ((0x00100030, "DA", f"no date {NAME}"), (0x0020000E, "UI", f"../{IDENTIFIER}")):
        broken[tag] = DataElement(tag, vr, text, validation_mode=IGNORE)
    assert store(broken) != 0x0000
    association.release()

    ae = AE("TEST")
    for sop_class in (STUDY_ROOT_FIND, STUDY_ROOT_MOVE, STORAGE_COMMITMENT_PUSH_MODEL):
        ae.add_requested_context(sop_class, ImplicitVRLittleEndian)
    asking = ae.associate("127.0.0.1", receiving.port, ae_title="WORKBENCH")
    assert asking.is_established
    for level in ("STUDY", "NONSENSE"):
        question = Dataset()
        question.QueryRetrieveLevel, question.PatientName = level, f"{NAME}*"
        question.PatientID, question.StudyInstanceUID = f'"{IDENTIFIER}', ""
        for status, _ in asking.send_c_find(question, STUDY_ROOT_FIND):
            comments.append(str(status.get("ErrorComment", "")))
        for status, _ in asking.send_c_move(question, "NOBODY", STUDY_ROOT_MOVE):
            comments.append(str(status.get("ErrorComment", "")))
    information = Dataset()
    information[0x00081195] = DataElement(0x00081195, "UI", IDENTIFIER, validation_mode=IGNORE)
    asking.send_n_action(information, 1, STORAGE_COMMITMENT_PUSH_MODEL, "1.2.840.10008.1.20.1.1")
    asking.abort()
    assert receiving.end() == 0
    said = receiving.log.read_text()
    assert '"event": "association"' in said
    unlike("the log", said)
    unlike("the metrics", metrics.read_text())
    unlike("a comment on the wire", "\n".join(comments))
    for path in receiving.files:
        unlike("a path", str(path))
    catalog = Catalog(home / "catalog.sqlite")
    import sqlalchemy as sa

    with catalog.reading() as connection:
        reasons = list(connection.scalars(sa.text("SELECT reason FROM files")))
    catalog.close()
    assert any(reasons)
    unlike("a reason", "\n".join(reasons))


@pytest.mark.parametrize("step", [OUT_OF_RESOURCES, CANNOT_UNDERSTAND, ABORT, CRASH_AFTER_SUCCESS])
def test_17_no_receipt_or_log_of_a_sender_tells_of_a_patient(
    sqlite_catalog: Catalog, tmp_path: Path, caplog: pytest.LogCaptureFixture, step: int | str
) -> None:
    caplog.set_level(logging.DEBUG)
    made = phantoms.write_series(
        tmp_path / "ct", planes=2, patient_name=NAME, patient_id=IDENTIFIER, study="canary"
    )
    now = datetime(2026, 11, 30, tzinfo=UTC)
    with scripted(step) as pacs:
        for path in made.paths:
            post(sqlite_catalog, path, "PACS", outbox_folder=tmp_path / "outbox", now=now)
        node = pacs.node(answer_seconds=0.7, connection_seconds=0.7)
        caplog.clear()  # before this, the peer of these tests was at work
        deliver(sqlite_catalog, node, listen=ListenAddress(), now=lambda: now, wait=timedelta(seconds=1))
    found = outbox.deliveries(sqlite_catalog)
    assert len(found) == 2
    for each in found:
        unlike("a receipt", " ".join([each.reason, *(stage.text for stage in each.stages)]))
    ours = [each for each in caplog.records if not each.name.startswith("pynetdicom")]
    unlike("a log", "\n".join(f"{each.getMessage()}" for each in ours))


class _Answers(BaseHTTPRequestHandler):
    """Answers with an error that repeats whatever it was asked, as some servers do."""

    status = 500

    def do_GET(self) -> None:
        body = f"{self.path} {self.headers.get('Authorization')} {NAME} {IDENTIFIER}".encode()
        self.send_response(self.status)
        self.send_header("Content-Type", "application/dicom+json" if self.status == 200 else "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: Any) -> None: ...


@pytest.mark.parametrize("status", [200, 204, 302, 400, 401, 403, 404, 409, 413, 429, 500, 503])
def test_17_no_error_of_the_web_repeats_question_token_or_answer(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("TOKEN_OF_THE_TESTS", TOKEN)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Answers", (_Answers,), {"status": status}))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        node = WebNode(
            f"http://127.0.0.1:{server.server_address[1]}/dicom-web", token_variable="TOKEN_OF_THE_TESTS"
        )
        try:
            rows = list(node.survey({"PatientName": f"{NAME}*", "PatientID": IDENTIFIER}))
        except WorkbenchError as error:
            unlike("an error", "".join(traceback.format_exception_only(error)))
            unlike("a representation", repr(error))
        else:
            assert (status, rows) == (204, [])
        unlike("a node", repr(node))
    finally:
        server.shutdown()
        server.server_close()
    unlike("a log", caplog.text)


def test_17_the_reason_of_a_file_that_cannot_be_read_tells_nothing_of_it(tmp_path: Path) -> None:
    (made,) = phantoms.write_series(tmp_path / "ct", planes=1, patient_name=NAME, patient_id=IDENTIFIER).paths
    whole = made.read_bytes()
    assert NAME.encode() in whole
    said = []
    for cut in (*range(132, 1500, 7), len(whole) - 3):
        (path := tmp_path / "cut.dcm").write_bytes(whole[:cut])
        header = read_header(str(path))
        said.append(str(getattr(header, "reason", "")) + str(getattr(header, "deviations", "")))
    ds = pydicom.dcmread(made)
    ds.add_new(0x00080020, "LO", IDENTIFIER)
    ds.save_as(path)
    header = read_header(str(path))
    said.append(str(getattr(header, "reason", "")) + str(getattr(header, "deviations", "")))
    assert any(said)
    unlike("a reason", json.dumps(said))
