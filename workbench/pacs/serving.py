"""Runs a receiver until it is told to end: in this process, or in several that share a port."""

import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from ssl import SSLContext
from typing import IO

from catalog.database import Catalog
from catalog.errors import DeliveryError, SettingsError, words_of
from catalog.fetch import Fetched
from catalog.intake import Intake
from catalog.vocabulary import OnConflict
from workbench.pacs.addresses import Addresses
from workbench.pacs.callers import ANYONE_HERE, Caller, Callers, why_not_open
from workbench.pacs.dimse_node import DimseNode
from workbench.pacs.journal import Journal
from workbench.pacs.metrics import publish
from workbench.pacs.owed import OwedAnswers
from workbench.pacs.receiver import Address, Receiver, be_a_receiver
from workbench.pacs.tallies import SIZE, Tally
from workbench.pacs.tls import server_context
from workbench.settings import Settings

STOP_SECONDS = 28.0
"""How long processes may take to end; then they are killed."""
_AGAIN_SECONDS = 1.0
"""After which a process that ended by itself is started again."""

_LOOK_SECONDS = 0.05
_METRICS_SECONDS = 5.0

type Ready = Callable[[Address], None]
type Tell = Callable[[DimseNode, str], None]
"""Told why the host of a node cannot be looked up; an empty text where it can be again."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a receiver is to be, checked."""

    address: Address
    callers: Callers
    nodes: Mapping[str, DimseNode]
    """By name: where a receiver may call by itself."""
    tls: SSLContext | None


def ordered(settings: Settings, *, anyone_here: bool, tell: Tell) -> Order:
    """Check what is asked for before anything listens.

    A node whose host cannot be looked up is let in as soon as it can be; the others need not wait for that.

    Raises
    ------
    catalog.errors.SettingsError
        If the address could be reached from other machines without TLS or without known callers, if a
        certificate cannot be read, or if nobody may call.
    """
    address = Address(settings.ae_title, settings.receive_host, settings.receive_port)
    nodes = {
        name: node.called(name, settings.ae_title)
        for name, node in settings.nodes.items()
        if isinstance(node, DimseNode)
    }
    policy = OnConflict(settings.on_conflict)
    callers = [_caller(each, policy, tell) for each in nodes.values()]
    if anyone_here:
        callers.append(replace(ANYONE_HERE, on_conflict=policy))
    if (
        reason := why_not_open(address.host, tls=settings.tls_certificate is not None, callers=callers)
    ) is not None:
        raise SettingsError(reason)
    if not callers:
        raise SettingsError(
            "nobody may send to this bench: name who may in a table [nodes.NAME] of workbench.toml "
            "(ae_title, host, port), or add --anyone-here for every program of this machine"
        )
    return Order(address, Callers(callers), nodes, _tls(settings))


def _caller(node: DimseNode, policy: OnConflict, tell: Tell) -> Caller:
    addresses = Addresses(node.host, lambda words: tell(node, words))
    mine = OnConflict(node.on_conflict) if node.on_conflict else policy
    return Caller(node.name, node.ae_title, addresses, node.certificate, frozenset(node.may), mine)


def _tls(settings: Settings) -> SSLContext | None:
    if settings.tls_certificate is None or settings.tls_authorities is None:
        return None
    try:
        return server_context(settings.tls_certificate, settings.tls_key, settings.tls_authorities)
    except (OSError, ValueError) as error:
        raise SettingsError(f"certificate, key and authorities of TLS cannot be used: {error}") from None


