"""Of a bench: pixel data, in the archive and in Zarr."""

from collections.abc import Callable
from dataclasses import replace
from numbers import Real
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Literal

from catalog.arrays import arrays_made_of, arrays_of, record_arrays, state_of
from catalog.checks import forget_arrays, rot_of, warn_of
from catalog.errors import NotFoundError, QuestionError
from catalog.fetch import Local
from catalog.locks import shared
from catalog.query import instances_of
from catalog.records import ArrayRecord, SeriesRecord
from workbench.bench.archive import Archive
from workbench.bench.opened import now
from workbench.cohorts import approved_series, check_approvals
from workbench.elsewhere import warn_of_short
from workbench.progress import bar
from workbench.reports import IngestReport, VerifyReport
from workbench.selection import Selection, arrays_in, away, elsewhere, one_series, selected_series
from workbench.tables import Table

if TYPE_CHECKING:
    import xarray as xr

    from pipelines.ingest import Ingested, Rejected
    from pipelines.objects.registrations import Registration
    from pipelines.store.multiscales import Level
    from workbench.scrub import Scrubbed
    from workbench.structures import Structures


def _at_home(rejected: "Rejected", local: Local) -> "Rejected":
    """What was rejected, by its address in the archive; not fetched is the reason that counts."""
    reason = local.failures.get(rejected.sop_instance_uid, rejected.reason)
    return replace(rejected, path=local.address(rejected.path), reason=reason)


