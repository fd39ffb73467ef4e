"""Of a bench: batches of studies from a node."""

import errno
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catalog.arrays import arrays_of
from catalog.checks import held
from catalog.errors import DeliveryError, NotFoundError, QuestionError, SheetError
from catalog.identifiers import folder_name
from catalog.locks import alone
from catalog.matching import check_count
from catalog.query import instances_of
from catalog.records import RemoteSeries
from catalog.remotes import record_remotes
from catalog.sheet import nearest
from workbench.bench.pixels import Pixels
from workbench.elsewhere import RECEIVED, no_room
from workbench.harvest.answers import Expected
from workbench.harvest.gaps import Here, gaps
from workbench.harvest.journal import JOURNAL, Journal
from workbench.harvest.plan import Plan, items_of_question, items_of_sheet
from workbench.harvest.report import GapReport
from workbench.harvest.run import harvest
from workbench.harvest.state import State, planned, state_of
from workbench.harvest.windows import window_of
from workbench.progress import bar
from workbench.sheets import read_sheet

if TYPE_CHECKING:
    import pandas as pd

    from workbench.pacs.node import Node

_UNBOUND = 1e6
"""Megabytes a second; what was just written is read back as fast as it goes."""
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")


def _local_time() -> datetime:
    return datetime.now().astimezone()


class Harvests(Pixels):
    """Gets batches of studies from nodes, and says what is missing."""

    def harvest(
        self,
        name: str,
        table: "str | Path | pd.DataFrame | None" = None,
        *,
        node: str | None = None,
        match: Mapping[str, str] | None = None,
        hours: str | None = None,
        rate: float | None = None,
        ingest: bool | None = None,
        answers: int | None = None,
        wait: bool = True,
        quiet: bool = False,
        now: Callable[[], datetime] = _local_time,
        sleep: Callable[[float], None] = time.sleep,
        **matching: Any,
    ) -> GapReport:
        """Get a batch of studies from a node, politely; the same again goes on, and asks for what is missing.

        The batch is a table of accession numbers (or of UIDs of studies or series), or a question with a
        range of study dates, which is put day by day, and in parts of a day where the node limits its
        answers. Each step is durable before the next begins, so a harvest may be ended at any moment. With
        neither, the harvest of that name goes on. Files go into the folder `received` of this bench; each is
        read back from the disk once, and its digest recorded.

        Parameters
        ----------
        table
            A CSV, Parquet or Excel file, or a DataFrame. A column `patient_id`, `study_date` or `modality`
            narrows what a row finds; a row that finds studies of several patients gets none.
        node
            Name of a node of the settings; the only one when left out.
        match
            Column to meaning, where names of columns do not say it: `{"Auftrag": "accession_number"}`.
        hours
            In which the node may be asked: `20:00-06:00`, by the clock of this machine. A series under way is
            finished. Like the next three as the last time, where it is not said.
        rate
            Megabytes a second, on average.
        ingest
            Write pixel data into Zarr, too.
        answers
            How many studies the node tells of at most, where it ends there without a word.
        wait
            Whether to wait outside the hours; else it ends there.
        **matching
            Attributes of patient, study and series with what they shall match: `study_date="20260101-"`.

        Raises
        ------
        catalog.errors.QuestionError
            If there is a table and a question, or neither says which studies; or another process is at it.
        catalog.errors.SheetError
            If the table cannot be read, or does not say which studies are wanted.
        catalog.errors.NotFoundError
            If there is no such file, node, or harvest to go on with.
        catalog.errors.NodeUnavailableError
            If the node does not answer any more; what came is kept.
        catalog.errors.NoRoomError
            If the disk is nearly full; the same again goes on when there is room.
        catalog.errors.JournalError
            If what it noted before cannot be read.
        """
        folder = self._harvest_folder(name)
        journal = Journal(folder)
        new = self._plan(table, node, match, matching, now)
        if new is None:
            self._known_harvest(name)
        try:
            with alone(folder, wait=False), bar("harvest", "questions", quiet=quiet) as progress:
                state = journal.state()
                plan = _with(new or state.plan, state.plan, hours, rate, ingest, answers)
                if plan != state.plan:
                    journal.add(planned(plan))
                    state = state_of([planned(plan)], state)
                hands = _Hands(self, self.node(plan.node), plan)
                state = harvest(
                    state, journal.add, hands, now=now, elapsed=time.monotonic, sleep=sleep, wait=wait,
                    progress=progress,
                )  # fmt: skip
        except BlockingIOError:
            raise QuestionError(f"another process is at harvest {name}; it ends with that process") from None
        return self._gap_report(name, state)

    def harvest_report(self, name: str) -> GapReport:
        """What was expected of a harvest, what of it is here and how far, and what is missing.

        Nobody is asked anything.

        Raises
        ------
        catalog.errors.NotFoundError
            If there is no harvest of that name.
        """
        return self._gap_report(name, self._known_harvest(name))

    def _gap_report(self, name: str, state: State) -> GapReport:
        received = self.settings.home / RECEIVED
        uids = list(state.expected)
        known = held(self.catalog, uids)
        here = {}
        for uid in uids:
            place = received / folder_name(uid)
            files = sum(1 for _ in place.glob("*.dcm")) if place.is_dir() else 0
            each = known.get(uid)
            here[uid] = Here(
                received=max(files, each.instances if each else 0),
                indexed=each.instances if each else 0,
                hashed=each.hashed if each else 0,
                rotten=each.rotten if each else 0,
                ingested=sum(array.sources for array in arrays_of(self.catalog, uid)),
            )
        return GapReport(name, state, gaps(state, here))

    def _plan(
        self,
        table: "str | Path | pd.DataFrame | None",
        node: str | None,
        match: Mapping[str, str] | None,
        matching: Mapping[str, Any],
        now: Callable[[], datetime],
    ) -> Plan | None:
        """What is asked for; `None` where it is what was asked for before."""
        if table is None and not matching:
            if node is not None or match is not None:
                raise QuestionError(
                    "a harvest is a table, or a question with the days of its studies: "
                    "StudyDate=20260101-20260131"
                )
            return None
        if table is not None and matching:
            raise QuestionError("a harvest is a table or a question, not both: put the rest into the table")
        named = self._one_node(node)
        if table is not None:
            items, refused = items_of_sheet(read_sheet(table), match)
            if not (items or refused):
                raise SheetError("the table has no rows: nothing would be asked for; give it one a study")
            return Plan(named, items, refused)
        from workbench.pacs.matching import asked_of  # pydicom takes a while to load

        asked = {attribute.column: value for attribute, value in asked_of(matching).items()}
        return Plan(named, items_of_question(asked, now().date()))

    def _one_node(self, name: str | None) -> str:
        known = list(self.settings.nodes)
        if name is None and len(known) == 1:
            return known[0]
        if name is None and known:
            raise QuestionError(f"say which node is asked: node={known[0]!r}; there are {', '.join(known)}")
        return self.node(name or "PACS").name

    def _harvest_folder(self, name: str) -> Path:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise QuestionError(
                "the name of a harvest has 1 to 64 letters, digits, dots, hyphens and underscores, and does "
                "not begin with a dot"
            )
        return self.settings.home / "harvests" / name

    def _known_harvest(self, name: str) -> State:
        state = Journal(self._harvest_folder(name)).state()
        if state.plan is None:
            known = sorted(each.parent.name for each in self.settings.home.glob(f"harvests/*/{JOURNAL}"))
            there = f"there are {', '.join(known)}" if known else "there is none yet"
            raise NotFoundError(
                f"no harvest {name}{nearest(name, known)}; {there}. A new one wants a table, or a question "
                "with the days of its studies"
            )
        return state


