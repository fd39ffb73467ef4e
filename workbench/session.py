"""The composition root: a bench joins the catalog, its folders, a Dask client and the nodes."""

import atexit
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, overload

from catalog import cohorts as frozen
from catalog.arrays import arrays_of, record_arrays
from catalog.checks import forget_arrays, rot_of, warn_of
from catalog.corrections import deleted_series
from catalog.database import Catalog
from catalog.documents import make_due
from catalog.durable import make_folder
from catalog.errors import NotFoundError, QuestionError, RefusedError, SettingsError, words_of
from catalog.facets import count_facets
from catalog.fetch import Local
from catalog.findings import find_findings, record_ingested
from catalog.home import default_home
from catalog.identifiers import is_uid
from catalog.locks import shared
from catalog.objects import S3
from catalog.pages import FEW, found_series
from catalog.query import count_series, find_series, instances_of
from catalog.records import (
    ArrayRecord,
    CohortRecord,
    FacetCount,
    InstanceRecord,
    OutputRecord,
    Question,
    SeriesRecord,
)
from catalog.remotes import remote_of
from catalog.runs import find_items, save_run
from workbench.cluster import local_cluster, reading_on, threads_of
from workbench.cohorts import (
    Cohort,
    all_cohorts,
    approved_series,
    check_approvals,
    import_manifest,
    question_in,
)
from workbench.contact_sheet import FoundSeries
from workbench.documents import Documents, DocumentsRead, Studies, add_report, read_due, search
from workbench.elsewhere import RECEIVED, index_elsewhere, retrieve_series
from workbench.experiments import Experiment, about
from workbench.pacs.node import node_in
from workbench.progress import bar
from workbench.question import question
from workbench.reports import (
    INDEX_FIRST,
    Findings,
    Indexed,
    IndexedElsewhere,
    IngestReport,
    Receipts,
    Run,
    VerifyReport,
)
from workbench.selection import (
    Selection,
    arrays_in,
    elsewhere,
    files_of,
    one_series,
    require_here,
    selected_series,
    uid_of,
)
from workbench.settings import SETTINGS_FILE, Settings
from workbench.tables import Table
from workbench.thumbnails import fetched_of

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from distributed import Client

    from catalog.corrections import Author, CorrectionRecord
    from pipelines.ingest import Rejected
    from pipelines.store.multiscales import Level
    from workbench.corrections import Correction, Corrections
    from workbench.pacs.node import Node
    from workbench.pacs.receipt import Receipt
    from workbench.scrub import Scrubbed
    from workbench.structures import Structures

SERIES_COLUMNS = {
    "patient_id": "patient id",
    "patient_name": "name",
    "study_date": "date",
    "modality": "modality",
    "series_number": "no.",
    "series_description": "series",
    "body_part_examined": "body part",
    "instances": "instances",
    "series_instance_uid": "series instance uid",
}

FACET_COLUMNS = {"attribute": "attribute", "value": "value", "series": "series"}
ELSEWHERE = {"remote": "elsewhere"}
"""The column of series whose pixels are not here; only where there are some."""
OURS = {"ours": "our result"}
"""The column of results of ours that came back; only where there are some."""


def open(where: str | Path | None = None, **settings: Any) -> "Bench":
    """Open a bench, made when it is not there yet.

    Parameters
    ----------
    where
        Its folder, or the address of a shared catalog (`postgresql://…`); `WORKBENCH_HOME`, or
        `imaging-workbench` in the home folder, when left out.
    **settings
        Any field of `workbench.settings.Settings`; `home` beside the address of a shared catalog.

    Raises
    ------
    catalog.errors.SettingsError
        If the settings are impossible, or the folder cannot be made.
    catalog.errors.CatalogError
        If the catalog cannot be read or written.
    catalog.errors.SchemaError
        If the catalog was written by a newer workbench.
    """
    if isinstance(where, str) and "://" in where:
        settings, where = {"catalog": where, **settings}, settings.get("home")
        settings.pop("home", None)
    home = Path(where).expanduser().absolute() if where is not None else default_home().absolute()
    return Bench(Settings.load(home, **settings))


def _paths(instances: Sequence[InstanceRecord]) -> tuple[str, ...]:
    return tuple(each.path for each in instances)


def _at_home(rejected: "Rejected", local: Local) -> "Rejected":
    """What was rejected, by its address in the archive; not fetched is the reason that counts."""
    reason = local.failures.get(rejected.sop_instance_uid, rejected.reason)
    return replace(rejected, path=local.address(rejected.path), reason=reason)


def _now() -> datetime:
    return datetime.now(UTC)


