"""Deliver what is due: validate, send, have it committed, read it back; each step is written before the next.

Nothing is called stored without the node's answer, and nothing confirmed before the node has given it back.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from catalog import outbox
from catalog.database import Catalog
from catalog.deliveries import Event, Meaning, State
from catalog.errors import DeliveryError, LimitedError, NodeUnavailableError, RefusedError, WorkbenchError
from catalog.identifiers import new_uid
from catalog.outbox import Step
from catalog.records import Delivery, Progress, no_progress
from workbench.pacs.carrier import Ask, Carrier
from workbench.pacs.commitment import Committed, ToldBeside
from workbench.pacs.instance import Instance, Unfit, examine
from workbench.pacs.limits import Pace
from workbench.pacs.node import ListenAddress, Node
from workbench.pacs.receipt import Receipt
from workbench.pacs.receive import Listener

BATCH = 32
"""Deliveries that share associations and one request for commitment."""

LEASE = timedelta(minutes=10)
"""How long a batch stays with a sender that says nothing any more, beside the wait for commitment."""

RENEWALS = 4
"""How often a sender at work renews its lease before it would end."""

LOST_ASSOCIATIONS_AT_MOST = 3
"""Associations that may break while one batch is sent, before the rest of it is postponed."""


def deliver(
    catalog: Catalog,
    node: Node,
    *,
    listen: ListenAddress | Listener,
    now: Callable[[], datetime],
    wait: timedelta,
    progress: Progress = no_progress,
) -> list[Receipt]:
    """Take every due delivery for a node as far as it goes now, and return their receipts.

    What goes wrong at the node is no exception but in the receipts, and so is an address that is taken.

    Parameters
    ----------
    listen
        Where this bench listens for commitment reports and C-MOVE meanwhile, or what listens already.
    now
        The clock; its times carry a time zone.
    wait
        How long to wait for a node's commitment before the read-back decides alone.

    Raises
    ------
    catalog.errors.LimitedError
        If the limits of the node do not allow it now; what was not taken up stays due.
    """
    total = len(outbox.due(catalog, node.name, now()))
    receipts: list[Receipt] = []
    if not total:
        return receipts
    with node.carrying(listen) as carrier:
        while len(receipts) < total:
            node.limits.check_hours(node.name, now())
            limit = min(BATCH, total - len(receipts))
            with node.limits.turn(node.name) as pace:
                batch = outbox.claim(catalog, node.name, now(), LEASE + wait, limit=limit)
                try:
                    with _holding(catalog, batch, now, LEASE + wait):
                        _Sender(catalog, carrier, now, wait, pace).deliver(batch)
                except Exception as error:  # of whatever kind: else it would be due again at once
                    with suppress(WorkbenchError):
                        outbox.postpone(catalog, batch, f"the sender stopped: {type(error).__name__}", now())
                    raise
                finally:
                    outbox.release(catalog, batch)
            if not batch:
                break
            receipts += [Receipt.of(outbox.delivery(catalog, each.delivery)) for each in batch]
            progress(len(receipts), total)
    return receipts


@contextmanager
def _holding(
    catalog: Catalog, batch: Sequence[Delivery], now: Callable[[], datetime], lease: timedelta
) -> Iterator[None]:
    """Renew the lease of a batch while the block runs, however long one object or one answer takes."""
    if not batch:
        yield
        return
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(lease.total_seconds() / RENEWALS):
            with suppress(Exception):  # the catalog may be busy; there is time to try again
                outbox.renew(catalog, batch, now(), lease)

    thread = threading.Thread(target=renew, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def deliver_to_all(
    catalog: Catalog,
    nodes: Sequence[Node],
    *,
    listen: ListenAddress,
    now: Callable[[], datetime],
    wait: timedelta,
    limited: Callable[[str], None] = lambda _words: None,
) -> list[Receipt]:
    """Deliver what is due to several nodes at the same time: one that is slow holds up no other.

    Those that call back with other certificates, or without, come after: one address is listened on.

    Parameters
    ----------
    limited
        Told why nothing more goes to a node now, where its limits do not allow it.
    """

    def deliver_to(node: Node, to: ListenAddress | Listener) -> list[Receipt]:
        began = {each.delivery for each in outbox.due(catalog, node.name, now())}
        try:
            return deliver(catalog, node, listen=to, now=now, wait=wait)
        except LimitedError as error:
            limited(str(error))
        except WorkbenchError:
            raise
        except Exception as error:  # the other nodes go on; its text may tell of a patient
            limited(f"{node.name}: the sender stopped ({type(error).__name__}); what was left is tried again")
        known = outbox.deliveries(catalog, node=node.name)
        return [Receipt.of(each) for each in known if each.delivery in began]

    receipts: list[Receipt] = []
    silent = [each for each in nodes if each.calls_back_with is None]
    with ThreadPoolExecutor(max(len(nodes), 1)) as pool:
        others = [pool.submit(deliver_to, node, listen) for node in silent]
        for group in _calling_back_alike([each for each in nodes if each.calls_back_with is not None]):
            with group[0].listening(listen) as listener:  # one serves them all
                senders = [pool.submit(deliver_to, node, listener) for node in group]
                receipts += [receipt for sender in senders for receipt in sender.result()]
        receipts += [receipt for sender in others for receipt in sender.result()]
    return receipts


def _calling_back_alike(nodes: Sequence[Node]) -> list[list[Node]]:
    groups: dict[tuple[str, ...] | None, list[Node]] = {}
    for each in nodes:
        groups.setdefault(each.calls_back_with, []).append(each)
    return list(groups.values())


@dataclass(slots=True)
class _Sender:
    """One sender at work on batches for one node."""

    catalog: Catalog
    carrier: Carrier
    now: Callable[[], datetime]
    wait: timedelta
    pace: Pace
    instances: dict[int, Instance] = field(default_factory=dict)
    """Number of the delivery to what its file holds."""

    def deliver(self, batch: Sequence[Delivery]) -> None:
        """Take a claimed batch as far as it goes."""
        fit = self._examined(batch)
        stored = self._send(_in(fit, State.VALIDATED)) + _in(fit, State.STORED)
        onward, remark = self._commit(stored) if stored else ([], "")
        waiting = onward + _in(fit, State.COMMITTED)
        if waiting:
            instances = [self.instances[each.delivery] for each in waiting]
            with self.carrier.reading_back(instances) as read:
                for each in waiting:
                    self._read_back(read, each, remark)
        self.instances.clear()

    def _examined(self, batch: Sequence[Delivery]) -> list[Delivery]:
        fit: list[Delivery] = []
        steps: list[Step] = []
        for each in batch:
            found = examine(self.catalog, each)
            if isinstance(found, Unfit):
                steps.append(Step(each, Event.INVALID, found.reason))
                continue
            self.instances[each.delivery] = found
            if each.state == State.QUEUED.value:
                words = [each.validated] if each.validated else []
                same = "the file holds the bytes that were queued"
                steps.append(Step(each, Event.VALID, "; ".join([*words, same])))
            else:
                fit.append(each)
        noted = self._write(steps)
        return sorted(_in(noted, State.VALIDATED) + fit, key=lambda each: each.delivery)

    def _send(self, pending: list[Delivery]) -> list[Delivery]:
        """Return what the node stored; an association that breaks costs the study it broke at."""
        stored: list[Delivery] = []
        trouble = "the associations ended before its turn came"
        for _ in range(LOST_ASSOCIATIONS_AT_MOST):
            if not pending:
                break
            instances = [self.instances[each.delivery] for each in pending]
            try:
                with self.carrier.storing(instances) as store:
                    done, pending = self._store_all(store, pending)
                    stored += done
            except RefusedError as error:
                self._note_all(pending, Event.REFUSED, str(error))
                return stored
            except NodeUnavailableError as error:
                trouble = str(error)
                break
        self._note_all(pending, Event.UNAVAILABLE, trouble)
        return stored

    def _store_all(self, store: Ask, pending: Sequence[Delivery]) -> tuple[list[Delivery], list[Delivery]]:
        """Return what the node stored, and what is left where the association broke.

        All are on record as on the wire before the first goes out, and what was answered is written once: a
        sender that dies leaves some that were answered to be sent again, the same bytes under the same UIDs.
        """
        waiting = self._note_all(pending, Event.SEND, "")
        steps: list[Step] = []
        held_up: dict[str, str] = {}
        while waiting:
            each = waiting.pop(0)
            if each.study_instance_uid in held_up:
                first = held_up[each.study_instance_uid]
                text = f"waits for {first}, which goes before it"
                steps.append(Step(each, Event.UNAVAILABLE, text, self.now()))
                continue
            meaning, lost = self._store(store, each)
            steps.append(Step(each, meaning.event, meaning.words, self.now()))
            if meaning.event is Event.UNAVAILABLE and each.study_instance_uid:
                held_up[each.study_instance_uid] = each.sop_instance_uid
            if lost:
                break
        behind = [each for each in waiting if each.study_instance_uid in held_up]
        steps += [
            Step(
                each, Event.UNAVAILABLE, f"waits for {held_up[each.study_instance_uid]}, which goes before it"
            )
            for each in behind
        ]
        unsent = [Step(each, Event.UNSENT, "") for each in waiting if each not in behind]
        noted = self._write([*steps, *unsent])
        left = {each.delivery.delivery for each in unsent}
        return _in(noted, State.STORED), [each for each in noted if each.delivery in left]

    def _store(self, store: Ask, delivery: Delivery) -> tuple[Meaning, bool]:
        """Return what the node answered, and whether the line is lost."""
        try:
            instance = self.instances[delivery.delivery]
            meaning = store(instance)
            self.pace.took(instance.path.stat().st_size)
            return meaning, False
        except RefusedError as error:
            return Meaning(Event.REFUSED, str(error)), False
        except NodeUnavailableError as error:
            return Meaning(Event.UNAVAILABLE, str(error)), True

    def _commit(self, stored: Sequence[Delivery]) -> tuple[list[Delivery], str]:
        """Return what goes on to be read back, and a remark where the node did not commit to it."""
        if self.carrier.without_commitment:
            return list(stored), self.carrier.without_commitment
        transaction_uid = new_uid()
        asked = self._note_all(stored, Event.ASK, "", transaction_uid=transaction_uid)
        try:
            answer = self.carrier.commitment(
                [self.instances[each.delivery] for each in asked],
                transaction_uid=transaction_uid,
                seconds=self.wait.total_seconds(),
                is_told=lambda: not outbox.awaits_report(self.catalog, transaction_uid),
            )
        except NodeUnavailableError as error:
            self._note_all(asked, Event.UNAVAILABLE, str(error))
            return [], ""
        if isinstance(answer, Committed):
            said = [(each, answer.says(each.sop_instance_uid)) for each in asked]
            self._write([Step(each, meaning.event, meaning.words) for each, meaning in said])
        known = self._again(asked)  # the report may have come to another process, too
        committed = _in(known, State.COMMITTED)
        if isinstance(answer, (Committed, ToldBeside)):
            return committed, ""
        untold = [each for each in _in(known, State.STORED) if each.transaction_uid == transaction_uid]
        return committed + untold, answer.words

    def _again(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Read deliveries as they stand now; what another sender has taken up is left out."""
        ours = {(each.delivery, each.attempts) for each in deliveries}
        uids = [each.sop_instance_uid for each in deliveries]
        known = outbox.deliveries(self.catalog, sop_instance_uids=uids)
        return [each for each in known if (each.delivery, each.attempts) in ours]

    def _read_back(self, read: Callable[[Instance], Meaning], delivery: Delivery, remark: str) -> None:
        try:
            instance = self.instances[delivery.delivery]
            meaning = read(instance)
            self.pace.took(instance.path.stat().st_size)
        except DeliveryError as error:
            meaning = Meaning(Event.UNAVAILABLE, str(error))
        remark = remark if delivery.state == State.STORED.value else ""
        text = f"{meaning.words}; {remark}" if remark else meaning.words
        self._write([Step(delivery, meaning.event, text)])

    def _note_all(
        self, deliveries: Sequence[Delivery], event: Event, text: str, *, transaction_uid: str | None = None
    ) -> list[Delivery]:
        steps = [Step(each, event, text) for each in deliveries]
        return self._write(steps, transaction_uid=transaction_uid)

    def _write(self, steps: Sequence[Step], *, transaction_uid: str | None = None) -> list[Delivery]:
        """Write down what happened; what another sender has taken up is left out."""
        if not steps:
            return []
        return outbox.advance_all(self.catalog, steps, self.now(), transaction_uid=transaction_uid)


def _in(deliveries: Sequence[Delivery], state: State) -> list[Delivery]:
    return [each for each in deliveries if each.state == state.value]
