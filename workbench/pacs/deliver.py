"""Deliver what is due: validate, send, have it committed, read it back; each step is written before the next.

Nothing is called stored without the node's answer, and nothing confirmed before the node has given it back.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from pynetdicom.association import Association

from catalog import outbox
from catalog.database import Catalog
from catalog.deliveries import Event, Meaning, State, commitment_meaning
from catalog.errors import DeliveryError, NodeUnavailableError, RefusedError
from catalog.identifiers import new_uid
from catalog.outbox import Step
from catalog.records import Delivery, Progress, no_progress
from workbench.pacs import dimse
from workbench.pacs.association import associate, contexts_for
from workbench.pacs.commitment import Committed, request_commitment
from workbench.pacs.dimse_node import DimseNode
from workbench.pacs.instance import Instance, Unfit, examine
from workbench.pacs.node import ListenAddress
from workbench.pacs.readback import reading_back
from workbench.pacs.receipt import Receipt
from workbench.pacs.receive import Listener

BATCH = 32
"""Deliveries that share associations and one request for commitment."""

LEASE = timedelta(minutes=10)
"""How long a batch stays with a sender that says nothing any more, beside the wait for commitment."""

LOST_ASSOCIATIONS_AT_MOST = 3
"""Associations that may break while one batch is sent, before the rest of it is postponed."""


def deliver(
    catalog: Catalog,
    node: DimseNode,
    *,
    listen: ListenAddress | Listener,
    now: Callable[[], datetime],
    wait: timedelta,
    progress: Progress = no_progress,
) -> list[Receipt]:
    """Take every due delivery for a node as far as it goes now, and return their receipts.

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
    catalog.errors.DeliveryError
        If the address cannot be listened on; nothing was taken up then. What goes wrong at the node is no
        exception but in the receipts.
    """
    total = len(outbox.due(catalog, node.name, now()))
    receipts: list[Receipt] = []
    if not total:
        return receipts
    listening = nullcontext(listen) if isinstance(listen, Listener) else Listener(node, listen)
    with listening as listener:
        sender = _Sender(catalog, node, listener, now, wait)
        while len(receipts) < total:
            limit = min(BATCH, total - len(receipts))
            batch = outbox.claim(catalog, node.name, now(), LEASE + wait, limit=limit)
            if not batch:
                break
            try:
                sender.deliver(batch)
            finally:
                outbox.release(catalog, batch)
            receipts += [Receipt.of(outbox.delivery(catalog, each.delivery)) for each in batch]
            progress(len(receipts), total)
    return receipts


def deliver_to_all(
    catalog: Catalog,
    nodes: Sequence[DimseNode],
    *,
    listen: ListenAddress,
    now: Callable[[], datetime],
    wait: timedelta,
) -> list[Receipt]:
    """Deliver what is due to several nodes at the same time: one that is slow holds up no other.

    Raises
    ------
    catalog.errors.DeliveryError
        As `deliver`.
    """
    if not nodes:
        return []
    with Listener(nodes[0], listen) as listener, ThreadPoolExecutor(len(nodes)) as pool:
        senders = [pool.submit(deliver, catalog, node, listen=listener, now=now, wait=wait) for node in nodes]
    return [receipt for sender in senders for receipt in sender.result()]


@dataclass(slots=True)
class _Sender:
    """One sender at work on batches for one node."""

    catalog: Catalog
    node: DimseNode
    listener: Listener
    now: Callable[[], datetime]
    wait: timedelta
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
            with reading_back(self.node, instances, self.listener) as read:
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
            contexts = contexts_for([(each.sop_class_uid, each.transfer_syntax_uid) for each in instances])
            try:
                with associate(self.node, contexts) as association, dimse.storing(association):
                    done, pending = self._store_all(association, pending)
                    stored += done
            except RefusedError as error:
                self._note_all(pending, Event.REFUSED, str(error))
                return stored
            except NodeUnavailableError as error:
                trouble = str(error)
                break
        self._note_all(pending, Event.UNAVAILABLE, trouble)
        return stored

    def _store_all(
        self, association: Association, pending: Sequence[Delivery]
    ) -> tuple[list[Delivery], list[Delivery]]:
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
            meaning, lost = self._store(association, each)
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

    def _store(self, association: Association, delivery: Delivery) -> tuple[Meaning, bool]:
        """Return what the node answered, and whether the association is lost."""
        instance = self.instances[delivery.delivery]
        try:
            meaning = dimse.store(
                association,
                instance.path,
                sop_class_uid=instance.sop_class_uid,
                sop_instance_uid=instance.sop_instance_uid,
                transfer_syntax_uid=instance.transfer_syntax_uid,
            )
        except RefusedError as error:
            return Meaning(Event.REFUSED, str(error)), False
        except NodeUnavailableError as error:
            return Meaning(Event.UNAVAILABLE, str(error)), True
        return meaning, False

    def _commit(self, stored: Sequence[Delivery]) -> tuple[list[Delivery], str]:
        """Return what goes on to be read back, and a remark where the node did not commit to it."""
        transaction_uid = new_uid()
        asked = self._note_all(stored, Event.ASK, "", transaction_uid=transaction_uid)
        try:
            answer = request_commitment(
                self.node,
                [(each.sop_class_uid, each.sop_instance_uid) for each in asked],
                transaction_uid=transaction_uid,
                reports=self.listener.reports,
                seconds=self.wait.total_seconds(),
            )
        except NodeUnavailableError as error:
            self._note_all(asked, Event.UNAVAILABLE, str(error))
            return [], ""
        if not isinstance(answer, Committed):
            return asked, answer.words
        steps = []
        for each in asked:
            meaning = _commitment(answer, each.sop_instance_uid)
            steps.append(Step(each, meaning.event, meaning.words))
        return _in(self._write(steps), State.COMMITTED), ""

    def _read_back(self, read: Callable[[Instance], Meaning], delivery: Delivery, remark: str) -> None:
        try:
            meaning = read(self.instances[delivery.delivery])
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


def _commitment(report: Committed, sop_instance_uid: str) -> Meaning:
    if sop_instance_uid in report.instances:
        return Meaning(Event.COMMIT, "the node took responsibility for the instance")
    if sop_instance_uid in report.failed:
        return commitment_meaning(report.failed[sop_instance_uid])
    return Meaning(Event.COMMIT_POSTPONED, "the node's report does not mention the instance")
