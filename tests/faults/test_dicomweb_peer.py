"""A DICOMweb peer that lies, stops, loops or leads elsewhere ends in words, and what came is kept.

The peer is a web server of the standard library that answers as a script says.
"""

import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import parse_qs, urlsplit

import pytest

import workbench
from catalog.errors import DeliveryError, NodeUnavailableError, RefusedError
from catalog.headers import read_dataset
from catalog.identifiers import new_uid
from pipelines import phantoms
from workbench.pacs.node import ListenAddress
from workbench.pacs.web import qido
from workbench.pacs.web.client import _until
from workbench.pacs.web.node import WebNode

SECRET = "Geheim"
QUESTION = {"PatientName": f"{SECRET}^Ümit*", "PatientID": SECRET}
PLANES = 4

type Peer = BaseHTTPRequestHandler
type Script = Callable[[Peer], None]


@contextmanager
def serving(script: Script, *, tls: ssl.SSLContext | None = None, **settings: Any) -> Iterator[WebNode]:
    """A server that answers each GET as the script does."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            script(self)

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # the client went away, as it should

        def get_request(self) -> Any:
            accepted, address = super().get_request()
            return (tls.wrap_socket(accepted, server_side=True) if tls else accepted), address

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.01))
        thread.start()
        scheme, host = ("https", "localhost") if tls else ("http", "127.0.0.1")
        try:
            yield WebNode(
                f"{scheme}://{host}:{server.server_address[1]}/web", name="PEER",
                **({"answer_seconds": 20.0} | settings),
            )  # fmt: skip
        finally:
            server.shutdown()
            thread.join()


def answer(peer: Peer, body: bytes, *, status: int = 200, kind: str = qido.JSON, **headers: str) -> None:
    peer.send_response(status)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    for name, value in ({"Content-Type": kind, "Content-Length": str(len(body))} | given).items():
        peer.send_header(name, value)
    peer.end_headers()
    peer.wfile.write(body)


def rows(first: int, last: int, tag: str = "0020000D") -> bytes:
    return json.dumps([{tag: {"vr": "UI", "Value": [f"1.2.{each}"]}} for each in range(first, last)]).encode()


def paging(
    total: int, *, most: int = 10**9, limit: bool = True, offset: bool = True, **headers: str
) -> Script:
    """A server with studies of one series, which takes `limit` and `offset` into account or not."""

    def script(peer: Peer) -> None:
        address = urlsplit(peer.path)
        if address.path.endswith("/series"):
            return answer(peer, rows(0, 1, "0020000E"))
        asked = {name: int(parse_qs(address.query)[name][0]) for name in ("limit", "offset")}
        begin = asked["offset"] if offset else 0
        count = min(most, asked["limit"] if limit else total)
        return answer(peer, rows(begin, min(total, begin + count)), **headers)

    return script


def found(node: WebNode) -> int:
    studies = [each.values["study_instance_uid"] for each in node.survey({})]
    assert len(studies) == len(set(studies))
    return len(studies)


@pytest.mark.parametrize(
    ("total", "how"),
    [
        (0, {}),
        (qido.PAGE, {}),
        (qido.PAGE + 7, {}),
        (70, {"most": 30}),  # fewer a page than were asked for, without a word
        (qido.PAGE + 7, {"limit": False}),
        (qido.PAGE + 7, {"limit": False, "offset": False}),
        (7, {"offset": False}),
    ],
)
def test_13_whatever_a_peer_makes_of_limit_and_offset_no_row_is_lost_or_told_twice(
    total: int, how: dict[str, Any]
) -> None:
    with serving(paging(total, **how)) as node:
        assert found(node) == total


@pytest.mark.parametrize(
    ("total", "how"),
    [
        (qido.PAGE + 7, {"offset": False}),
        (50, {"offset": False, "most": 30, "Warning": '299 PEER: "There are 20 additional results"'}),
    ],
)
def test_13_a_peer_that_repeats_its_page_although_there_are_more_is_told_with_the_count(
    total: int, how: dict[str, Any]
) -> None:
    with serving(paging(total, **how)) as node, pytest.raises(RefusedError, match=r"more than \d+ cannot be"):
        found(node)


@pytest.mark.parametrize(
    ("headers", "remark"),
    [
        ({}, ""),
        ({"Warning": '299 PEER: "The fuzzymatching parameter is not supported. Only literal matching"'},
         "PEER matches literally alone"),
    ],
)  # fmt: skip
def test_13_fuzzy_matching_is_asked_for_and_a_peer_that_has_none_is_told(
    headers: dict[str, str], remark: str
) -> None:
    asked: list[str] = []

    def script(peer: Peer) -> None:
        asked.append(peer.path)
        paging(3, **headers)(peer)

    with serving(script) as node:
        found = node.find("study", PatientName="Mueller", fuzzy=True)
        assert len(found) == 3
        assert found.note == remark
        assert "fuzzymatching=true" in asked[0]
        node.find("study", PatientName="Mueller")
        assert "fuzzymatching" not in asked[-1]


def test_13_lists_sequences_and_wildcards_have_the_form_of_qido() -> None:
    asked: list[str] = []

    def script(peer: Peer) -> None:
        asked.append(peer.path)
        paging(1)(peer)

    with serving(script) as node:
        node.find(
            "study", PatientName="M*?r", StudyInstanceUID=["1.2.0", "1.2.7"], Modality=["CT", "MR"],
            ProcedureCodeSequence={"CodeValue": "7"},
        )  # fmt: skip
    first, second = (set(each.partition("?")[2].split("&")) for each in asked if "offset=0" in each)
    shared = {"00100010=M*?r", "0020000D=1.2.0,1.2.7", "00081032.00080100=7"}
    assert shared | {"00080061=CT"} <= first
    assert shared | {"00080061=MR"} <= second


def test_4_a_wide_question_to_the_web_is_bounded_and_the_table_says_so() -> None:
    with serving(paging(10**6)) as node:
        found = node.find("study", limit=700)
        assert len(found) == 700
        assert "there are more than 700; ask a narrower question" in repr(found)


def test_4_an_endless_peer_is_asked_for_a_narrower_question(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qido, "ROWS_AT_MOST", 1200)
    with serving(paging(10**9)) as node, pytest.raises(RefusedError, match="More than 1,200 matches"):
        found(node)


def test_4_a_page_without_end_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qido, "PAGE_BYTES", 1024 * 1024)

    def endless(peer: Peer) -> None:
        peer.send_response(200)
        peer.send_header("Transfer-Encoding", "chunked")
        peer.end_headers()
        while True:
            peer.wfile.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")

    with serving(endless) as node, pytest.raises(RefusedError, match="more than 1,048,576 bytes"):
        found(node)


def test_15_no_redirect_is_followed_and_the_other_host_hears_nothing() -> None:
    heard: list[str] = []

    def other(peer: Peer) -> None:
        heard.append(peer.path)
        answer(peer, b"[]")

    with serving(other) as elsewhere:

        def redirect(peer: Peer) -> None:
            answer(peer, b"", status=307, Location=f"{elsewhere.url}/studies")

        with serving(redirect) as node, pytest.raises(RefusedError, match="another address, which is not"):
            found(node)
    assert heard == []


def _close(peer: Peer) -> None:
    peer.connection.shutdown(socket.SHUT_RDWR)
    peer.close_connection = True


def _half(peer: Peer) -> None:
    answer(peer, b"[]", Content_Length="1000")
    _close(peer)


def _cut_head(peer: Peer) -> None:
    """What came is as good as a whole answer to `http.client`, without a row."""
    peer.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Ty")
    _close(peer)


def _garbage(peer: Peer) -> None:
    peer.wfile.write(b"no HTTP at all\r\n\r\n")
    _close(peer)


FAULTS: dict[str, tuple[Script, str]] = {
    "no JSON": (lambda peer: answer(peer, b"<html>"), "answers QIDO-RS with something else than rows"),
    "no UTF-8": (
        lambda peer: answer(peer, b'[{"a": "\xff"}]'),
        "answers QIDO-RS with something else than rows",
    ),
    "nothing": (_cut_head, "answers QIDO-RS with something else than rows"),
    "no rows": (lambda peer: answer(peer, b'{"a": 1}'), "answers QIDO-RS with something else than rows"),
    "no number": (lambda peer: answer(peer, b"[NaN]"), "answers QIDO-RS with something else than rows"),
    "deep": (lambda peer: answer(peer, b"[" * 100_000), "answers QIDO-RS with something else than rows"),
    "closed": (_close, "closed the connection without an answer"),
    "half": (_half, "broke off its answer after 2 of 1,000 bytes"),
    "garbage": (_garbage, "does not answer in HTTP"),
    "401": (lambda peer: answer(peer, b"", status=401), "does not know who asks"),
    "404": (lambda peer: answer(peer, b"", status=404), "has nothing there"),
    "418": (lambda peer: answer(peer, b"", status=418), "answers with status 418"),
    "503": (lambda peer: answer(peer, b"", status=503), "answers with status 503"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_17_a_fault_is_said_in_words_that_tell_nothing_of_a_patient(
    fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    script, words = FAULTS[fault]
    caplog.set_level(0)
    with serving(script) as node, pytest.raises(DeliveryError, match=f"PEER {words}") as raised:
        list(node.survey(QUESTION))
    assert isinstance(raised.value, NodeUnavailableError) == (fault in ("closed", "half", "garbage", "503"))
    assert SECRET not in str(raised.value) + caplog.text


SENT = [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n"]


@pytest.mark.parametrize("sends", SENT)
def test_29_a_peer_that_falls_silent_or_sends_byte_by_byte_is_left(sends: bytes) -> None:
    over = threading.Event()

    def script(peer: Peer) -> None:
        peer.wfile.write(sends)
        while not over.wait(0.05) and sends:
            peer.wfile.write(b"x")
        over.wait()

    with serving(script, answer_seconds=0.5) as node:
        try:
            with pytest.raises(NodeUnavailableError, match="answer"):
                list(node.survey(QUESTION))
        finally:
            over.set()


def test_29_who_reads_the_end_of_a_connection_knows_that_its_time_was_over() -> None:
    for _ in range(300):
        ours, theirs = socket.socketpair()
        with ours, theirs, _until(0.001, ours) as overdue:
            assert ours.recv(1) == b""
            assert overdue.is_set()


def test_14_values_that_are_none_are_not_known() -> None:
    row = {
        "0020000D": {"vr": "UI", "Value": ["1.2.3"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Müller^Ü", "Ideographic": 7, "Phonetic": "み"}]},
        "00100020": {"vr": "LO", "Value": [None]},
        "00100040": "M",
        "00080020": {"vr": "DA", "Value": "20260101"},
        "00101030": {"vr": "DS", "Value": [[7]]},
        "00081030": {"vr": "LO", "Value": ["a", {}, True]},
        "00201206": {"vr": "IS", "Value": ["many"]},
    }
    of_series = {"0020000E": {"vr": "UI", "Value": ["1.2.4"]}, "00200011": {"vr": "IS", "Value": ["3"]}}

    def script(peer: Peer) -> None:
        answer(peer, json.dumps([of_series if "/series" in peer.path else row, {}]).encode())

    with serving(script) as node:
        (told,) = node.survey({})
    assert told.values == {
        "study_instance_uid": "1.2.3", "series_instance_uid": "1.2.4", "patient_name": "Müller^Ü==み",
        "study_description": "a\\\\", "series_number": 3,
    }  # fmt: skip


# --- WADO-RS -----------------------------------------------------------------------------------------------


def archive(
    ct: phantoms.Phantom, series: Callable[[dict[str, bytes]], bytes], *, one_by_one: bool = False
) -> Script:
    """A server with one series, whose answer to it is made of its files by a function."""
    head = read_dataset(ct.paths[0])
    study_uid, series_uid = str(head.StudyInstanceUID), str(head.SeriesInstanceUID)
    files = {uid: path.read_bytes() for uid, path in zip(ct.sop_instance_uids, ct.paths, strict=True)}

    def listed(tag: str, *uids: str) -> bytes:
        return json.dumps([{tag: {"vr": "UI", "Value": [uid]}} for uid in uids]).encode()

    def script(peer: Peer) -> None:
        path = urlsplit(peer.path).path
        searches = {
            "/web/studies": ("0020000D", study_uid),
            f"/web/studies/{study_uid}/series": ("0020000E", series_uid),
            f"/web/studies/{study_uid}/series/{series_uid}/instances": ("00080018", *files),
        }
        kind = 'multipart/related; type="application/dicom"; boundary="of parts"'
        if path in searches:
            answer(peer, listed(*searches[path]))
        elif path.endswith(series_uid):
            assert "transfer-syntax=*" in peer.headers["Accept"]
            answer(peer, series(files), kind=kind)
        elif one_by_one:
            answer(peer, multipart([files[path.rpartition("/")[2]]]), kind=kind)
        else:
            answer(peer, b"", status=500)

    return script


def multipart(parts: list[bytes], *, closing: bytes = b"--of parts--\r\n") -> bytes:
    heads = (b"--of parts\r\nContent-Type: application/dicom\r\n\r\n" + each + b"\r\n" for each in parts)
    return b"".join(heads) + closing


@pytest.fixture
def ct(tmp_path: Path) -> phantoms.Phantom:
    return phantoms.write_series(tmp_path / "ct", planes=PLANES, study=new_uid())


CUT: dict[str, tuple[Callable[[dict[str, bytes]], bytes], int, str]] = {
    "no closing boundary": (
        lambda files: multipart([*files.values()][:2], closing=b""), 1, "before the closing boundary",
    ),
    "too few": (lambda files: multipart([*files.values()][:3]), 3, "500"),
    "within a file": (lambda files: multipart([*files.values()])[: -len(files) * 300], 3, "closing boundary"),
    "other instances": (
        lambda files: multipart([each.replace(b"2.25.", b"2.26.") for each in files.values()]), 0, "500",
    ),
    "names of paths": (
        lambda files: multipart([
            each.replace(uid.encode(), b"../" * 30 + uid.encode()[90:]) for uid, each in files.items()
        ]), 0, "500",
    ),
    "no DICOM": (lambda files: multipart([b"", b"x" * 10_000, b"\0" * 128 + b"DICM\2\0\3"]), 0, "500"),
    "no multipart": (lambda files: b"x" * 100_000, 0, "no multipart"),
}  # fmt: skip


@pytest.mark.parametrize("cut", CUT)
def test_10_a_series_that_is_cut_short_is_told_with_counts_and_what_came_is_kept(
    cut: str, ct: phantoms.Phantom, tmp_path: Path
) -> None:
    series, came, words = CUT[cut]
    with (
        serving(archive(ct, series)) as node,
        workbench.open(tmp_path / "bench", nodes={"PEER": node}) as bench,
    ):
        bench.index("pacs://PEER")
        with pytest.raises(RefusedError, match=f"{PLANES - came} of {PLANES} instances did not.*{words}"):
            bench.fetch(bench.series(), quiet=True)
        received = sorted(path for path in (bench.settings.home / "received").rglob("*") if path.is_file())
        assert len(received) == came
        assert {path.read_bytes() for path in received} <= {path.read_bytes() for path in ct.paths}
        assert bench.series()[0].instances == came or (came == 0 and bench.series()[0].remote)
    assert not list(tmp_path.rglob("*.partial"))


def test_10_what_a_series_lacks_is_asked_for_one_by_one(ct: phantoms.Phantom, tmp_path: Path) -> None:
    head = read_dataset(ct.paths[0])
    uids = (str(head.StudyInstanceUID), str(head.SeriesInstanceUID))

    def cut(files: dict[str, bytes]) -> bytes:
        return multipart([*files.values()][:2], closing=b"")

    with serving(archive(ct, cut, one_by_one=True)) as node:
        files = node.retrieve(*uids, tmp_path / "received", ListenAddress())
    assert {path.read_bytes() for path in files} == {path.read_bytes() for path in ct.paths}


# --- TLS ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(
    tmp_path_factory: pytest.TempPathFactory, missing: Callable[[str], NoReturn]
) -> tuple[Path, Path]:
    """A certificate of `localhost` that vouches for itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    made = (folder / "certificate.pem", folder / "key.pem")
    command = [
        "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
        "-addext", "subjectAltName=DNS:localhost", "-out", str(made[0]), "-keyout", str(made[1]),
    ]  # fmt: skip
    try:
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        missing("openssl is not installed: apt-get install openssl")
    return made


def _context(certificate: tuple[Path, Path], *, mutual: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    if mutual:
        context.load_verify_locations(certificate[0])
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def test_19_a_certificate_is_checked_against_the_given_ones(certificate: tuple[Path, Path]) -> None:
    with serving(paging(3), tls=_context(certificate), ca_file=certificate[0]) as node:
        assert found(node) == 3
        stranger = WebNode(node.url, name="PEER")
        with pytest.raises(RefusedError, match=r"certificate .* cannot be trusted .self-signed"):
            stranger.echo()
        other_name = WebNode(node.url.replace("localhost", "127.0.0.1"), ca_file=certificate[0])
        with pytest.raises(RefusedError, match="cannot be trusted"):
            other_name.echo()


def test_19_a_peer_that_wants_a_certificate_gets_that_of_the_settings(certificate: tuple[Path, Path]) -> None:
    ours = {"client_certificate": certificate[0], "client_key": certificate[1]}
    tls = _context(certificate, mutual=True)
    with serving(paging(3), tls=tls, ca_file=certificate[0], **ours) as node:
        assert found(node) == 3
        with pytest.raises(DeliveryError, match="PEER"):
            WebNode(node.url, name="PEER", ca_file=certificate[0]).echo()
