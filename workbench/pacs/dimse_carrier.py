"""Carries instances by DIMSE: C-STORE, Storage Commitment, C-FIND with C-GET or C-MOVE; a `Carrier`."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from catalog.deliveries import Meaning
from workbench.pacs import dimse
from workbench.pacs.association import associate, contexts_for
from workbench.pacs.carrier import Ask
from workbench.pacs.commitment import Committed, NoReport, NotOffered, ToldBeside, request_commitment
from workbench.pacs.dimse_node import DimseNode
from workbench.pacs.instance import Instance
from workbench.pacs.readback import reading_back
from workbench.pacs.receive import Listener


@dataclass(frozen=True, slots=True)
class DimseCarrier:
    """One node, and where this bench listens for what it sends by itself."""

    node: DimseNode
    listener: Listener
    without_commitment: str = ""

    @contextmanager
    def storing(self, instances: Sequence[Instance]) -> Iterator[Ask]:
        """Give what stores each of some instances, on one association."""
        contexts = contexts_for([(each.sop_class_uid, each.transfer_syntax_uid) for each in instances])
        with associate(self.node, contexts) as association:

            def store(instance: Instance) -> Meaning:
                return dimse.store(
                    association,
                    instance.path,
                    sop_class_uid=instance.sop_class_uid,
                    sop_instance_uid=instance.sop_instance_uid,
                    transfer_syntax_uid=instance.transfer_syntax_uid,
                )

            yield store

    def commitment(
        self,
        instances: Sequence[Instance],
        *,
        transaction_uid: str,
        seconds: float,
        is_told: Callable[[], bool],
    ) -> Committed | ToldBeside | NotOffered | NoReport:
        """Ask for Storage Commitment (Push Model); listen for the report where nobody else does."""
        with self.listener.where_free() as attempt:

            def look() -> bool:
                attempt()
                return is_told()

            answer = request_commitment(
                self.node,
                [(each.sop_class_uid, each.sop_instance_uid) for each in instances],
                transaction_uid=transaction_uid,
                reports=self.listener.reports,
                seconds=seconds,
                is_told=look,
            )
            if isinstance(answer, NoReport) and attempt.trouble:
                return NoReport(f"{answer.words}. {attempt.trouble}")
            return answer

    def reading_back(self, instances: Sequence[Instance]) -> AbstractContextManager[Ask]:
        """Give what reads an instance back."""
        return reading_back(self.node, instances, self.listener)
