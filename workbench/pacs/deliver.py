"""Deliver what is due: validate, send, have it committed, read it back; each step is written before the next.

Nothing is called stored without the node's answer, and nothing confirmed before the node has given it back.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from pynetdicom.association import Association

from catalog import outbox
from catalog.database import Catalog
from catalog.deliveries import Event, Meaning, State, commitment_meaning
from catalog.errors import DeliveryError, NodeUnavailableError, RefusedError
from catalog.identifiers import new_uid
from catalog.records import Delivery, Progress, no_progress
from workbench.pacs import dimse
from workbench.pacs.association import associate, contexts_for
from workbench.pacs.commitment import Committed, request_commitment
from workbench.pacs.dimse_node import DimseNode
from workbench.pacs.instance import Instance, Unfit, examine
from workbench.pacs.node import ListenAddress
from workbench.pacs.readback import read_back
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
    listen: ListenAddress,
    now: Callable[[], datetime],
    wait: timedelta,
    progress: Progress = no_progress,
) -> list[Receipt]:
    """Take every due delivery for a node as far as it goes now, and return their receipts.

    Parameters
    ----------
    listen
        Where this bench listens for commitment reports and C-MOVE meanwhile.
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
    with Listener(node, listen) as listener:
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
        for each in onward + _in(fit, State.COMMITTED):
            self._read_back(each, remark)
        self.instances.clear()

    def _examined(self, batch: Sequence[Delivery]) -> list[Delivery]:
        fit: list[Delivery] = []
        for each in batch:
            found = examine(self.catalog, each)
            if isinstance(found, Unfit):
                self._note(each, Event.INVALID, found.reason)
                continue
            self.instances[each.delivery] = found
            if each.state == State.QUEUED.value:
                words = [each.validated] if each.validated else []
                same = "the file holds the bytes that were queued"
                fit += self._note(each, Event.VALID, "; ".join([*words, same]))
            else:
                fit.append(each)
        return fit

    def _send(self, pending: list[Delivery]) -> list[Delivery]:
        """Return what the node stored; an association that breaks costs only the instance it broke at."""
        stored: list[Delivery] = []
        trouble = ""
        for _ in range(LOST_ASSOCIATIONS_AT_MOST):
            if not pending:
                break
            before = len(pending)
            first = pending[0]
            instances = [self.instances[each.delivery] for each in pending]
            contexts = contexts_for([(each.sop_class_uid, each.transfer_syntax_uid) for each in instances])
            try:
                with associate(self.node, contexts) as association:
                    while pending:
                        first = pending.pop(0)
                        done = self._store(association, first)
                        stored += done
                        if not done and self._is_waiting(first):
                            pending = self._held_up(pending, first)
            except RefusedError as error:
                self._note_all(pending, Event.REFUSED, str(error))
                return stored
            except NodeUnavailableError as error:
                trouble = str(error)
                if len(pending) < before:
                    pending = self._held_up(pending, first)
            if len(pending) == before:
                break
        self._note_all(pending, Event.UNAVAILABLE, trouble)
        return stored

    def _is_waiting(self, delivery: Delivery) -> bool:
        """Whether it goes out later, so that its study has to wait for it."""
        return outbox.delivery(self.catalog, delivery.delivery).state == State.QUEUED.value

    def _held_up(self, pending: Sequence[Delivery], first: Delivery) -> list[Delivery]:
        """Postpone what belongs to the study of one that goes out later; return the rest."""
        study = first.study_instance_uid
        behind = [each for each in pending if study and each.study_instance_uid == study]
        self._note_all(behind, Event.UNAVAILABLE, f"waits for {first.sop_instance_uid}, which goes before it")
        return [each for each in pending if each not in behind]

    def _store(self, association: Association, delivery: Delivery) -> list[Delivery]:
        instance = self.instances[delivery.delivery]
        for sending in self._note(delivery, Event.SEND, ""):
            try:
                meaning = dimse.store(
                    association,
                    instance.path,
                    sop_class_uid=instance.sop_class_uid,
                    sop_instance_uid=instance.sop_instance_uid,
                    transfer_syntax_uid=instance.transfer_syntax_uid,
                )
            except RefusedError as error:
                meaning = Meaning(Event.REFUSED, str(error))
            except NodeUnavailableError as error:
                self._note(sending, Event.UNAVAILABLE, str(error))
                raise
            return _in(self._note(sending, meaning.event, meaning.words), State.STORED)
        return []

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
        onward: list[Delivery] = []
        for each in asked:
            meaning = _commitment(answer, each.sop_instance_uid)
            onward += _in(self._note(each, meaning.event, meaning.words), State.COMMITTED)
        return onward, ""

    def _read_back(self, delivery: Delivery, remark: str) -> None:
        try:
            meaning = read_back(self.node, self.instances[delivery.delivery], self.listener)
        except DeliveryError as error:
            meaning = Meaning(Event.UNAVAILABLE, str(error))
        remark = remark if delivery.state == State.STORED.value else ""
        self._note(delivery, meaning.event, f"{meaning.words}; {remark}" if remark else meaning.words)

    def _note_all(
        self, deliveries: Sequence[Delivery], event: Event, text: str, *, transaction_uid: str | None = None
    ) -> list[Delivery]:
        noted: list[Delivery] = []
        for each in deliveries:
            noted += self._note(each, event, text, transaction_uid=transaction_uid)
        return noted

    def _note(
        self, delivery: Delivery, event: Event, text: str, *, transaction_uid: str | None = None
    ) -> list[Delivery]:
        """Write down what happened; nothing comes back where another sender has taken the delivery up."""
        try:
            return [
                outbox.advance(
                    self.catalog, delivery, event, text, self.now(), transaction_uid=transaction_uid
                )
            ]
        except DeliveryError:
            return []


def _in(deliveries: Sequence[Delivery], state: State) -> list[Delivery]:
    return [each for each in deliveries if each.state == state.value]


def _commitment(report: Committed, sop_instance_uid: str) -> Meaning:
    if sop_instance_uid in report.instances:
        return Meaning(Event.COMMIT, "the node took responsibility for the instance")
    if sop_instance_uid in report.failed:
        return commitment_meaning(report.failed[sop_instance_uid])
    return Meaning(Event.COMMIT_POSTPONED, "the node's report does not mention the instance")
