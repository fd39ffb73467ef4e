"""Of a bench: earlier studies of the same patients."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from catalog.checks import held
from catalog.errors import DeliveryError, NodeUnavailableError, NotFoundError, QuestionError
from catalog.identifiers import is_uid
from catalog.query import find_series
from catalog.records import SeriesRecord, as_dict
from catalog.remotes import record_remotes
from workbench.bench.pixels import Pixels
from workbench.pacs.node import node_in
from workbench.priors import Prior, priors_of
from workbench.progress import bar
from workbench.reports import counted, line
from workbench.selection import Selection, selected_series, uid_of
from workbench.tables import Table

if TYPE_CHECKING:
    from workbench.pacs.node import Node

COLUMNS = {
    "study_date": "date", "modalities": "modalities", "body_parts": "body parts", "series": "series",
    "expected": "expected", "instances": "here", "state": "state", "reason": "reason",
    "study_instance_uid": "study instance uid",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class PriorStudy:
    """One earlier study that was wanted."""

    prior_of: str
    """Study Instance UID of the present one."""
    study_instance_uid: str
    study_date: str
    modalities: tuple[str, ...]
    body_parts: tuple[str, ...]
    series: int
    expected: int | None
    """Instances, as the node told; `None` where it did not."""
    instances: int
    """Those that are here."""
    state: str
    """`fetched`, `here before`, or `missing`."""
    reason: str = ""
    """Why it is missing."""


class Prefetched(Table[PriorStudy]):
    """Earlier studies that were wanted, and what came of them."""

    def __init__(self, found: Sequence[PriorStudy], studies: int) -> None:
        self.studies = studies
        """How many studies there are that they are priors of."""
        super().__init__(tuple(found), COLUMNS, noun="priors", note=self._counts(found))

    @property
    def is_complete(self) -> bool:
        """Whether all are here."""
        return all(each.state != "missing" for each in self)

    def as_json(self) -> list[dict[str, Any]]:
        """The table as `workbench prefetch --json` prints it."""
        return [as_dict(each) for each in self]

    def line(self) -> str:
        """One line: how many priors, and what came of them."""
        return line("prefetch", len(self), "priors", self._counts(self.records))

    def _counts(self, found: Sequence[PriorStudy]) -> str:
        without = self.studies - len({each.prior_of for each in found})
        states = [(sum(each.state == state for each in found), state) for state in _STATES]
        return counted(*states, (without, f"of {self.studies:,} studies without a prior"))


_STATES = ("fetched", "here before", "missing")


class Priors(Pixels):
    """Gets earlier studies of the patients that somebody looks at."""

    def prefetch(
        self, series: Selection, *, priors: int = 2, node: str | None = None, quiet: bool = False
    ) -> Prefetched:
        """Get earlier studies of the same patients from a node, so that they are here when they are opened.

        Those with the same modality and body part come first, then those with the modality, then the newest.
        The same patient has the same Patient ID, and no name, birth date or issuer that contradicts.

        Parameters
        ----------
        series
            Series, Study Instance UIDs, or a question: `"StudyDate >= 20260101 and Modality == 'CT'"`.
        priors
            How many studies at most, of each study.
        node
            Name of the node that is asked; the one that the study is known from, or the only one, when left
            out.

        Raises
        ------
        catalog.errors.NotFoundError
            If there is no such series, study or node.
        catalog.errors.QuestionError
            If a question is not understood, `priors` is below 1, or it must be said which node is asked.
        catalog.errors.DeliveryError
            If the node does not answer, or refuses the question; what came is kept.
        """
        if not isinstance(priors, int) or priors < 1:
            raise QuestionError(f"priors is a number from 1 on, not {priors!r}")
        selected = sorted(self._of(series), key=lambda each: each.study_instance_uid)
        studies = [list(some) for _, some in groupby(selected, key=lambda each: each.study_instance_uid)]
        rows: list[PriorStudy] = []
        with bar("prefetch", "studies", quiet=quiet) as progress:
            for done, present in enumerate(studies, start=1):
                asked = self.node(node) if node is not None else self._node_of(present)
                rows += self._priors_of(present, asked, priors)
                progress(done, len(studies))
        return Prefetched(rows, len(studies))

    def _of(self, series: Selection) -> list[SeriesRecord]:
        """Series that are meant; a UID may be that of a study, and a text that is no UID is a question."""
        if isinstance(series, str) and not is_uid(series):
            return find_series(self.catalog, where=series)
        if series is None or isinstance(series, SeriesRecord):
            return selected_series(self.catalog, series)
        given = [series] if isinstance(series, str) else list(series)
        found: dict[str, SeriesRecord] = {}
        for each in given:
            of_study = find_series(self.catalog, study_instance_uid=each) if isinstance(each, str) else []
            for one in of_study or self._one(each):
                found[one.series_instance_uid] = one
        return list(found.values())

    def _one(self, series: str | SeriesRecord) -> list[SeriesRecord]:
        try:
            return selected_series(self.catalog, series)
        except NotFoundError:
            raise NotFoundError(
                f"no series and no study {uid_of(series)} in the catalog; `workbench series` lists what "
                "there is"
            ) from None

    def _node_of(self, present: Sequence[SeriesRecord]) -> "Node":
        told = {name for each in present if (name := node_in(each.remote))}
        known = told if len(told) == 1 else set(self.settings.nodes)
        if len(known) == 1:
            return self.node(*known)
        if not known:
            return self.node("PACS")  # says how to add one
        raise QuestionError(f"say which node is asked: node='NAME'; there are {', '.join(sorted(known))}")

    def _priors_of(self, present: Sequence[SeriesRecord], node: "Node", at_most: int) -> list[PriorStudy]:
        first = present[0]
        if not (first.patient_id and first.study_date):
            return []
        told = node.survey({"patient_id": first.patient_id, "study_date": f"-{first.study_date}"})
        found = priors_of(present, told, at_most)
        record_remotes(self.catalog, node.address, [one for each in found for one in each.series])
        return [self._brought_prior(first.study_instance_uid, each) for each in found]

    def _brought_prior(self, prior_of: str, prior: Prior) -> PriorStudy:
        uids = [str(each.values["series_instance_uid"]) for each in prior.series]
        before = held(self.catalog, uids)
        absent = [
            uid
            for uid, each in zip(uids, prior.series, strict=True)
            if uid not in before or before[uid].instances < (each.instances or 0)
        ]
        state, reason = "fetched" if absent else "here before", ""
        try:
            if absent and (short := self.fetch(absent, quiet=True).short):
                state, reason = "missing", short[0].reason
        except NodeUnavailableError:
            raise
        except DeliveryError as error:
            state, reason = "missing", str(error)
        return PriorStudy(
            prior_of,
            prior.study_instance_uid,
            prior.study_date,
            prior.modalities,
            prior.body_parts,
            len(prior.series),
            prior.instances,
            sum(each.instances for each in held(self.catalog, uids).values()),
            state,
            reason,
        )