def serve_here(
    settings: Settings,
    order: Order,
    journal: Journal,
    ready: Ready,
    metrics: Path | None = None,
    *,
    ending: Callable[[], None] = lambda: None,
) -> None:
    """Receive in this process until SIGTERM or Ctrl-C; then drain.

    Parameters
    ----------
    metrics
        A file that gets the counts every few seconds, for the textfile collector of Prometheus.
    ending
        Called when it begins to drain.

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
        tell = partial(_tell, metrics, [journal.tally], settings, catalog)
        stack.callback(tell)  # once more when all has come to its end
        reserve = settings.receive_free_mb << 20
        newest = {each.name for each in order.callers.known if each.on_conflict is OnConflict.NEWEST}
        intake = stack.enter_context(
            Intake(
                catalog,
                settings.received_folder,
                reserve=reserve,
                tell=lambda taken: journal.count("objects", outcome=taken.status),
                newest_counts=lambda sender: sender.node in newest,
            )
        )
        receiver = Receiver(
            intake,
            order.address,
            order.callers,
            journal,
            nodes=order.nodes,
            owed=OwedAnswers(settings.commitments_folder),
            fetched=Fetched(catalog, settings.fetched_folder, int(settings.fetched_gb * 1e9)),
            tls=order.tls,
        )
        stack.enter_context(receiver)
        ready(replace(order.address, port=receiver.port))
        while not end.wait(_METRICS_SECONDS if metrics is not None else None):
            tell()
        journal.say("ending")
        ending()


def serve_with(
    count: int,
    command: Sequence[str],
    settings: Settings,
    address: Address,
    journal: Journal,
    ready: Ready,
    metrics: Path | None = None,
    *,
    ending: Callable[[], None] = lambda: None,
) -> None:
    """Receive in several processes that share a port, until SIGTERM or Ctrl-C; one that fails is replaced.

    Parameters
    ----------
    command
        Starts one of them; the port, and where it counts, are added to it.
    metrics
        A file that gets the counts of all of them together every few seconds; what a process counted counts
        after its end, too.

    Raises
    ------
    catalog.errors.DeliveryError
        If the address is taken.
    """
    end = threading.Event()
    _on_signals(end.set)
    with _holding(address) as held, ExitStack() as stack:
        port = int(held.getsockname()[1])
        places = [
            _Place([*command, "--port", str(port)], stack.enter_context(tempfile.TemporaryFile()))
            for _ in range(count)
        ]
        tallies = [journal.tally, *(each.tally for each in places)]
        if metrics is not None:
            catalog = Catalog(settings.catalog_url)
            stack.callback(catalog.close)
            tell = partial(_tell, metrics, tallies, settings, catalog)
            stack.callback(tell)
        stack.callback(_stop, places)
        for each in places:
            each.start()
        _wait_until_one_listens(address.host, port, places, end)
        ready(replace(address, port=port))
        told = time.monotonic()
        while not end.wait(_AGAIN_SECONDS):
            for each in places:
                if (code := each.ended_with) is not None:
                    journal.say("process ended", code=code)
                    journal.count("restarts")
                    each.start()
            if metrics is not None and time.monotonic() - told >= _METRICS_SECONDS:
                tell()
                told = time.monotonic()
        ending()


def _tell(metrics: Path | None, tallies: Sequence[Tally], settings: Settings, catalog: Catalog) -> None:
    if metrics is not None:
        publish(metrics, tallies, settings, catalog)


class _Place:
    """One of several processes, and whoever follows it: they count in the same file, which has no name."""

    process: subprocess.Popen[bytes] | None = None

    def __init__(self, command: Sequence[str], counts: IO[bytes]) -> None:
        self._descriptor = counts.fileno()
        counts.truncate(SIZE)
        self.tally = Tally(self._descriptor)
        self._command = [*command, "--counts", str(self._descriptor)]

    def start(self) -> None:
        """Start a process; it ends with this one."""
        self.process = subprocess.Popen(self._command, stdin=subprocess.PIPE, pass_fds=[self._descriptor])

    @property
    def ended_with(self) -> int | None:
        """The code with which the process ended, if it did."""
        return self.process.poll() if self.process is not None else None


def _wait_until_one_listens(host: str, port: int, places: Sequence[_Place], end: threading.Event) -> None:
    while not end.wait(_LOOK_SECONDS):
        if all(each.ended_with is not None for each in places):
            raise DeliveryError(f"No process could listen on {host}:{port}; what it said stands above")
        with suppress(OSError), socket.create_connection((host, port), _AGAIN_SECONDS):
            return


def _wait_for_parent(end: threading.Event) -> None:
    """End with the process that started this one, however it ends."""
    while os.read(0, 1024):  # a thread that waits in `sys.stdin` would crash the interpreter at its end
        pass
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


def _stop(places: Iterable[_Place]) -> None:
    running = [each.process for each in places if each.process is not None]
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
