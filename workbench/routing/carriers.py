"""Takes what is due in the outbox to its nodes, each in a thread of its own: none holds up another."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from catalog import outbox
from catalog.database import Catalog
from catalog.errors import WorkbenchError
from workbench.pacs.node import ListenAddress, Node

if TYPE_CHECKING:
    from workbench.pacs.receipt import Receipt
    from workbench.pacs.receive import Listener

PAUSE_SECONDS = 10.0
"""How long a node is left alone where nothing can go out, as all waits for another."""
OTHERS = timedelta(minutes=5)
"""After which what a person sent is taken up too: until then whoever sent it is at work on it."""

type Tell = Callable[[str, Sequence["Receipt"], str], None]
"""Told the name of a node, receipts, and what went wrong on this side."""


class Listening:
    """One address for all who are delivering at the same time; with port 0 each has one of its own.

    Nodes that call back with another certificate wait until those with this one are done.
    """

    def __init__(self, address: ListenAddress) -> None:
        self._address = address
        self._changed = threading.Condition()
        self._key: tuple[str, ...] | None = None
        self._listener: Listener | None = None
        self._users = 0
        self._open = ExitStack()

    @contextmanager
    def for_node(self, node: Node) -> "Iterator[ListenAddress | Listener]":
        """Give what listens for a node while the block runs, where it calls back at all."""
        key = node.calls_back_with
        if key is None:
            yield self._address
            return
        if not self._address.port:
            with node.listening(self._address) as listener:
                yield listener
            return
        with self._changed:
            self._changed.wait_for(lambda: self._key in (None, key))
            if self._listener is None:
                self._listener, self._key = self._open.enter_context(node.listening(self._address)), key
            self._users += 1
            shared = self._listener
        try:
            yield shared
        finally:
            with self._changed:
                self._users -= 1
                if not self._users:
                    self._open.close()
                    self._listener = self._key = None
                    self._changed.notify_all()


@dataclass(slots=True)
class _Carrier:
    thread: threading.Thread
    rests_until: float = 0.0


class Carriers:
    """Threads that deliver, one a node; `look` starts those for which something is due.

    Parameters
    ----------
    nodes
        By name.
    wait
        How long to wait for a node's storage commitment.
    tell
        Called by the threads.
    """

    def __init__(
        self,
        catalog: Catalog,
        nodes: Mapping[str, Node],
        address: ListenAddress,
        *,
        now: Callable[[], datetime],
        wait: timedelta,
        tell: Tell,
    ) -> None:
        self._catalog, self._nodes, self._now, self._wait, self._tell = catalog, nodes, now, wait, tell
        self._listening = Listening(address)
        self._carriers: dict[str, _Carrier] = {}

    def look(self) -> int:
        """Start what is due and is not under way; return how many nodes are being delivered to."""
        for name in outbox.due_nodes(self._catalog, self._now(), sent_before=self._now() - OTHERS):
            node, carrier = self._nodes.get(name), self._carriers.get(name)
            if node is None or (
                carrier is not None and (carrier.thread.is_alive() or carrier.rests_until > time.monotonic())
            ):
                continue
            thread = threading.Thread(target=self._carry, args=(node,), name=f"to {name}", daemon=True)
            self._carriers[name] = _Carrier(thread)
            thread.start()
        return sum(each.thread.is_alive() for each in self._carriers.values())

    def wait(self, seconds: float) -> bool:
        """Wait until nothing is under way, so long at most; whether it is so."""
        until = time.monotonic() + seconds
        for each in self._carriers.values():
            each.thread.join(max(0.0, until - time.monotonic()))
        return not any(each.thread.is_alive() for each in self._carriers.values())

    def _carry(self, node: Node) -> None:
        from workbench.pacs.deliver import deliver

        try:
            with self._listening.for_node(node) as listener:
                receipts = deliver(self._catalog, node, listen=listener, now=self._now, wait=self._wait)
            if not receipts:  # what is due waits for one before it in its study
                self._rest(node)
            self._tell(node.name, receipts, "")
        except (WorkbenchError, OSError) as error:
            self._rest(node)
            self._tell(node.name, (), str(error))
        except Exception as error:  # of whatever kind: the others go on, and this one is tried again
            self._rest(node)
            self._tell(node.name, (), type(error).__name__)  # its text may tell of a patient

    def _rest(self, node: Node) -> None:
        self._carriers[node.name].rests_until = time.monotonic() + PAUSE_SECONDS
