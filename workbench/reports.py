"""What a person is told about what was done: a line of text, a table, JSON for machines."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from catalog.arrays import one_part
from catalog.records import (
    ArrayRecord,
    Finding,
    IndexReport,
    OutputRecord,
    Rejection,
    RemoteReport,
    RunItem,
    RunRecord,
    as_dict,
)
from workbench.tables import Table, plain, unit_of

if TYPE_CHECKING:
    import pandas as pd

    from pipelines.encode.originals import Originals
    from pipelines.ingest import Rejected
    from pipelines.store.mismatch import Mismatch
    from workbench.documents import DocumentsRead
    from workbench.pacs.receipt import Receipt


NOTHING_SENT = "none yet, or none due; workbench send OBJECT --to NODE sends, workbench outbox lists"
INDEX_FIRST = "workbench index FOLDER reads series in"
"""What a person does next where there are none."""
NOTHING_TO_DO = f"nothing to do: no series was asked for, or none is there; {INDEX_FIRST}"


def line(label: str, count: int, unit: str, text: str, seconds: float | None = None) -> str:
    """One line a stage: ` ingest       14 series  13 arrays …   2.1 s`."""
    took = "" if seconds is None else f"{seconds:.1f} s"
    return f" {label:<8} {count:>7,} {unit_of(count, unit):<8} {text:<70} {took:>8}".rstrip()


def counted(*parts: tuple[int, str]) -> str:
    """The parts that are not zero, joined: `12 added · 3 rejected`."""
    return " · ".join(f"{count:,} {unit_of(count, what)}" for count, what in parts if count)


# --- index -----------------------------------------------------------------------------------------------


class Indexed(Table[Rejection]):
    """What one index did; its rows are the files that were rejected, each with its reason."""

    def __init__(self, report: IndexReport, documents: "DocumentsRead | None" = None) -> None:
        self.report = report
        self.documents = documents
        """What became of the texts of reports, where it was this run that read them."""
        columns = {"path": "rejected file", "reason": "reason"}
        super().__init__(report.rejected, columns, noun="rejected", note=self._counts())

    @property
    def rejected(self) -> tuple[Rejection, ...]:
        """Files that could not be taken up, and why."""
        return self.report.rejected

    def as_json(self) -> dict[str, Any]:
        """The report as `workbench index --json` prints it."""
        return as_dict(self.report)

    def line(self) -> str:
        """One line: how many files, and what became of them."""
        text = self._counts()
        if self.rejected:
            text += f" · {len(self):,} rejected (reasons: workbench index --last)"
        said = line("index", self.report.files, "files", text, self.report.seconds)
        return said + (f"\n{documents_line(self.documents)}" if self.documents else "")

    def reasons(self) -> str:
        """Every rejection with its reason, one a line."""
        return "".join(f"\n   {plain(f'{each.path}: {each.reason}')}" for each in self)

    def _counts(self) -> str:
        report = self.report
        text = counted(
            (report.added, "added"),
            (report.updated, "updated"),
            (report.unchanged, "unchanged"),
            (len(report.vanished), "vanished"),
        )
        if report.unchanged and not (report.added or report.updated or report.vanished):
            text += " · nothing changed"
        return text or "no file there that could be taken up"


class Fetched(Indexed):
    """What came of series elsewhere, as it was indexed; and those that did not come whole."""

    def __init__(self, indexed: Indexed, short: tuple[Rejection, ...]) -> None:
        self.short = short
        """Series of which fewer instances are here than their source told of; `path` is their UID."""
        super().__init__(indexed.report, indexed.documents)

    def as_json(self) -> dict[str, Any]:
        """The report as `workbench fetch --json` prints it."""
        return super().as_json() | {"short": [as_dict(each) for each in self.short]}

    def line(self) -> str:
        """One line: how many files, and what became of them; and one for each series that is not whole."""
        return super().line() + "".join(f"\n   series {each.path}: {each.reason}" for each in self.short)

    def _counts(self) -> str:
        return " · ".join(filter(None, (super()._counts(), counted((len(self.short), "not whole")))))


class IndexedElsewhere(Table[Rejection]):
    """What was learnt from a source elsewhere; its rows are the series that could not be recorded."""

    def __init__(self, report: RemoteReport) -> None:
        self.report = report
        columns = {"path": "rejected series", "reason": "reason"}
        super().__init__(report.rejected, columns, noun="rejected", note=self._counts())

    @property
    def rejected(self) -> tuple[Rejection, ...]:
        """Series that could not be recorded, and why."""
        return self.report.rejected

    def as_json(self) -> dict[str, Any]:
        """The report as `workbench index idc --json` prints it."""
        return as_dict(self.report)

    def line(self) -> str:
        """One line: how many series, and what became of them."""
        text = counted((len(self), "rejected"))
        return line(
            "index",
            self.report.series,
            "series",
            " · ".join(filter(None, (self._counts(), text))),
            self.report.seconds,
        )

    def reasons(self) -> str:
        """Every rejection with its reason, one a line."""
        return "".join(f"\n   {plain(f'{each.path}: {each.reason}')}" for each in self)

    def _counts(self) -> str:
        report = self.report
        return counted(
            (report.added, "added"),
            (report.updated, "updated"),
            (report.unchanged, "unchanged"),
            (report.withdrawn, "withdrawn"),
        )


def documents_line(read: "DocumentsRead") -> str:
    """One line: how many reports were read, and what became of them."""
    words = {
        "read": "with text",
        "empty": "without text",
        "failed": "not readable",
        "due": "to be read later",
    }
    parts = [f"{count:,} {words[state]}" for state, count in sorted(read.states.items())]
    text = " · ".join(parts) + " (workbench documents lists them)"
    return line("reports", read.documents, "reports", text, read.seconds)


class Findings(Table[Finding]):
    """What is wrong with series, one row each, with how often each kind occurs."""

    def __init__(self, found: Sequence[Finding]) -> None:
        self.counts = dict(Counter(each.kind for each in found).most_common())
        columns = {
            "kind": "finding", "words": "what", "part": "part", "series_instance_uid": "series instance uid",
            "sop_instance_uid": "sop instance uid",
        }  # fmt: skip
        counts = ", ".join(f"{kind} {count:,}" for kind, count in self.counts.items())
        super().__init__(found, columns, noun="findings", note=counts)

    def as_json(self) -> dict[str, Any]:
        """The table as `workbench findings --json` prints it."""
        return {"counts": self.counts, "findings": [as_dict(each) for each in self]}


# --- ingest and verify -----------------------------------------------------------------------------------


KINDS = {
    "volume": ("volume", "volumes"),
    "stack": ("stack of frames", "stacks of frames"),
    "video": ("video left as it is", "videos left as they are"),
    "video frames": ("video as chunks", "videos as chunks"),
}
"""Kinds of arrays, with the words for one and for several of them; of the others an s makes the plural."""
REMARKS = {
    "stack": "stack of frames",
    "video": "video left as it is (workbench ingest UID --video chunks stores its frames)",
}
"""What a reader is told of each array of these kinds."""


def _kinds(arrays: Iterable[ArrayRecord]) -> list[tuple[int, str]]:
    """How many there are of each kind, in words; in the order of `KINDS`, then of the alphabet."""
    counts = Counter(each.kind for each in arrays)
    order = [*KINDS, *sorted(counts.keys() - KINDS.keys())]
    words = {kind: KINDS.get(kind, (kind, f"{kind}s")) for kind in order}
    return [(counts[kind], words[kind][counts[kind] != 1]) for kind in order]


class IngestReport(Table[ArrayRecord]):
    """The arrays of one ingest, and the series that have none with the reason."""

    def __init__(
        self,
        arrays: tuple[ArrayRecord, ...],
        rejected: "tuple[Rejected, ...]",
        seconds: float,
        left: Mapping[str, str] = MappingProxyType({}),
        rotten: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.rejected = rejected
        self.left = left
        """Series Instance UID to a sentence, of the series that stay in the archive."""
        self.rotten = rotten
        """Series Instance UID to what a scrub found of it, in words."""
        self.seconds = seconds
        columns = {
            "series_instance_uid": "series instance uid", "label": "part", "kind": "kind", "shape": "shape",
            "reason": "reason",
        }  # fmt: skip
        super().__init__(
            arrays, columns, noun="arrays", note=counted((len(rejected), "instances without one"))
        )

    def part(self, number: int | None) -> ArrayRecord:
        """The array of one series that was ingested: the only one, or that of a number.

        Raises
        ------
        NotFoundError
            If there are several to choose from, or none of that number.
        """
        return one_part(self, number)

    @property
    def without(self) -> dict[str, str]:
        """Series Instance UID to reason, of the series that have no array at all."""
        there = {each.series_instance_uid for each in self}
        return {
            each.series_instance_uid: each.reason
            for each in self.rejected
            if each.series_instance_uid not in there
        }

    def as_json(self) -> dict[str, Any]:
        """The report as `workbench ingest --json` prints it."""
        return {
            "arrays": [as_dict(each) for each in self],
            "rejected": [as_dict(each) for each in self.rejected],
            "left": [{"series_instance_uid": uid, "reason": reason} for uid, reason in self.left.items()],
            "rotten": [{"series_instance_uid": uid, "reason": why} for uid, why in self.rotten.items()],
        }

    def line(self) -> str:
        """One line: how many series, and what they became."""
        series = {each.series_instance_uid for each in self} | set(self.without) | set(self.left)
        text = counted(*_kinds(self), (len(self.left), "left in the archive"), (len(self.without), "without"))
        return line("ingest", len(series), "series", text or NOTHING_TO_DO, self.seconds)

    def reasons(self) -> str:
        """Why instances are in no array and parts are no volume, one a line."""
        left_out = Counter((each.series_instance_uid, each.reason) for each in self.rejected)
        lines = [f"{uid}: {count:,} without an array: {why}" for (uid, why), count in left_out.items()]
        lines += [f"{uid}: {reason}" for uid, reason in self.left.items()]
        lines += [f"{uid}: rotten: {reason}" for uid, reason in self.rotten.items()]
        lines += [
            f"{' '.join([each.series_instance_uid, each.label]).strip()}: {REMARKS.get(each.kind, each.kind)}"
            + (f", {each.reason}" if each.reason else "")
            for each in self
            if each.reason or each.kind == "video"
        ]
        return "".join(f"\n   {plain(each)}" for each in lines)


class VerifyReport(Table["Mismatch"]):
    """The mismatches one verification found; empty where the archive and the arrays agree."""

    def __init__(self, frames: int, mismatches: "tuple[Mismatch, ...]", seconds: float) -> None:
        self.frames = frames
        self.mismatches = mismatches
        self.seconds = seconds
        columns = {
            "what": "what", "frame_index": "frame", "path": "path", "sop_instance_uid": "sop instance uid",
        }  # fmt: skip
        super().__init__(mismatches, columns, noun="mismatches", note=f"{frames:,} frames compared")

    def as_json(self) -> dict[str, Any]:
        """The report as `workbench verify --json` prints it."""
        return {"frames": self.frames, "mismatches": [as_dict(each) for each in self.mismatches]}

    def line(self) -> str:
        """One line: how many frames, and whether they agree."""
        equal = "all equal" if self.frames else "nothing is ingested yet: workbench ingest --all"
        text = counted((len(self.mismatches), "mismatches")) or equal
        return line("verify", self.frames, "frames", text, self.seconds)


# --- export ----------------------------------------------------------------------------------------------


class Exported:
    """The instances that were written as DICOM again, and what is not as it was."""

    def __init__(self, originals: "Originals") -> None:
        self.originals = originals

    def as_json(self) -> dict[str, Any]:
        """The report as `workbench export --dicom --json` prints it."""
        return {**as_dict(self.originals), "paths": [str(path) for path in self.originals.paths]}

    def line(self) -> str:
        """One line: how many files, and how much is not as it was."""
        told = self.originals
        text = counted((len(told.rejected), "not written"), (len(told.left_out), "elements not in the store"))
        return line("export", len(told.paths), "files", text or "every element that is before the pixel data")

    def reasons(self) -> str:
        """Why instances were not written, and which elements are missing or changed, one a line."""
        told = self.originals
        lines = [f"{uid}: not written: {reason}" for uid, reason in told.rejected.items()]
        lines += [f"changed: {each}" for each in told.changed]
        lines += [f"not in the store: {each}" for each in told.left_out]
        return "".join(f"\n   {plain(each)}" for each in lines)


# --- run -------------------------------------------------------------------------------------------------


class Run(Table[RunItem]):
    """One recorded application of a step: an item a series (part), with its outputs or its reason."""

    def __init__(self, record: RunRecord, about: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self.record = record
        self.about = about or {}
        """What the table of an experiment says of series, by Series Instance UID."""
        columns = {
            "series_instance_uid": "series instance uid", "part": "part", "state": "state", "seconds": "s",
            "reason": "reason",
        }  # fmt: skip
        self._step = record.step.rpartition(":")[2]
        note = f"step {self._step} · run {record.run[:8]}" + ("" if record.finished else " · stopped early")
        super().__init__(record.items, columns, noun="arrays", note=note)

    @property
    def succeeded(self) -> bool:
        """Whether there was something to do, it ran to its end, and nothing failed."""
        return len(self) > 0 and self.record.finished is not None and not self.failed

    @property
    def failed(self) -> Table[RunItem]:
        """The items that failed, each with its reason."""
        return Table([each for each in self if each.state == "failed"], self.columns, noun="failed")

    @property
    def outputs(self) -> Table[OutputRecord]:
        """Everything the run made: arrays, SEG and SR objects."""
        columns = {
            "kind": "kind", "sop_instance_uid": "sop instance uid", "series_instance_uid": "of series",
            "path": "path",
        }  # fmt: skip
        return Table([output for item in self for output in item.outputs], columns, noun="outputs")

    @property
    def objects(self) -> Table[OutputRecord]:
        """The DICOM objects among the outputs: what a PACS takes."""
        columns = {
            "kind": "object", "sop_instance_uid": "sop instance uid", "series_instance_uid": "of series",
        }  # fmt: skip
        there = [output for output in self.outputs if output.sop_instance_uid is not None]
        return Table(there, columns, noun="objects", note="workbench send OBJECT... --to NODE")

    @property
    def measurements(self) -> Table[Mapping[str, Any]]:
        """What the step measured, one row each, with the series and part it belongs to."""
        rows = [
            {"series_instance_uid": item.series_instance_uid, "part": item.part, **measurement}
            for item in self
            for measurement in item.measurements
        ]
        columns = {
            "name": "measurement", "value": "value", "unit": "unit", "part": "part",
            "series_instance_uid": "of series",
        }  # fmt: skip
        return Table(rows, columns, noun="measurements", note="all in: --json, or run.table in Python")

    @property
    def table(self) -> "pd.DataFrame":
        """The measurements, one row each, with the series, part and run they belong to.

        Of an experiment it has the columns of the researcher's table, too; one whose name is taken ends in
        `_of_table`.
        """
        import pandas as pd

        rows = [{**row, "run": self.record.run} for row in self.measurements]
        taken = {name for row in rows for name in row}
        for row in rows:
            said = self.about.get(str(row["series_instance_uid"]), {})
            row |= {f"{name}_of_table" if name in taken else name: cell for name, cell in said.items()}
        return pd.DataFrame(rows)

    def as_json(self) -> dict[str, Any]:
        """The run as `workbench run --json` prints it."""
        failed = [
            {"series_instance_uid": each.series_instance_uid, "part": each.part, "reason": each.reason}
            for each in self.failed
        ]
        return {
            "run": self.record.run,
            "succeeded": len(self) - len(failed),
            "failed": failed,
            "outputs": [as_dict(each) for each in self.outputs],
            "measurements": list(self.measurements),
        }

    def line(self) -> str:
        """One line: how many series, and what became of them."""
        done, failed = sum(each.state == "succeeded" for each in self), len(self.failed)
        text = counted((done, "ok"), (len(self) - done - failed, "as before"), (failed, "failed"))
        started, finished = self.record.started, self.record.finished
        if finished is None:
            stopped = "stopped early, the same command goes on from there"
            return line("run", len(self), "arrays", f"{self._step}: {text or 'nothing done'} · {stopped}")
        seconds = (finished - started).total_seconds()
        return line("run", len(self), "arrays", f"{self._step}: {text or NOTHING_TO_DO}", seconds)

    def reasons(self) -> str:
        """Why items failed, one a line."""
        lines = [f"{each.series_instance_uid} part {each.part}: {each.reason}" for each in self.failed]
        return "".join(f"\n   {plain(each)}" for each in lines)


# --- send ------------------------------------------------------------------------------------------------


STAGES = {"queued": "queued", "validated": "validated", "stored": "stored", "committed": "committed",
          "confirmed": "read back"}  # fmt: skip
"""Stages of a delivery a receipt shows, with the words for them; each says when."""


_DONE = frozenset({"confirmed", "withdrawn"})
"""States of deliveries about which nobody needs to do anything."""


class Receipts(Table["Receipt"]):
    """One receipt an object: how far it came on its way to the node, and when."""

    def __init__(self, receipts: "Sequence[Receipt]", *, note: str = "") -> None:
        columns = {"kind": "receipt", "sop_instance_uid": "sop instance uid", "node": "node", **STAGES}
        columns |= {"state": "state", "reason": "reason", "next_step": "next"}
        if all(each.state in _DONE for each in receipts):
            del columns["reason"], columns["next_step"]
        super().__init__(receipts, columns, noun="receipts", note=note or ("" if receipts else NOTHING_SENT))

    @property
    def succeeded(self) -> bool:
        """Whether every object was given back by its node as it was sent, or taken back as was asked."""
        return all(each.state in _DONE for each in self)

    def as_json(self) -> dict[str, Any]:
        """The receipts as `workbench send --json` prints them."""
        return {"deliveries": [as_dict(each) for each in self]}

    def line(self, seconds: float | None = None) -> str:
        """One line: how many objects, and how many passed each stage."""
        reached = [set(each.times) for each in self]
        words = {"stored": "stored", "committed": "committed", "confirmed": "read back, identical"}
        parts = [(sum(stage in times for times in reached), what) for stage, what in words.items()]
        failed = (sum(each.state == "failed" for each in self), "failed")
        refused = (sum(each.state == "refused" for each in self), "refused")
        nodes = ", ".join(sorted({each.node for each in self}))
        text = counted(*parts, refused, failed) or "waiting for the node"
        return line("send", len(self), "objects", f"{nodes}: {text}" if nodes else "nothing is due", seconds)

    def reasons(self) -> str:
        """Why objects wait or failed, and what to do next, one a line."""
        lines = [
            f"{each.kind} {each.sop_instance_uid}: {each.reason}; {each.next_step}"
            for each in self
            if each.state not in _DONE
        ]
        return "".join(f"\n   {plain(each)}" for each in lines)

    def _row(self, record: "Receipt") -> Mapping[str, Any]:
        times = {stage: f"{at.astimezone():%H:%M:%S}" for stage, at in record.times.items()}
        return {**as_dict(record), **times}
