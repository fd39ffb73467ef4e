"""Runs a receiver until it is told to end: in this process, or in several that share a port."""

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from ssl import SSLContext

from catalog.database import Catalog
from catalog.durable import write
from catalog.errors import DeliveryError, SettingsError, words_of
from catalog.intake import Intake
from workbench.pacs.accepting import server_context
from workbench.pacs.callers import ANYONE_HERE, Caller, Callers, why_not_open
from workbench.pacs.dimse_node import DimseNode
from workbench.pacs.journal import Journal
from workbench.pacs.receiver import Address, Receiver, be_a_receiver
from workbench.settings import Settings

STOP_SECONDS = 28.0
"""How long processes may take to end; then they are killed."""
_AGAIN_SECONDS = 1.0
"""After which a process that ended by itself is started again."""

_LOOK_SECONDS = 0.05
_METRICS_SECONDS = 5.0

type Ready = Callable[[Address], None]


@dataclass(frozen=True, slots=True)
class Order:
    """What a receiver is to be, checked."""

    address: Address
    callers: Callers
    tls: SSLContext | None


def ordered(settings: Settings, *, anyone_here: bool) -> Order:
    """Check what is asked for before anything listens.

    Raises
    ------
    catalog.errors.SettingsError
        If the address could be reached from other machines without TLS or without known callers, if a
        certificate cannot be read, or if nobody may call.
    """
    address = Address(settings.ae_title, settings.receive_host, settings.receive_port)
    callers = [caller for each in settings.nodes.values() if (caller := _caller(each)) is not None]
    if anyone_here:
        callers.append(ANYONE_HERE)
    if (
        reason := why_not_open(address.host, tls=settings.tls_certificate is not None, callers=callers)
    ) is not None:
        raise SettingsError(reason)
    if not callers:
        raise SettingsError(
            "nobody may send to this bench: name who may in a table [nodes.NAME] of workbench.toml "
            "(ae_title, host, port), or add --anyone-here for every program of this machine"
        )
    return Order(address, Callers(callers), _tls(settings))


def _caller(node: object) -> Caller | None:
    if not isinstance(node, DimseNode):
        return None
    try:
        found = socket.getaddrinfo(node.host, None)
    except OSError as error:
        raise SettingsError(
            f"the host {node.host} of node {node.name} cannot be looked up: {words_of(error)}"
        ) from None
    addresses = frozenset(str(each[4][0]) for each in found)
    return Caller(node.name, node.ae_title, addresses, node.certificate, frozenset(node.may))


def _tls(settings: Settings) -> SSLContext | None:
    files = settings.tls_certificate, settings.tls_key, settings.tls_authorities
    if files[0] is None:
        return None
    try:
        return server_context(*map(str, files))
    except OSError as error:
        raise SettingsError(f"certificate, key and authorities of TLS cannot be used: {error}") from None


def serve_here(
    settings: Settings, order: Order, journal: Journal, ready: Ready, metrics: Path | None = None
) -> None:
    """Receive in this process until SIGTERM or Ctrl-C; then drain.

    Parameters
    ----------
    metrics
        A file that gets the counts every few seconds, for the textfile collector of Prometheus.

    Raises
    ------
    catalog.errors.WorkbenchError
        If it cannot begin.
    """
    end = threading.Event()
    _on_signals(end.set)
    if order.address.share_port:
        threading.Thread(target=_wait_for_parent, args=(end,), daemon=True).start()
    be_a_receiver()
    with ExitStack() as stack:
        catalog = Catalog(settings.catalog_url)
        stack.callback(catalog.close)
        reserve = settings.receive_free_mb << 20
        intake = stack.enter_context(
            Intake(
                catalog,
                settings.received_folder,
                reserve=reserve,
                tell=lambda taken: journal.count("objects", outcome=taken.status),
            )
        )
        receiver = Receiver(intake, order.address, order.callers, journal, tls=order.tls)
        stack.enter_context(receiver)
        ready(replace(order.address, port=receiver.port))
        while not end.wait(_METRICS_SECONDS if metrics is not None else None):
            _tell(journal, metrics)
        journal.say("ending")
    _tell(journal, metrics)


def _tell(journal: Journal, metrics: Path | None) -> None:
    if metrics is not None:
        with suppress(OSError):  # no reason to end
            write(metrics, journal.metrics().encode())


def serve_with(count: int, command: Sequence[str], address: Address, journal: Journal, ready: Ready) -> None:
    """Receive in several processes that share a port, until SIGTERM or Ctrl-C; one that fails is replaced.

    Parameters
    ----------
    command
        Starts one of them; the port is added to it.

    Raises
    ------
    catalog.errors.DeliveryError
        If the address is taken.
    """
    end = threading.Event()
    _on_signals(end.set)
    with _holding(address) as held:
        port = int(held.getsockname()[1])
        started = [*command, "--port", str(port)]
        running = [_started(started) for _ in range(count)]
        try:
            _wait_until_one_listens(address.host, port, running, end)
            ready(replace(address, port=port))
            while not end.wait(_AGAIN_SECONDS):
                for at, each in enumerate(running):
                    if each.poll() is not None:
                        journal.say("process ended", code=each.returncode)
                        running[at] = _started(started)
        finally:
            _stop(running)


def _wait_until_one_listens(
    host: str, port: int, running: Sequence[subprocess.Popen[bytes]], end: threading.Event
) -> None:
    while not end.wait(_LOOK_SECONDS):
        if all(each.poll() is not None for each in running):
            raise DeliveryError(f"No process could listen on {host}:{port}; what it said stands above")
        with suppress(OSError), socket.create_connection((host, port), _AGAIN_SECONDS):
            return


def _started(command: Sequence[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdin=subprocess.PIPE)


def _wait_for_parent(end: threading.Event) -> None:
    """End with the process that started this one, however it ends."""
    sys.stdin.buffer.read()
    end.set()


def _holding(address: Address) -> socket.socket:
    """Hold a port that several processes may listen on, so that nobody else takes it meanwhile."""
    try:
        with socket.create_server((address.host, address.port)) as probe:  # refused where another listens
            port = int(probe.getsockname()[1])
        held = socket.socket()
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind((address.host, port))
    except OSError as error:
        raise DeliveryError(
            f"Cannot listen on {address.host}:{address.port} ({words_of(error)}); "
            "set another address or end what is using it"
        ) from error
    return held


def _stop(running: Iterable[subprocess.Popen[bytes]]) -> None:
    until = time.monotonic() + STOP_SECONDS
    for each in running:
        each.terminate()
    for each in running:
        try:
            each.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            each.kill()
            each.wait()


def _on_signals(end: Callable[[], None]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: end())
