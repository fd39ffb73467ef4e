"""Of a bench: results on their way to nodes."""

from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from catalog.errors import LimitedError, QuestionError
from catalog.records import OutputRecord
from workbench.bench.opened import Opened, now
from workbench.progress import bar
from workbench.reports import Receipts
from workbench.selection import files_of, named_kind

if TYPE_CHECKING:
    from workbench.pacs.node import Node
    from workbench.pacs.receipt import Receipt


class Deliveries(Opened):
    """Sends results, and takes them back."""

    def send(
        self,
        objects: Iterable[OutputRecord | str | Path] | OutputRecord | str | Path,
        *,
        to: "str | Node",
        quiet: bool = False,
    ) -> Receipts:
        """Put DICOM objects into the outbox and deliver them; a receipt each says how far it came.

        Parameters
        ----------
        objects
            Outputs of a run (its arrays are passed over, a PACS has no use for them), SOP Instance UIDs of
            such outputs, or paths of DICOM files; one or several.
        to
            A node of the settings by name, or a node.

        Results (segmentations, reports, key objects, presentation states, captures, documents, maps, videos)
        are judged first; one with a fault is not queued, its receipt is `refused` and names the fault. What
        was acquired goes out as it is.

        Raises
        ------
        catalog.errors.NotFoundError
            If an object or the node is not known.
        catalog.errors.HeaderError
            If a file is no readable DICOM.
        catalog.errors.QuestionError
            If something is no object at all.
        """
        from workbench.pacs.posting import examine_files
        from workbench.sending import queue_all, receipts_of

        node = self._node_meant(to)
        judged = examine_files(
            self.catalog, list(files_of(self.catalog, objects)), threads=self.settings.cores
        )
        queued = queue_all(
            self.catalog, judged, node.name, outbox_folder=self.settings.outbox_folder, now=now
        )
        note = self._deliver(node, quiet=quiet)
        return Receipts(receipts_of(self.catalog, queued), note=note)

    def _deliver(self, node: "Node", *, quiet: bool) -> str:
        """Deliver what is due to a node; why not all of it, where its limits do not allow it now."""
        from workbench.pacs.deliver import deliver

        try:
            with bar("send", "objects", quiet=quiet) as progress:
                deliver(
                    self.catalog,
                    node,
                    listen=self._listen,
                    now=now,
                    wait=timedelta(seconds=self.settings.commitment_seconds),
                    progress=progress,
                )
        except LimitedError as error:
            return str(error)
        return ""

    def deliver(self, nodes: Iterable[str] | str | None = None) -> Receipts:
        """Deliver what is due in the outbox to nodes of the settings, to all at the same time.

        Parameters
        ----------
        nodes
            By name; those for which something is due when left out.

        Raises
        ------
        catalog.errors.NotFoundError
            If there is no node of a name.
        """
        from catalog.outbox import due_nodes
        from workbench.pacs.deliver import deliver_to_all

        due = [each for each in due_nodes(self.catalog, now()) if each in self.settings.nodes]
        if isinstance(nodes, str):
            nodes = [nodes]
        if nodes is not None and not isinstance(nodes, Iterable):
            raise QuestionError(f"nodes are given by name, or a list of names, not as {named_kind(nodes)}")
        named = [self.node(name) for name in (due if nodes is None else nodes)]
        limited: list[str] = []
        receipts = deliver_to_all(
            self.catalog,
            named,
            listen=self._listen,
            now=now,
            wait=timedelta(seconds=self.settings.commitment_seconds),
            limited=limited.append,
        )
        return Receipts(receipts, note="; ".join(limited))

    def outbox(self, node: str | None = None) -> Receipts:
        """Everything that was ever queued, for one node or for all, and how far it came."""
        from catalog.outbox import deliveries
        from workbench.pacs.receipt import Receipt

        return Receipts([Receipt.of(each) for each in deliveries(self.catalog, node=node)])

    def withdraw(
        self,
        sent: "Receipt | OutputRecord | str",
        *,
        to: "str | Node",
        why: str,
        reason: str = "quality",
        quiet: bool = True,
    ) -> Receipts:
        """Take back what was sent to a node: out of the outbox, or by a rejection note (IHE IOCM).

        The receipts are that of the object, now `withdrawn`, and that of the note where one was needed.

        Parameters
        ----------
        sent
            Its receipt, the output of a run, or its SOP Instance UID.
        why
            In your words; it stands in the note, for those who read at the node.
        reason
            `quality`, `safety` (a danger to the patient), `worklist` (a wrong entry) or `retention`.

        Raises
        ------
        catalog.errors.NotFoundError
            If it was never queued for this node.
        catalog.errors.DeliveryError
            If it was withdrawn before, or is on its way just now.
        catalog.errors.EncodeError
            If there is no such reason.
        catalog.errors.QuestionError
            If it is none of these.
        """
        from workbench.sending import receipts_of
        from workbench.withdrawal import withdraw

        node = self._node_meant(to)
        uid = sent if isinstance(sent, str) else getattr(sent, "sop_instance_uid", None)
        if not isinstance(uid, str):
            raise QuestionError(
                "what is withdrawn is a receipt, an object of a run or a SOP Instance UID, not "
                f"{named_kind(sent)}"
            )
        taken = withdraw(
            self.catalog,
            uid,
            node.name,
            reason=reason,
            why=why,
            outbox_folder=self.settings.outbox_folder,
            now=now,
        )
        note = ""
        if len(taken) > 1:
            note = self._deliver(node, quiet=quiet)
        return Receipts(receipts_of(self.catalog, taken), note=note)
