"""A DICOMweb node on loopback that answers as a script says, and keeps what it was sent."""

import hashlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any

import pydicom

from workbench.pacs.web.node import WebNode

JSON = "application/dicom+json"

type Peer = BaseHTTPRequestHandler
type Script = Callable[["Web", Peer, bytes], None]


@dataclass
class Web:
    """A server that takes what is stored, and gives it back."""

    node: WebNode
    received: list[str] = field(default_factory=list)
    """Digest of each instance that came whole."""
    kept: dict[str, bytes] = field(default_factory=dict)


def answer(peer: Peer, body: bytes, *, status: int = 200, kind: str = JSON, **headers: str) -> None:
    peer.send_response(status)
    given = {"Content-Type": kind, "Content-Length": str(len(body))} | headers
    for name, value in given.items():
        peer.send_header(name, value)
    peer.end_headers()
    peer.wfile.write(body)


def instance_in(body: bytes) -> bytes:
    boundary = body.partition(b"\r\n")[0]
    assert body.endswith(b"\r\n" + boundary + b"--\r\n")
    head, _, rest = body.partition(b"\r\n\r\n")
    assert b"Content-Type: application/dicom" in head
    return rest[: -len(boundary) - 6]


def uid_of(content: bytes) -> str:
    return str(pydicom.dcmread(BytesIO(content), stop_before_pixels=True).SOPInstanceUID)


def keep(web: Web, peer: Peer, content: bytes, **codes: int) -> None:
    """Store it, and answer as the standard has it."""
    uid = uid_of(content)
    web.kept[uid] = content
    item: dict[str, Any] = {"00081155": {"vr": "UI", "Value": [uid]}}
    if codes:
        item["00081196"] = {"vr": "US", "Value": [codes["warning"]]}
    told = {"00081199": {"vr": "SQ", "Value": [item]}, "00081198": {"vr": "SQ", "Value": []}}
    answer(peer, json.dumps(told).encode(), status=202 if codes else 200)


def give(web: Web, peer: Peer) -> None:
    content = web.kept.get(peer.path.rpartition("/")[2])
    if content is None:
        answer(peer, b"", status=404)
        return
    body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + content + b"\r\n--b--\r\n"
    answer(peer, body, kind='multipart/related; type="application/dicom"; boundary=b')


@contextmanager
def serving(
    script: Script = keep, *, get: Callable[[Web, Peer], None] = give, reads: bool = True, **settings: Any
) -> Iterator[Web]:
    """Serve; `reads` says whether the body is read before the script is asked."""
    made: list[Web] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            content = b""
            if reads:
                content = instance_in(self.rfile.read(int(self.headers["Content-Length"])))
                made[0].received.append(hashlib.sha256(content).hexdigest())
            script(made[0], self, content)

        def do_GET(self) -> None:
            get(made[0], self)

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # the client went away, as it should

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.01))
        thread.start()
        given = {"answer_seconds": 5.0, "connection_seconds": 5.0} | settings
        made.append(Web(WebNode(f"http://127.0.0.1:{server.server_address[1]}/web", name="WEB", **given)))
        try:
            yield made[0]
        finally:
            server.shutdown()
            thread.join()


def close(peer: Peer) -> None:
    peer.connection.shutdown(socket.SHUT_RDWR)
    peer.close_connection = True