class Pixels(Archive):
    """Writes arrays, compares them with the archive, and opens them."""

    def ingest(
        self,
        series: Selection = None,
        *,
        video: Literal["chunks", "left"] | None = None,
        anew: bool = False,
        fetch: bool | None = None,
        quiet: bool = False,
    ) -> IngestReport:
        """Write the pixel data of series into Zarr; what is there and current stays as it is.

        One series that is known only from elsewhere is fetched first; of several those are left where they
        are, unless they shall be fetched, and the report says where. Of every series, results of ours that
        came back (`ours`) are left out: they are no new input.

        Parameters
        ----------
        video
            Whether the frames of videos are stored as `chunks`, or the videos `left` as they are, to be
            decoded when they are looked at; as it was done before, else left, where it is not said.
        anew
            Write arrays anew that are there, too: `verify` found them damaged. Coarser levels go with them.
        fetch
            Whether series that are known only from elsewhere are fetched; one that is named alone is, where
            it is not said.

        Raises
        ------
        catalog.errors.NotFoundError
            If a series is not known.
        catalog.errors.QuestionError
            If something is no series, or `video` none of its words.
        catalog.errors.DeliveryError, catalog.errors.SettingsError, OSError
            If a series cannot be fetched, as `fetch` says.
        """
        from workbench.leftovers import claim

        if video not in (None, "chunks", "left"):
            raise QuestionError(f"video is 'chunks', 'left' or None, not {video!r}")
        started, selected = monotonic(), approved_series(self.catalog, series, now().date())
        if series is None:
            selected = [each for each in selected if not (each.remote or each.ours)]
        if fetch or (fetch is None and isinstance(series, str | SeriesRecord)):
            selected = self._brought(selected, quiet=quiet)
        arrays: list[ArrayRecord] = []
        rejected: list[Rejected] = []
        left: dict[str, str] = {}
        rotten: dict[str, str] = {}
        claim(self.settings)
        with shared(self.settings.arrays_folder), bar("ingest", "series", quiet=quiet) as progress:
            for done, each in enumerate(selected, start=1):
                if each.remote and away(self.catalog, [each]):
                    left[each.series_instance_uid] = elsewhere(each)
                    continue
                ingested, rot = self._ingested(each, video, anew=anew)
                arrays += ingested.arrays
                rejected += ingested.rejected
                if ingested.left:
                    left[each.series_instance_uid] = ingested.left
                if rot:
                    rotten[each.series_instance_uid] = rot
                progress(done, len(selected))
        return IngestReport(tuple(arrays), tuple(rejected), monotonic() - started, left, rotten)

    def _ingested(
        self, series: SeriesRecord, video: Literal["chunks", "left"] | None, *, anew: bool
    ) -> "tuple[Ingested, str]":
        """What became of one series, on record now; and what of it is rotten, in words."""
        from pipelines.ingest import Ingested, ingest_series
        from pipelines.standing import are_whole, series_digest

        uid = series.series_instance_uid
        made_of = series_digest(state_of(self.catalog, uid))  # before an instance is read
        standing = [] if anew else arrays_made_of(self.catalog, uid, made_of)
        if standing and are_whole(standing, self.settings.arrays_address):
            return Ingested(tuple(standing), ()), rot_of(self.catalog, (), standing)
        instances = instances_of(self.catalog, uid)
        with self._fetched.local(instances) as local:
            ingested = ingest_series(
                series,
                local.instances,
                self.settings.arrays_address,
                threads=self.settings.cores,
                video_chunks=None if video is None else video == "chunks",
                known=arrays_of(self.catalog, uid),
                anew=anew,
            )
        record_arrays(
            self.catalog,
            uid,
            ingested.arrays,
            ingested.findings,
            series_digest=made_of if ingested.is_told else "",
        )
        if anew:
            forget_arrays(self.catalog, [array.path for array in ingested.arrays])
        at_home = tuple(_at_home(each, local) for each in ingested.rejected)
        return replace(ingested, rejected=at_home), rot_of(self.catalog, instances, ingested.arrays)

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
            if value is not None and not (isinstance(value, Real) and value > 0):
                raise QuestionError(f"{name} is a number above 0, not {value!r:.40}")
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
        """Open a series lazily as `DataArray(z, y, x)`: modality values, mm coordinates.

        It is ingested if need be; a series that is known only from elsewhere is fetched before.

        Other kinds open as they are: a segmentation as `(segment, z, y, x)`, a dose in Gy, a waveform as
        `(channel, time)`, a video as `(time, y, x, channel)`; `pipelines.kinds` has the table.

        What a scrub found rotten is said in a `catalog.checks.RottenWarning`, instances that its source told
        of and did not give in a `workbench.elsewhere.ShortWarning`.

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
        catalog.errors.DeliveryError, catalog.errors.SettingsError, OSError
            If it cannot be fetched, as `fetch` says.
        """
        return self._open(self._array(series, part))

    def _open(self, array: ArrayRecord) -> "xr.DataArray":
        from pipelines.volumes import open_array

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

        check_approvals(series, now().date())
        selected = self._here(series, "structures")
        uid = selected.series_instance_uid
        with self._fetched.local(instances_of(self.catalog, uid)) as local:
            return read_structures_of(uid, local.instances, sop_instance_uid)

    def registration(
        self, series: str | SeriesRecord, *, sop_instance_uid: str | None = None
    ) -> "Registration":
        """Read a registration: the matrices between frames of reference, LPS mm.

        `viewer.overlay(…, transform=it)`, `viewer.link(…, transform=it)` and `compare` take it.

        Parameters
        ----------
        sop_instance_uid
            Which one, where the series holds several registrations.

        Raises
        ------
        catalog.errors.NotFoundError
            If there is no such series, no registration by matrices in it, or several to choose from.
        catalog.errors.HeaderError
            If the file is gone or damaged.
        """
        from pipelines.kinds import REGISTRATION
        from pipelines.objects.registrations import read_registration
        from workbench.objects import path_of_one

        check_approvals(series, now().date())
        uid = self._here(series, "registration").series_instance_uid
        with self._fetched.local(instances_of(self.catalog, uid)) as local:
            return read_registration(
                path_of_one(uid, local.instances, REGISTRATION, sop_instance_uid, "registration", "REG")
            )

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
        check_approvals(series, now().date())
        selected = self._here(series, wanted_by)
        uid = selected.series_instance_uid
        report = self.ingest(selected, quiet=True)
        if not report:
            reasons = [*report.left.values(), *(each.reason for each in report.rejected)]
            why = reasons[0] if reasons else "it has no pixel data"
            raise NotFoundError(f"series {uid} has no array: {why}")
        for rot in report.rotten.values():
            warn_of(rot, uid)
        return report.part(part)

    def _here(self, series: str | SeriesRecord, wanted_by: str) -> SeriesRecord:
        """The one series that is meant, with files: fetched where it is known only from elsewhere."""
        return self._brought([one_series(self.catalog, series, wanted_by)])[0]

    def _brought(self, selected: list[SeriesRecord], *, quiet: bool = False) -> list[SeriesRecord]:
        """The same series, those that are known only from elsewhere fetched."""
        absent = away(self.catalog, selected)
        if not absent:
            return selected
        for short in self.fetch(absent, quiet=quiet).short:
            warn_of_short(short)
        return selected_series(self.catalog, [each.series_instance_uid for each in selected])

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

        check_approvals(series, now().date())
        selected = self._here(series, "slide")
        uid = selected.series_instance_uid
        images = [each for each in instances_of(self.catalog, uid) if each.sop_class_uid in SLIDE_STORAGE]
        if not images:
            raise NotFoundError(f"series {uid} is no whole slide; bench.volume(series) opens it")
        return open_slide(self._kept(images).instances)
