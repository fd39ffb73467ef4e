"""Of a bench: what is read into its catalog, and fetched."""

from collections.abc import Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from catalog import receptions
from catalog.errors import NotFoundError, QuestionError
from catalog.matching import check_count
from catalog.objects import S3
from catalog.places import State
from catalog.receptions import Reception
from catalog.records import IndexReport
from catalog.scan import place_of
from workbench.bench.opened import Opened
from workbench.cluster import reading_on, threads_of
from workbench.documents import DocumentsRead, read_due
from workbench.elsewhere import RECEIVED, index_elsewhere, retrieve_series, short_of
from workbench.pacs.node import node_in
from workbench.progress import bar
from workbench.reports import Fetched, Indexed, IndexedElsewhere
from workbench.wanted import Wanted, told_of

if TYPE_CHECKING:
    from distributed import Client


class Archive(Opened):
    """Reads archives, buckets and what nodes tell into the catalog."""

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
        read by ranges; `AWS_…` variables of the environment are who asks. `file:///folder` is the path.
        `"idc"` stands for the index of the NCI Imaging Data Commons (extra `idc`): every series of it is
        recorded with the address of its bucket, without a file, and what it has no more is withdrawn. A
        Parquet file of that form is read in the same way, but withdraws nothing. `"pacs://NODE"` asks a node
        of the settings for its series (C-FIND or QIDO-RS), without a file either; `matching` are attributes
        of patient, study and series that it shall match: `study_date="20260101-"`.

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
            If a path does not exist, or nothing is read at addresses of its kind.
        catalog.errors.QuestionError
            If something is no path, or `workers` no number.
        catalog.errors.SettingsError
            If an address cannot be, or credentials are missing.
        OSError
            If a server refuses or does not answer; what was read before is in the catalog.
        """
        places = [place_of(each) for each in paths]
        if workers is not None:
            check_count("workers", workers)
        if len(places) == 1:
            told = index_elsewhere(self.catalog, places[0], matching, self.node, quiet=quiet)
            if told is not None:
                return IndexedElsewhere(told)
        elif matching:
            raise QuestionError("attributes are matched by one node: bench.index('pacs://NODE', ...)")
        client = self.client if cluster is True else cluster or None
        return self._index_files(places, workers=workers, client=client, quiet=quiet)

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

    def fetch(self, series: Wanted, *, quiet: bool = False) -> Fetched:
        """Get series that are known from elsewhere, so that they have instances here.

        What a node was found to have is taken, too: `bench.fetch(bench.nodes["PACS"].find("study", …))` gets
        all series of these studies. Of an instance, its series is fetched.

        `volume` and whatever else opens one series does so by itself. Series of which fewer instances are
        here than their source told of are in `short` of the report.

        The objects of a bucket are indexed where they lie, and copied when they are read; public buckets, as
        those of the IDC, need no credentials. What a node has is copied into the folder `received` of this
        bench, by C-GET or C-MOVE, or by WADO-RS.

        Raises
        ------
        catalog.errors.NotFoundError
            If none of them is known from elsewhere, or there is nothing at an address.
        catalog.errors.SettingsError
            If credentials are missing.
        catalog.errors.DeliveryError
            If a node does not answer, or does not give all of a series; what came is indexed before.
        catalog.errors.NoRoomError
            If the disk is nearly full; what came is indexed before, and the same again gets the rest.
        OSError
            If a server refuses or does not answer.
        """
        told = told_of(self.catalog, series, self.node)
        of_nodes = [each for each in told if each is not None and node_in(each.address) is not None]
        places: list[str | Path] = [
            each.address.removesuffix("*") for each in told if each and each.address.startswith(S3)
        ]
        if not (of_nodes or places):
            raise NotFoundError("none of these series has an address elsewhere; index their files")
        into, since = self.settings.home / RECEIVED, receptions.newest(self.catalog)
        reserve = self.settings.receive_free_mb << 20
        came, error = retrieve_series(of_nodes, self.node, self._listen, into, reserve=reserve, quiet=quiet)
        places += came
        if error is None:
            indexed = self._index_files(places, quiet=quiet)
            if beside := {str(each) for each in came if each.is_file()}:
                received = receptions.settled_since(self.catalog, since)
                indexed.report = _with_received(indexed.report, received, beside)
            return Fetched(indexed, short_of(self.catalog, filter(None, told)))
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


def _with_received(report: IndexReport, received: Sequence[Reception], came: Set[str]) -> IndexReport:
    """Count what `workbench receive` took in for a fetch as added: the index found it in the catalog."""
    new = {each.path for each in received if each.state == State.INDEXED.value}
    count = len(new & came)
    return replace(report, added=report.added + count, unchanged=report.unchanged - count)
