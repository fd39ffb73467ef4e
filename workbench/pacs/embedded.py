"""A small PACS in a process of its own, on loopback: for demonstrations and tests, NOT FOR USE WITH PATIENTS.

It verifies, stores any SOP class in any transfer syntax, answers queries, sends what it holds and commits to
it (PS3.4 annexes A, B, C and J). It knows no access control, no deletion and no backup.
"""

import argparse
import json
import logging
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from pynetdicom import _config

from catalog.database import Catalog
from catalog.errors import DeliveryError
from workbench.pacs.dimse_node import DimseNode, check_ae_title
from workbench.pacs.embedded_services import EmbeddedServices
from workbench.pacs.sop_classes import (
    PATIENT_ROOT_FIND,
    PATIENT_ROOT_GET,
    PATIENT_ROOT_MOVE,
    STORAGE_COMMITMENT_PUSH_MODEL,
    STUDY_ROOT_FIND,
    STUDY_ROOT_GET,
    STUDY_ROOT_MOVE,
    VERIFICATION,
)
from workbench.pacs.transport import application_entity, serve

HOST = "127.0.0.1"
"""It listens nowhere else."""

START_SECONDS = 60.0
STOP_SECONDS = 10.0

_CONNECTION_SECONDS = 3.0
_ANSWER_SECONDS = 30.0
_MAXIMUM_PDU = 262144

_QUERY_RETRIEVE = (
    PATIENT_ROOT_FIND, PATIENT_ROOT_GET, PATIENT_ROOT_MOVE, STUDY_ROOT_FIND, STUDY_ROOT_GET, STUDY_ROOT_MOVE,
)  # fmt: skip
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EmbeddedPacs:
    """A running embedded PACS; as a context it ends with its block, and in any case with this process."""

    node: DimseNode
    directory: Path
    process: subprocess.Popen[bytes]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End the process; what it has stored stays in its folder."""
        _stop(self.process)


def start(
    directory: Path,
    *,
    ae_title: str = "PACS",
    name: str = "",
    port: int = 0,
    peers: Mapping[str, tuple[str, int]] | None = None,
    options: tuple[str, ...] = (),
) -> EmbeddedPacs:
    """Start an embedded PACS as a child process and wait until it listens.

    Parameters
    ----------
    directory
        Where it keeps its files, its index and its log; made when it is not there.
    name
        What the outbox calls it; the AE title when left out.
    port
        0 takes a free one.
    peers
        AE title to host and port: where it may send by C-MOVE and report storage commitment. A caller it does
        not know gets the report on its own association.
    options
        Further arguments of `python -m workbench.pacs.embedded`.

    Raises
    ------
    catalog.errors.DeliveryError
        If it does not come up.
    """
    directory.mkdir(parents=True, exist_ok=True)
    arguments = [sys.executable, "-m", __name__, "--directory", str(directory), "--port", str(port)]
    arguments += ["--ae-title", ae_title, *options]
    for peer, (host, peer_port) in (peers or {}).items():
        arguments += ["--peer", f"{peer}={host}:{peer_port}"]
    log = directory / "embedded.log"
    with log.open("ab") as errors:
        process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], START_SECONDS)
    line = process.stdout.readline() if ready else b""
    if not line:
        _stop(process)
        raise DeliveryError(f"The embedded PACS did not start; {log} says why")
    node = DimseNode(ae_title, HOST, int(json.loads(line)["port"]), name=name)
    return EmbeddedPacs(node, directory, process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()  # it ends when its standard input does
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def run(arguments: argparse.Namespace) -> None:
    """Serve until standard input ends, SIGTERM or Ctrl-C."""
    _config.UNRESTRICTED_STORAGE_SERVICE = (
        True  # any SOP class in any transfer syntax; this process is its own
    )
    _config.LOG_REQUEST_IDENTIFIERS = _config.LOG_RESPONSE_IDENTIFIERS = False  # no patient data in a log
    folder = arguments.directory / "instances"
    folder.mkdir(parents=True, exist_ok=True)
    ae = application_entity(
        arguments.ae_title,
        connection_seconds=_CONNECTION_SECONDS,
        answer_seconds=_ANSWER_SECONDS,
        maximum_pdu=_MAXIMUM_PDU,
    )
    for service in (VERIFICATION, *_QUERY_RETRIEVE):
        ae.add_supported_context(service)
    if arguments.commitment:
        ae.add_supported_context(STORAGE_COMMITMENT_PUSH_MODEL, scu_role=True, scp_role=True)
    catalog = Catalog(arguments.directory / "catalog.sqlite")
    services = EmbeddedServices(
        catalog, folder, arguments.ae_title, dict(arguments.peer), arguments.refuse_duplicates
    )
    server = serve(ae, HOST, arguments.port, services.handlers())
    port = server.server_address[1]
    _LOG.warning("embedded PACS %s on %s:%s, not for use with patients", arguments.ae_title, HOST, port)
    sys.stdout.write(json.dumps({"ae_title": arguments.ae_title, "host": HOST, "port": port}) + "\n")
    sys.stdout.flush()
    try:
        while os.read(sys.stdin.fileno(), 4096):
            pass
    finally:
        server.shutdown()
        catalog.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m workbench.pacs.embedded",
        description="A small PACS on loopback for demonstrations and tests. NOT FOR USE WITH PATIENTS.",
        epilog="It prints one line of JSON when it listens, and ends when its standard input does.",
    )
    parser.add_argument("--directory", type=Path, required=True, help="where it keeps files, index and log")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--ae-title", type=_ae_title, default="PACS")
    parser.add_argument(
        "--peer", type=_peer, action="append", default=[], metavar="AE=HOST:PORT",
        help="where C-MOVE and storage commitment results may go; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--refuse-duplicates", action="store_true",
        help="refuse a known SOP Instance UID with other bytes; else success is answered and the first kept",
    )  # fmt: skip
    parser.add_argument(
        "--no-commitment", dest="commitment", action="store_false", help="do not offer storage commitment"
    )
    return parser


def _ae_title(text: str) -> str:
    check_ae_title(text)
    return text


def _peer(text: str) -> tuple[str, tuple[str, int]]:
    ae_title, _, address = text.partition("=")
    host, _, port = address.rpartition(":")
    return _ae_title(ae_title), (host, int(port))


def _end(_signal: int, _frame: object) -> None:
    raise SystemExit(0)


def main(argv: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(message)s")
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)
    run(arguments)


if __name__ == "__main__":
    main()