def _with(
    plan: Plan | None,
    before: Plan | None,
    hours: str | None,
    rate: float | None,
    ingest: bool | None,
    answers: int | None,
) -> Plan:
    """A plan as it is carried out: what is not said is as it was before."""
    assert plan is not None
    if hours:
        window_of(hours)
    if rate is not None and (isinstance(rate, bool) or not isinstance(rate, int | float) or not rate > 0):
        raise QuestionError(f"rate is in megabytes a second, above 0, not {rate!r:.40}")
    if answers is not None:
        check_count("answers", answers)
    kept = before or plan
    return replace(
        plan,
        hours=kept.hours if hours is None else hours,
        rate=kept.rate if rate is None else rate,
        ingest=kept.ingest if ingest is None else ingest,
        answers=kept.answers if answers is None else answers,
    )


class _Hands:
    """A node and a bench; a `workbench.harvest.run.Hands`."""

    def __init__(self, bench: Harvests, node: "Node", plan: Plan) -> None:
        self._bench, self._node, self._plan = bench, node, plan
        settings = bench.settings
        self._listen = bench._listen
        self._into = settings.home / RECEIVED
        self._reserve = settings.receive_free_mb << 20

    @property
    def hours(self) -> str:
        """Those of the node's limits."""
        return self._node.limits.hours

    def ask(self, matching: Mapping[str, str]) -> list[RemoteSeries]:
        """Ask the node; where it limits its answers, every series, that the number of studies be known."""
        if self._plan.answers is not None:
            matching = {name: value for name, value in matching.items() if name != "modality"}
        return list(self._node.survey(matching))

    def is_there(self) -> bool:
        """Whether it answers a C-ECHO, or what stands for it."""
        try:
            self._node.echo()
        except DeliveryError:
            return False
        return True

    def note(self, told: list[RemoteSeries]) -> None:
        """Record them without a file, as an index of the node does."""
        record_remotes(self._bench.catalog, self._node.address, told)

    def here(self, series_instance_uid: str) -> int:
        """Count instances with a file."""
        return len(instances_of(self._bench.catalog, series_instance_uid))

    def fetch(self, expected: Expected) -> int:
        """Get it, and index what came, also where not all did."""
        study, series = expected.study_instance_uid, expected.series_instance_uid
        place = self._into / folder_name(series)
        try:
            paths = self._node.retrieve(study, series, self._into, self._listen, reserve=self._reserve)
        except (DeliveryError, OSError) as error:
            if place.is_dir():  # what came is kept, and known
                self._bench.index(place, quiet=True)
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                raise no_room(self._into, self._reserve) from None
            raise
        if place.is_dir():  # what `workbench receive` took in is in the catalog
            self._bench.index(place, quiet=True)
        return sum(each.stat().st_size for each in paths)

    def finish(self, series_instance_uid: str) -> str:
        """Read the files back, and write the arrays where that is wanted; reports and the like have none."""
        self._bench.scrub(series_instance_uid, rate=_UNBOUND, quiet=True)
        if not self._plan.ingest:
            return ""
        from pipelines.kinds import Way, kind_of

        report = self._bench.ingest(series_instance_uid, fetch=False, quiet=True)
        no_arrays = {
            each.sop_instance_uid
            for each in instances_of(self._bench.catalog, series_instance_uid)
            if kind_of(each.sop_class_uid, each.transfer_syntax_uid).way is Way.NONE
        }
        failed = [each.reason for each in report.rejected if each.sop_instance_uid not in no_arrays]
        return f"not ingested: {failed[0]}" if failed else ""