class Bench:
    """One bench, open: the archive it knows, the arrays it keeps, the runs it made, the nodes it sends to."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        try:
            make_folder(settings.home)
        except OSError as error:
            words = words_of(error)
            raise SettingsError(f"{settings.home} cannot be the folder of a bench: {words}") from None
        self.catalog = Catalog(settings.catalog_url)
        self._fetched = fetched_of(self.catalog, settings)
        self._in_use = ExitStack()
        self._client: Client | None = None
        self._cluster: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<bench {self.settings.home}: {count_series(self.catalog):,} series>"

    def close(self) -> None:
        """Give up the Dask cluster, the copies of what lies elsewhere, and the catalog's connections."""
        self._in_use.close()
        if self._client is not None:
            self._client.close()  # type: ignore[no-untyped-call]  # distributed has few types
        if self._cluster is not None:
            self._cluster.close()
        self._client = self._cluster = None
        self.catalog.close()

    # --- archive and catalog -------------------------------------------------------------------------

    @overload
    def index(self, source: Literal["idc"], /, *, quiet: bool = False) -> IndexedElsewhere: ...  # type: ignore[overload-overlap]
    @overload
    def index(
        self,
        *paths: str | Path,
        workers: int | None = None,
        cluster: "Client | bool" = False,
        quiet: bool = False,
        **matching: Any,
    ) -> Indexed: ...
    def index(
        self,
        *paths: str | Path,
        workers: int | None = None,
        cluster: "Client | bool" = False,
        quiet: bool = False,
        **matching: Any,
    ) -> Indexed | IndexedElsewhere:
        """Read folders and files into the catalog; what has not changed is not read again.

        The text of reports is read afterwards (`documents`), also what an earlier run did not come to.
        ZIP and TAR archives, also packed ones, are read as folders, where they lie. A DICOMDIR
        that is given itself stands for the files it names. `s3://bucket/prefix` and `https://host/file` are
        read by ranges; `AWS_…` variables of the environment are who asks. `"idc"` stands for the
        index of the NCI Imaging Data Commons (extra `idc`): every series of it is recorded with the address
        of its bucket, without a file. A Parquet file of that form is read in the same way. `"pacs://NODE"`
        asks a node of the settings for its series (C-FIND or QIDO-RS), without a file either; `matching` are
        attributes of patient, study and series that it shall match: `study_date="20260101-"`.

        Parameters
        ----------
        workers
            Processes of this machine that read headers, every core when left out; few files are read here.
        cluster
            A Dask client, or `True` for that of this bench: its workers, which see the same files, read the
            headers instead. This process alone writes, and what is in the catalog then is the same.

        Raises
        ------
        catalog.errors.NotFoundError
            If a path does not exist.
        catalog.errors.SettingsError
            If an address cannot be, or credentials are missing.
        OSError
            If a server refuses or does not answer; what was read before is in the catalog.
        """
        if len(paths) == 1:
            told = index_elsewhere(self.catalog, paths[0], matching, self.node, quiet=quiet)
            if told is not None:
                return IndexedElsewhere(told)
        elif matching:
            raise QuestionError("attributes are matched by one node: bench.index('pacs://NODE', ...)")
        client = self.client if cluster is True else cluster or None
        return self._index_files(paths, workers=workers, client=client, quiet=quiet)

    def _index_files(
        self,
        paths: Sequence[str | Path],
        *,
        workers: int | None = None,
        client: "Client | None" = None,
        quiet: bool,
    ) -> Indexed:
        from catalog.index import index_paths  # pydicom takes a while to load, and a question needs none

        submit = reading_on(client) if client is not None else None
        count = workers or (threads_of(client) if client is not None else self.settings.cores)
        with bar("index", "files", quiet=quiet) as progress:
            report = index_paths(self.catalog, paths, workers=count, submit=submit, progress=progress)
        return Indexed(report, self._read_documents(quiet=quiet))

    def _read_documents(self, *, quiet: bool) -> DocumentsRead:
        with bar("documents", "documents", quiet=quiet) as progress:
            return read_due(self.catalog, self._fetched, threads=self.settings.cores, progress=progress)

    def fetch(self, series: Selection, *, quiet: bool = False) -> Indexed:
        """Get series that are known from elsewhere, so that they have instances here.

        The objects of a bucket are indexed where they lie, and copied when they are read; public buckets need
        `AWS_SKIP_SIGNATURE=true`. What a node has is copied into the folder `received` of this bench, by
        C-GET or C-MOVE, or by WADO-RS.

        Raises
        ------
        catalog.errors.NotFoundError
            If none of them is known from elsewhere, or there is nothing at an address.
        catalog.errors.SettingsError
            If credentials are missing.
        catalog.errors.DeliveryError
            If a node does not answer, or does not give all of a series; what came is indexed before.
        OSError
            If a server refuses or does not answer.
        """
        from workbench.pacs.node import ListenAddress

        selected = selected_series(self.catalog, series)
        told = [remote_of(self.catalog, each.series_instance_uid) for each in selected]
        of_nodes = [each for each in told if each is not None and node_in(each.address) is not None]
        places: list[str | Path] = [
            each.address.removesuffix("*") for each in told if each and each.address.startswith(S3)
        ]
        if not (of_nodes or places):
            raise NotFoundError("none of these series has an address elsewhere; index their files")
        listen = ListenAddress(self.settings.listen_host, self.settings.listen_port)
        into = self.settings.home / RECEIVED
        came, error = retrieve_series(of_nodes, self.node, listen, into, quiet=quiet)
        places += came
        if error is None:
            return self._index_files(places, quiet=quiet)
        if places:  # what came is kept, and known
            self._index_files(places, quiet=quiet)
        raise error

    def last_index(self) -> Indexed:
        """Report of the last index.

        Raises
        ------
        catalog.errors.NotFoundError
            If nothing was indexed yet.
        """
        from catalog.index import last_report

        report = last_report(self.catalog)
        if report is None:
            raise NotFoundError(
                f"nothing was indexed yet in {self.settings.home}; do: workbench index FOLDER"
            )
        return Indexed(report)

    def series(
        self, where: str | None = None, *, limit: int | None = None, page: int = 1, **matching: Any
    ) -> FoundSeries:
        """Find series: DICOM matching on attributes, and an expression over them.

        `.contact_sheet()` of what is found draws a picture of each. Of more than ten thousand series the
        records are read when they are wanted, in the order in which they came into the catalog; fewer are
        sorted by patient.

        Parameters
        ----------
        where
            For example `"SliceThickness <= 1.5 and not SeriesDescription ~ 'scout'"`; a series is found when
            one of its instances satisfies it. `finding` is what is wrong with it, see `findings`.
        limit, page
            How many at most, and which so many of them, from 1: the first thousand of a million are there at
            once, in the order in which they came into the catalog. `count` says how many there are.
        **matching
            Attribute (`modality` or `Modality`) to a value, a wildcard (`"CT*"`), a range of dates
            (`"20260101-20260131"`) or a list of values (PS3.4 C.2.2.2).

        Raises
        ------
        catalog.errors.QuestionError
            If an attribute or the expression is not understood.
        """
        if where is not None and not isinstance(where, str):
            raise QuestionError(f"where is an expression in a text, not {type(where).__name__}")
        found: Sequence[SeriesRecord]
        if limit is None:
            found = found_series(self.catalog, where, matching)
        else:
            found = find_series(self.catalog, where=where, limit=limit, page=page, **matching)
        note = "" if found or where or matching or page > 1 else INDEX_FIRST
        if limit is not None and len(found) == limit:
            note = f"page {page}, more with page={page + 1}"
        return FoundSeries(
            found,
            SERIES_COLUMNS
            | (ELSEWHERE if any(each.remote for each in islice(found, FEW)) else {})
            | (OURS if any(each.ours for each in islice(found, FEW)) else {}),
            catalog=self.catalog,
            settings=self.settings,
            question=Question(where, matching) if limit is None else None,
            note=note,
        )

    def count(self, where: str | None = None, **matching: Any) -> int:
        """How many series `series` would find."""
        return count_series(self.catalog, where=where, **matching)

    def facets(self, *attributes: str, where: str | None = None, **matching: Any) -> Table[FacetCount]:
        """How many series have each value of attributes, of those that `series` would find.

        Raises
        ------
        catalog.errors.QuestionError
            If an attribute is not known or one of an instance, or the question is not understood.
        """
        found = count_facets(self.catalog, *attributes, where=where, **matching)
        return Table(found, FACET_COLUMNS, noun="values")

    def find(
        self, *words: str, where: str | None = None, limit: int | None = None, page: int = 1
    ) -> FoundSeries:
        """Find series as a person types: `Modality=CT` matches, any other word is looked for in the texts.

        An attribute that is given several times matches any of the values.

        Raises
        ------
        catalog.errors.QuestionError
            If an attribute or the expression is not understood.
        """
        expression, matching = question(words, where)
        return self.series(expression, limit=limit, page=page, **matching)

    def findings(self, series: Selection = None, *, kind: str | None = None) -> Findings:
        """What is wrong with series: deviations, conflicts; once ingested, missing slices, tilt and the like.

        `bench.series("finding != 'missing_slices'")` finds the series without.

        Raises
        ------
        catalog.errors.QuestionError
            If there is no such kind of finding.
        """
        uids = None
        if series is not None:
            uids = [each.series_instance_uid for each in selected_series(self.catalog, series)]
        found = find_findings(self.catalog, kind=kind, series_instance_uids=uids)
        gone = deleted_series(self.catalog) if found else set()
        return Findings([each for each in found if each.series_instance_uid not in gone])

    # --- documents -----------------------------------------------------------------------------------

    def documents(
        self,
        words: str | None = None,
        studies: Studies = None,
        *,
        revisions: bool = False,
        limit: int | None = 200,
    ) -> Documents:
        """Reports of studies, the newest first: PDF, CDA, structured reports, files that were added.

        `bench.series("report ~ 'Metastase' and SliceThickness <= 1.5")` finds series by them.

        Parameters
        ----------
        words
            What they say, in any form of the words: `"Leber Metastase"`, `"leber*"`, `"*metastase"`, and in
            double quotes words one after another (`catalog.words`); every document when left out.
        studies
            Study Instance UIDs, or series that were found, for those of their studies.
        revisions
            Show what was superseded, too; `bench.documents(…)[0].revisions` are those of one document.
        limit
            How many at most.

        Raises
        ------
        catalog.errors.QuestionError
            If there is no word to look for, or more than can be asked for.
        """
        return search(self.catalog, words, studies, every_revision=revisions, limit=limit)

    def refresh_documents(self, *, quiet: bool = False) -> DocumentsRead:
        """Read the text of every document again, also of those that could not be read before."""
        make_due(self.catalog)
        return self._read_documents(quiet=quiet)

    def add_report(
        self,
        study_instance_uid: str,
        path: str | Path,
        *,
        title: str = "",
        date: str = "",
        identifier: str = "",
    ) -> Documents:
        """Take in a report that is no DICOM: a file of text, PDF or CDA. The same file again replaces it.

        Parameters
        ----------
        title
            Name of the file when left out.
        date
            `20260131`; reports with the same `identifier` in a study are revisions, the newest is valid.

        Raises
        ------
        catalog.errors.NotFoundError
            If there is no such study, or no such file.
        catalog.errors.HeaderError
            If the file cannot be read.
        """
        return add_report(
            self.catalog, study_instance_uid, path, title=title, date=date, identifier=identifier
        )

    # --- cohorts -------------------------------------------------------------------------------------

    def freeze(
        self,
        name: str,
        found: Selection = None,
        *,
        approval: str = "",
        expires: date | str | None = None,
    ) -> Cohort:
        """Freeze series for good: their question, every instance with its digest, and the approval.

        Parameters
        ----------
        name
            One that no cohort has yet: what is frozen is never changed.
        found
            What `bench.series` or `bench.find` found, any other series, or a `where` expression.
        approval
            Number of the ethics committee or of a consent.
        expires
            Its last day; later nothing is run on the cohort and none of its rows opened. A series that is
            given by its UID is used outside the cohort, and not refused.

        Raises
        ------
        catalog.errors.CohortError
            If there is such a cohort, nothing to freeze, or the approval has ended.
        catalog.errors.QuestionError
            If the expression is not understood.
        catalog.errors.NotFoundError
            If one of the series is known only from elsewhere: its instances are not known.
        """
        if isinstance(found, str) and not is_uid(found):
            found = self.series(found)
        selected = selected_series(self.catalog, found)
        require_here(selected)
        record = frozen.freeze(
            self.catalog,
            name,
            [each.series_instance_uid for each in selected],
            question=question_in(found),
            approval=approval,
            expires=expires,
            now=_now(),
        )
        return Cohort(self.catalog, record)

    @property
    def cohorts(self) -> Table[CohortRecord]:
        """Every cohort."""
        return all_cohorts(self.catalog)

    def cohort(self, name: str) -> Cohort:
        """Return a cohort by its name, its digest checked.

        Raises
        ------
        catalog.errors.NotFoundError
            If there is none of that name.
        catalog.errors.CohortError
            If its rows are not those that were frozen.
        """
        return Cohort(self.catalog, frozen.find_cohort(self.catalog, name))

    def import_cohort(self, path: str | Path, *, name: str | None = None) -> Cohort:
        """Take in a cohort from its manifest; `cohort.resolve()` says what is missing here or different.

        Raises
        ------
        catalog.errors.NotFoundError
            If there is no such file.
        catalog.errors.CohortError
            If it is no manifest, was altered, or another cohort has its name.
        """
        return import_manifest(self.catalog, path, name)

    # --- experiments ---------------------------------------------------------------------------------

    def experiment(
        self,
        name: str,
        table: "str | Path | pd.DataFrame | None" = None,
        *,
        match: Mapping[str, str] | None = None,
    ) -> Experiment:
        """Open an experiment: a researcher's table of subjects, arms and time points, joined to series.

        Parameters
        ----------
        name
            Of the experiment; with `table` it is recorded under it, in the place of an earlier table.
        table
            A CSV, Parquet or Excel file, or a DataFrame; every column is kept as it was written. Its rows are
            joined to series by columns `series_instance_uid`, `study_instance_uid`, `accession_number`,
            `clinical_trial_subject_id` or `patient_id`, narrowed by `study_date`.
        match
            Column to meaning, for other names: `{"Tier-Nr": "subject", "Aufnahme": "accession_number"}`; the
            meanings are those of `catalog.sheet.MEANINGS`.

        Raises
        ------
        catalog.errors.NotFoundError
            If there is no such experiment, or no such file.
        catalog.errors.SheetError
            If it is no table, or no column tells which series a row is about; names the nearest.
        """
        from catalog import experiments, sheet
        from workbench.experiments import opened
        from workbench.sheets import read_sheet

        if table is None:
            record = experiments.find_experiment(self.catalog, name)
            if match:
                meaning = sheet.meanings(record.sheet.columns, match)
                record = experiments.record_experiment(self.catalog, name, record.sheet, meaning, now=_now())
        else:
            written = read_sheet(table)
            meaning = sheet.meanings(written.columns, match)
            record = experiments.record_experiment(self.catalog, name, written, meaning, now=_now())
        return opened(self.catalog, record, open_part=self.volume, open_parts=self._parts)

    @property
    def experiments(self) -> Table[Mapping[str, Any]]:
        """Every experiment."""
        from workbench.experiments import all_experiments

        return all_experiments(self.catalog)

    def _parts(self, series: SeriesRecord, ingest: bool) -> "list[xr.DataArray]":
        from pipelines.volumes import open_array

        uid = series.series_instance_uid
        arrays = arrays_of(self.catalog, uid)
        if not arrays and not ingest:
            raise NotFoundError(f"series {uid} was not ingested; bench.ingest(experiment) does it")
        if ingest:
            report = self.ingest(series, quiet=True)
            reasons = [*report.left.values(), *(each.reason for each in report.rejected)]
            if not report:
                raise NotFoundError(f"series {uid} has no array: {(reasons or ['it has no pixel data'])[0]}")
            arrays = list(report)
        return [open_array(each) for each in arrays]

    # --- corrections ---------------------------------------------------------------------------------

    def merge_patients(self, source: str, into: str, *, why: str) -> "Correction":
        """Put every study of one patient under another, those that arrive later too; files stay.

        Parameters
        ----------
        source, into
            Patient IDs; where several patients have one, a Study Instance UID of the one that is meant.

        Raises
        ------
        catalog.errors.NotFoundError
            If there is no such patient.
        catalog.errors.CorrectionError
            If several have the ID, both are one, or there is no reason.
        """
        from catalog.corrections import merge_patients

        return self._correction(merge_patients(self.catalog, source, into, self._author(why)))

    def move_study(self, uid: str, to_patient: str, *, why: str) -> "Correction":
        """Put one study under another patient, what arrives of it later too; else as `merge_patients`."""
        from catalog.corrections import move_study

        return self._correction(move_study(self.catalog, uid, to_patient, self._author(why)))

    def correct(self, patient: str, *, why: str, **values: str) -> "Correction":
        """Give a patient another `patient_id`, `patient_name` and the like; else as `merge_patients`."""
        from catalog.corrections import correct_patient

        return self._correction(correct_patient(self.catalog, patient, self._author(why), values))

    def delete(self, uid: str | SeriesRecord, *, why: str) -> "Correction":
        """Leave a series or study out of every question; files and arrays stay, no index brings it back.

        Raises
        ------
        catalog.errors.NotFoundError
            If there is no such series or study with a file here.
        catalog.errors.CorrectionError
            If it is deleted already, or there is no reason.
        """
        from catalog.corrections import delete

        return self._correction(delete(self.catalog, uid_of(uid), self._author(why)))

    def restore(self, uid: str | SeriesRecord, *, why: str) -> "Correction":
        """Bring a deleted series or study back, with what arrived of it meanwhile.

        Raises
        ------
        catalog.errors.NotFoundError
            If it is not deleted.
        """
        from catalog.corrections import restore

        return self._correction(restore(self.catalog, uid_of(uid), self._author(why)))

    def undo(self, number: int, *, why: str) -> "Correction":
        """Undo a correction by its number; undoing that makes it hold again.

        Raises
        ------
        catalog.errors.NotFoundError
            If there is no such correction.
        catalog.errors.CorrectionError
            If it was undone already, or a later one builds upon it.
        """
        from catalog.corrections import undo

        return self._correction(undo(self.catalog, number, self._author(why)))

    @property
    def corrections(self) -> "Corrections":
        """Every correction: what, before, after, who, why, when."""
        from catalog.corrections import list_corrections
        from workbench.corrections import Corrections

        return Corrections([self._correction(each) for each in list_corrections(self.catalog)])

    def _author(self, why: str) -> "Author":
        from workbench.corrections import author

        return author(why, _now())

    def _correction(self, record: "CorrectionRecord") -> "Correction":
        from workbench.corrections import Correction

        return Correction.of(record, lambda number, why: self.undo(number, why=why))

    # --- pixels --------------------------------------------------------------------------------------

    def ingest(
        self,
        series: Selection = None,
        *,
        video: Literal["chunks", "left"] | None = None,
        anew: bool = False,
        quiet: bool = False,
    ) -> IngestReport:
        """Write the pixel data of series into Zarr; what is there and current stays as it is.

        A series that is known only from elsewhere is left where it is, and the report says where. Of every
        series, results of ours that came back (`ours`) are left out: they are no new input.

        Parameters
        ----------
        video
            Whether the frames of videos are stored as `chunks`, or the videos `left` as they are, to be
            decoded when they are looked at; as it was done before, else left, where it is not said.
        anew
            Write arrays anew that are there, too: `verify` found them damaged. Coarser levels go with them.

        Raises
        ------
        catalog.errors.NotFoundError
            If a series is not known.
        catalog.errors.QuestionError
            If something is no series, or `video` none of its words.
        """
        from pipelines.ingest import ingest_series
        from workbench.leftovers import claim

        if video not in (None, "chunks", "left"):
            raise QuestionError(f"video is 'chunks', 'left' or None, not {video!r}")
        started, selected = monotonic(), approved_series(self.catalog, series, _now().date())
        if series is None:
            selected = [each for each in selected if not (each.remote or each.ours)]
        arrays: list[ArrayRecord] = []
        rejected: list[Rejected] = []
        left: dict[str, str] = {}
        rotten: dict[str, str] = {}
        claim(self.settings)
        with shared(self.settings.arrays_folder), bar("ingest", "series", quiet=quiet) as progress:
            for done, each in enumerate(selected, start=1):
                instances = instances_of(self.catalog, each.series_instance_uid)
                if each.remote and not instances:
                    left[each.series_instance_uid] = elsewhere(each)
                    continue
                with self._fetched.local(instances) as local:
                    ingested = ingest_series(
                        each,
                        local.instances,
                        self.settings.arrays_address,
                        threads=self.settings.cores,
                        video_chunks=None if video is None else video == "chunks",
                        known=arrays_of(self.catalog, each.series_instance_uid),
                        anew=anew,
                    )
                record_arrays(self.catalog, each.series_instance_uid, ingested.arrays)
                record_ingested(self.catalog, each.series_instance_uid, ingested.findings)
                arrays += ingested.arrays
                rejected += [_at_home(each, local) for each in ingested.rejected]
                if anew:
                    forget_arrays(self.catalog, [array.path for array in ingested.arrays])
                if ingested.left:
                    left[each.series_instance_uid] = ingested.left
                if rot := rot_of(self.catalog, instances, ingested.arrays):
                    rotten[each.series_instance_uid] = rot
                progress(done, len(selected))
        return IngestReport(tuple(arrays), tuple(rejected), monotonic() - started, left, rotten)

    def verify(self, series: Selection = None, *, quiet: bool = False) -> VerifyReport:
        """Recompute every frame's digest from the archive and from Zarr, and compare."""
        from pipelines.verify import verify_array

        started, frames = monotonic(), 0
        mismatches: list[Any] = []
        arrays = arrays_in(self.catalog, series)
        with bar("verify", "arrays", quiet=quiet) as progress:
            for done, array in enumerate(arrays, start=1):
                instances = instances_of(self.catalog, array.series_instance_uid)
                with self._fetched.local(instances) as local:
                    verified = verify_array(array, local.instances)
                frames += verified.frames
                mismatches += [replace(each, path=local.address(each.path)) for each in verified.mismatches]
                progress(done, len(arrays))
        return VerifyReport(frames, tuple(mismatches), monotonic() - started)

    def scrub(
        self,
        series: Selection = None,
        *,
        rate: float | None = None,
        hours: float | None = None,
        limit: int | None = None,
        clock: Callable[[], float] = monotonic,
        sleep: Callable[[float], None] = sleep,
        quiet: bool = False,
    ) -> "Scrubbed":
        """Read files of the archive and arrays again, and compare them with their digests.

        Those come first that never were read again, then the oldest. The first time the header of a file is
        compared and the digest of the whole file recorded; from then on every byte is compared. Nothing is
        altered or deleted.

        Parameters
        ----------
        rate
            Megabytes a second; 50 when left out. Files keep to it block by block, arrays on average: one is
            read at full speed, and what it took too little time for is waited afterwards.
        hours, limit
            After how many hours, or files and arrays, it stops; the next scrub goes on there.

        Raises
        ------
        catalog.errors.QuestionError
            If `rate`, `hours` or `limit` is not above zero, or something is no series.
        """
        from workbench.scrub import RATE_MB, Pace, scrub

        for name, value in {"rate": rate, "hours": hours, "limit": limit}.items():
            if value is not None and not value > 0:
                raise QuestionError(f"{name} is a number above 0, not {value}")
        uids = None
        if series is not None:
            uids = [each.series_instance_uid for each in selected_series(self.catalog, series)]
        pace = Pace((RATE_MB if rate is None else rate) * 1e6, clock, sleep)
        with bar("scrub", "MB", quiet=quiet) as progress:
            return scrub(
                self.catalog,
                pace=pace,
                series=uids,
                hours=hours,
                limit=limit,
                fetched=self._fetched,
                progress=progress,
            )

    def arrays(self, series: Selection = None) -> Table[ArrayRecord]:
        """Arrays that were ingested, of every series or of some."""
        columns = {
            "kind": "kind", "label": "part", "shape": "shape", "reason": "reason",
            "series_instance_uid": "series instance uid",
        }  # fmt: skip
        return Table(arrays_in(self.catalog, series), columns, noun="arrays")

    def volume(self, series: str | SeriesRecord, part: int | None = None) -> "xr.DataArray":
        """Open a series lazily as `DataArray(z, y, x)`: modality values, mm coordinates; ingested if need be.

        Other kinds open as they are: a segmentation as `(segment, z, y, x)`, a dose in Gy, a waveform as
        `(channel, time)`, a video as `(time, y, x, channel)`; `pipelines.kinds` has the table.

        What a scrub found rotten is said in a `catalog.checks.RottenWarning`.

        A series that is no regular volume opens as a stack, `DataArray(frame, y, x)`, with the reason in
        `attrs["reason"]`.

        Parameters
        ----------
        part
            Which one, where the series holds several volumes.

        Raises
        ------
        catalog.errors.NotFoundError
            If there is no such series, no pixel data in it, or several parts to choose from.
        catalog.errors.ApprovalError
            If it is of a cohort whose approval has ended.
        """
        from pipelines.volumes import open_array

        array = self._array(series, part)
        if array.path.startswith(str(self.settings.fetched_folder)):  # a video, decoded when it is looked at
            self._kept(instances_of(self.catalog, array.series_instance_uid))
        return open_array(array)

    def video(self, path: str | Path) -> "xr.DataArray":
        """Open a video file that is no DICOM (MP4, MOV, MPEG) lazily: `DataArray(time, y, x, channel)`.

        Raises
        ------
        catalog.errors.DecodeError
            If the file has no MPEG-2, H.264 or HEVC video that can be read.
        catalog.errors.NotFoundError
            If the path is a folder.
        catalog.errors.CodecMissingError
            If PyAV is not installed: the text says how to.
        """
        from pipelines.video.opening import open_video

        if not isinstance(path, str | Path):
            raise QuestionError(f"video takes the path of a file, not {type(path).__name__}")
        if Path(path).is_dir():
            raise NotFoundError(f"{path} is a folder; video takes the path of a file")
        return open_video(path)

    def structures(self, series: str | SeriesRecord, *, sop_instance_uid: str | None = None) -> "Structures":
        """Read the regions of interest of an RT structure set: names, colours, polygons in LPS mm, masks.

        Parameters
        ----------
        sop_instance_uid
            Which one, where the series holds several structure sets.

        Raises
        ------
        catalog.errors.NotFoundError
            If there is no such series, no structure set in it, or several to choose from.
        catalog.errors.HeaderError
            If the file is gone or damaged.
        """
        from workbench.structures import read_structures_of

        check_approvals(series, _now().date())
        selected = one_series(self.catalog, series, "structures")
        uid = selected.series_instance_uid
        with self._fetched.local(instances_of(self.catalog, uid)) as local:
            return read_structures_of(uid, local.instances, sop_instance_uid)

    def pyramid(self, series: str | SeriesRecord, part: int | None = None) -> "tuple[Level, ...]":
        """Make coarser levels of an array, which other viewers of OME-Zarr then find; twice is once.

        Raises
        ------
        catalog.errors.NotFoundError
            If there is no such series, no pixel data in it, or several parts to choose from.
        catalog.errors.ArrayError
            If the array is altered, or a kind that has no levels.
        """
        return self._levels(self._array(series, part, "pyramid"))

    def level(self, series: str | SeriesRecord, number: int, part: int | None = None) -> "xr.DataArray":
        """Open a coarser level lazily, else as `volume`; levels are made on first wish.

        Raises
        ------
        catalog.errors.NotFoundError
            As `volume` does, or if the array is too small for such a level.
        """
        from pipelines.volumes import open_level

        if not isinstance(number, int):
            raise QuestionError(f"level takes a number from 0 on, not {type(number).__name__}")
        array = self._array(series, part, "level")
        if number > 0:
            self._levels(array)
        return open_level(array, number)

    def _levels(self, array: ArrayRecord) -> "tuple[Level, ...]":
        from pipelines.store.pyramid import make_levels

        with shared(self.settings.arrays_folder):
            return make_levels(array)

    def _array(self, series: str | SeriesRecord, part: int | None, wanted_by: str = "volume") -> ArrayRecord:
        selected = one_series(self.catalog, series, wanted_by)
        uid = selected.series_instance_uid
        report = self.ingest(selected, quiet=True)
        if not report:
            reasons = [*report.left.values(), *(each.reason for each in report.rejected)]
            why = reasons[0] if reasons else "it has no pixel data"
            raise NotFoundError(f"series {uid} has no array: {why}")
        for rot in report.rotten.values():
            warn_of(rot, uid)
        return report.part(part)

    def slide(self, series: str | SeriesRecord) -> "xr.DataTree":
        """Open a whole slide lazily from the archive; its finest level is `slide["level/0/image"]`.

        Raises
        ------
        catalog.errors.NotFoundError
            If there is no such series, or it is no whole slide.
        catalog.errors.HeaderError, catalog.errors.DecodeError, catalog.errors.GeometryError
            If none of its images can be opened.
        """
        from pipelines.slides.levels import SLIDE_STORAGE, open_slide

        check_approvals(series, _now().date())
        selected = one_series(self.catalog, series, "slide")
        uid = selected.series_instance_uid
        images = [each for each in instances_of(self.catalog, uid) if each.sop_class_uid in SLIDE_STORAGE]
        if not images:
            raise NotFoundError(f"series {uid} is no whole slide; bench.volume(series) opens it")
        return open_slide(self._kept(images).instances)

    def _kept(self, instances: Sequence[InstanceRecord]) -> Local:
        """Have local files of what is read lazily, as long as the bench is open."""
        return self._in_use.enter_context(self._fetched.local(instances))

    # --- runs ----------------------------------------------------------------------------------------

    @property
    def client(self) -> "Client":
        """Dask client of this bench: of the scheduler in its settings, else of a cluster on this machine."""
        if self._client is None:
            from distributed import Client

            if self.settings.scheduler:
                self._client = Client(self.settings.scheduler, set_as_default=False)  # type: ignore[no-untyped-call]
            else:
                self._cluster = local_cluster(self.settings.cores)
                atexit.register(self.close)  # a script or notebook that just ends leaves no process behind
                self._client = Client(self._cluster, set_as_default=False)  # type: ignore[no-untyped-call]
        return self._client

    def run(
        self,
        step: str | Callable[..., Any],
        series: Selection = None,
        *,
        client: "Client | None" = None,
        quiet: bool = False,
        **parameters: Any,
    ) -> Run:
        """Apply a step to series on Dask and record it; what an earlier run did is not done again.

        Parameters
        ----------
        step
            A function of a volume with keyword parameters, or its name (`"threshold"`,
            `"package.module:function"`, `"file.py:function"`).
        series
            What it is applied to; each volume or stack of a series is one item.
        client
            Of another Dask cluster.
        **parameters
            Keywords of the step.

        Raises
        ------
        catalog.errors.StepError
            If the step is not found, or cannot be called with these parameters.
        catalog.errors.ApprovalError
            If the approval of a cohort has ended.
        catalog.errors.CohortError
            If a cohort is no longer what was frozen.
        catalog.errors.NotFoundError
            If one of the series is known only from elsewhere; of every series, those are left out,
            and results of ours that came back.
        """
        from pipelines.runs.code import find_step
        from pipelines.runs.run import RunInput, keys, run_step

        selected = approved_series(self.catalog, series, _now().date())
        if series is None:
            selected = [each for each in selected if not (each.remote or each.ours)]
        require_here(selected)
        function = find_step(step) if isinstance(step, str) else step
        ingested = self.ingest(selected, quiet=quiet)
        sources = {
            each.series_instance_uid: instances_of(self.catalog, each.series_instance_uid)
            for each in ingested
        }
        inputs = [RunInput(each, _paths(sources[each.series_instance_uid])) for each in ingested]
        wanted = keys(function, parameters, inputs)
        previous = find_items(self.catalog, wanted)
        if client is None and not previous.keys() >= set(wanted):
            client = self.client  # a run that has nothing to compute needs no cluster
        with (
            ExitStack() as in_use,
            shared(self.settings.outputs_folder),
            bar("run", "arrays", quiet=quiet) as progress,
        ):
            if not previous.keys() >= set(wanted):
                sources = {
                    uid: list(in_use.enter_context(self._fetched.local(each)).instances)
                    for uid, each in sources.items()
                }
                inputs = [RunInput(each, _paths(sources[each.series_instance_uid])) for each in ingested]
            record = run_step(
                function,
                parameters,
                inputs,
                outputs_folder=self.settings.outputs_folder,
                client=client,
                previous=previous,
                progress=progress,
                save=lambda record: save_run(self.catalog, record),
            )
            save_run(self.catalog, record)
        return Run(record, about(selected))

    # --- nodes ---------------------------------------------------------------------------------------

    @property
    def nodes(self) -> "dict[str, Node]":
        """Nodes of the settings by name: `bench.nodes["PACS"].echo()`."""
        return {name: self.node(name) for name in self.settings.nodes}

    def node(self, name: str) -> "Node":
        """Node of the settings by its name.

        Raises
        ------
        catalog.errors.NotFoundError
            If there is none of that name.
        """
        known = self.settings.nodes
        if name not in known:
            there = ", ".join(sorted(known)) or "none yet"
            file = self.settings.home / SETTINGS_FILE
            raise NotFoundError(f"no node {name!r}; {file} has {there}. Add a table [nodes.{name}] to it")
        return known[name].called(name, self.settings.ae_title)

    def send(
        self, objects: Iterable[OutputRecord | str | Path], *, to: "str | Node", quiet: bool = False
    ) -> Receipts:
        """Put DICOM objects into the outbox and deliver them; a receipt each says how far it came.

        Parameters
        ----------
        objects
            Outputs of a run (its arrays are passed over, a PACS has no use for them), SOP Instance UIDs of
            such outputs, or paths of DICOM files.
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
        """
        from workbench.pacs.dimse_node import DimseNode
        from workbench.pacs.posting import examine_files
        from workbench.sending import queue_all, receipts_of

        node = self.node(to) if isinstance(to, str) else to
        if not isinstance(node, DimseNode):
            raise RefusedError(f"{node.name} is a DICOMweb node, and this bench sends by DIMSE only yet")
        judged = examine_files(
            self.catalog, list(files_of(self.catalog, objects)), threads=self.settings.cores
        )
        queued = queue_all(
            self.catalog, judged, node.name, outbox_folder=self.settings.outbox_folder, now=_now
        )
        self._deliver(node, quiet=quiet)
        return Receipts(receipts_of(self.catalog, queued))

    def _deliver(self, node: "Node", *, quiet: bool) -> None:
        from workbench.pacs.deliver import deliver
        from workbench.pacs.dimse_node import DimseNode
        from workbench.pacs.node import ListenAddress

        if not isinstance(node, DimseNode):
            raise RefusedError(f"{node.name} is a DICOMweb node, and this bench sends by DIMSE only yet")
        with bar("send", "objects", quiet=quiet) as progress:
            deliver(
                self.catalog,
                node,
                listen=ListenAddress(self.settings.listen_host, self.settings.listen_port),
                now=_now,
                wait=timedelta(seconds=self.settings.commitment_seconds),
                progress=progress,
            )

    def deliver(self, nodes: Iterable[str] | None = None) -> Receipts:
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
        from workbench.pacs.dimse_node import DimseNode
        from workbench.pacs.node import ListenAddress

        due = [each for each in due_nodes(self.catalog, _now()) if each in self.settings.nodes]
        named = [self.node(name) for name in (due if nodes is None else nodes)]
        return Receipts(
            deliver_to_all(
                self.catalog,
                [each for each in named if isinstance(each, DimseNode)],
                listen=ListenAddress(self.settings.listen_host, self.settings.listen_port),
                now=_now,
                wait=timedelta(seconds=self.settings.commitment_seconds),
            )
        )

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
        """
        from workbench.sending import receipts_of
        from workbench.withdrawal import withdraw

        node = self.node(to) if isinstance(to, str) else to
        uid = sent if isinstance(sent, str) else str(sent.sop_instance_uid)
        taken = withdraw(
            self.catalog,
            uid,
            node.name,
            reason=reason,
            why=why,
            outbox_folder=self.settings.outbox_folder,
            now=_now,
        )
        if len(taken) > 1:
            self._deliver(node, quiet=quiet)
        return Receipts(receipts_of(self.catalog, taken))
