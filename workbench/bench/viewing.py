"""Of a bench: what a person looks at, and what was drawn there."""

from collections.abc import Collection
from functools import partial
from typing import TYPE_CHECKING
from warnings import warn

from catalog.annotations import Place, check_author, find_annotations
from catalog.corrections import deleted_series
from catalog.errors import ArrayError, QuestionError
from catalog.identifiers import digest_of_texts, folder_name
from catalog.query import find_series, instances_of
from catalog.records import ArrayRecord, SeriesRecord
from workbench.annotations import frame_of
from workbench.bench.deliveries import Deliveries
from workbench.bench.opened import now
from workbench.bench.pixels import Pixels
from workbench.person import person
from workbench.selection import Selection, one_series, selected_series

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from pydicom.dataset import Dataset

    from pipelines.objects.registrations import Registration, Transform
    from pipelines.objects.waveform_annotations import WaveformAnnotation
    from pipelines.store.masks import StoredPlanes
    from workbench.widgets.links import Pair
    from workbench.widgets.strips import StripViewer
    from workbench.widgets.viewer import Viewer


class Viewing(Pixels, Deliveries):
    """Shows series in cells, and keeps what is drawn on them."""

    def view(
        self,
        what: "str | SeriesRecord | xr.DataArray",
        part: int | None = None,
        *,
        author: str | None = None,
    ) -> "Viewer | StripViewer":
        """Show a series, or an array made of one, in a cell: a viewer whose state is Python's, too.

        A waveform is shown as strips on millimetre paper, with what its object says of it.

        What is drawn on a series is saved in the catalog with each stroke, and there again when the series is
        opened; so is what others drew, with their names. Marks on an array stay in the viewer.

        Parameters
        ----------
        what
            A series, or an array as `volume` gives it, as it is or computed with.
        part
            Which one, where the series holds several arrays.
        author
            Who draws; else the `author` of the settings, the user of JupyterHub or that of the system.

        Raises
        ------
        catalog.errors.QuestionError
            If an array is no image, the author no name, or the viewer's packages are not installed.
        catalog.errors.WorkbenchError
            As `volume`.
        """
        try:
            from workbench.widgets.drawings import Drawings
            from workbench.widgets.strips import StripViewer
            from workbench.widgets.viewer import Viewer
        except ModuleNotFoundError as error:
            raise QuestionError(
                f"a viewer needs {error.name}: pip install 'imaging-workbench[lab]'"
            ) from None
        import xarray as xr

        from pipelines.presentation.strips import is_waveform

        if not isinstance(what, str | SeriesRecord | xr.DataArray):
            raise QuestionError(f"view takes a series or an array of it, not {type(what).__name__}")
        if not isinstance(what, str | SeriesRecord):
            return StripViewer(what) if is_waveform(what) else Viewer(what)
        from pipelines.marks import image_of
        from pipelines.presentation.banner import banner_of
        from pipelines.presentation.scene import scene_of
        from workbench.outgoing import Outgoing

        name = check_author(person(self.settings.author) if author is None else author)
        array, record = self._opened(what, part)
        if is_waveform(array):
            return StripViewer(array, record, *_said_of(array))
        drawings = Drawings(
            self.catalog,
            Place(record.series_instance_uid, record.part),
            name,
            image_of=partial(image_of, scene_of(array)),
            now=now,
        )
        outgoing = Outgoing(
            self.settings.drawn_folder,
            name,
            headers=partial(self._headers, record.series_instance_uid),
            send=lambda files, to: self.send(files, to=to, quiet=True),
            nodes=list(self.settings.nodes),
            now=now,
        )
        planes = self._planes(record, array, name)
        patient = banner_of(one_series(self.catalog, what, "view"))
        return Viewer(array, record, drawings, planes, outgoing, self._opened, patient)

    def compare(
        self,
        current: "str | SeriesRecord | xr.DataArray",
        prior: "str | SeriesRecord | xr.DataArray",
        *,
        transform: "Transform | None" = None,
        window: bool = False,
        camera: bool = False,
        author: str | None = None,
    ) -> "Pair":
        """Show two series side by side in one cell: scrolling in one moves the other to the same place.

        `left` and `right` of what is returned are their viewers, `link` says by what they are linked. Where
        both lie in different frames of reference, the newest registration of the patient that relates them is
        taken.

        Parameters
        ----------
        current, prior
            As `view` takes them; `priors` finds those of a patient.
        transform, window, camera
            As `Viewer.link` takes them.
        author
            As `view`.

        Raises
        ------
        catalog.errors.WorkbenchError
            As `view` and `Viewer.link`.
        """
        left, right = (self.view(each, author=author) for each in (current, prior))
        from workbench.widgets.links import Pair
        from workbench.widgets.strips import StripViewer

        if isinstance(left, StripViewer) or isinstance(right, StripViewer):
            raise QuestionError("images are compared, not waveforms: view each in a cell")
        if transform is None:
            transform = self._registered(right, left)
        return Pair(left, right, left.link(right, transform=transform, window=window, camera=camera))

    def _registered(self, source: "Viewer", target: "Viewer") -> "Registration | None":
        """The registration of the catalog from what one viewer shows to what another does."""
        from workbench.registrations import is_wanted, newest_between, registrations_of

        if not is_wanted(source.scene, target.scene):
            return None
        uids = {each.scene.series_instance_uid for each in (source, target)} - {""}
        patients = {
            each.patient_id for uid in uids for each in find_series(self.catalog, series_instance_uid=uid)
        } - {""}
        with self._fetched.local(registrations_of(self.catalog, patients)) as local:
            return newest_between(local.instances, source.scene, target.scene)

    def _opened(self, series: str | SeriesRecord, part: int | None) -> "tuple[xr.DataArray, ArrayRecord]":
        record = self._array(series, part, "view")
        return self._open(record), record

    def _planes(self, record: ArrayRecord, array: "xr.DataArray", author: str) -> "StoredPlanes | None":
        """Where the mask of an author is kept; `None` where what is there is damaged, which is said."""
        from pipelines.store.masks import StoredPlanes

        dims = [str(each) for each in array.dims if each != "channel"]
        shape = [array.sizes[each] for each in dims]
        words = digest_of_texts([author, *map(str, shape)])[:16]
        folder = self.settings.masks_folder / folder_name(record.series_instance_uid)
        try:
            return StoredPlanes(folder / f"{record.part}-{words}", shape, dims)
        except (ArrayError, OSError) as error:
            warn(f"what is painted now is not kept: {error}", stacklevel=3)
            return None

    def _headers(self, uid: str, wanted: Collection[str]) -> "list[Dataset]":
        """Headers of some instances of a series."""
        from pipelines.runs.application import read_sources

        instances = [each for each in instances_of(self.catalog, uid) if each.sop_instance_uid in wanted]
        with self._fetched.local(instances) as local:
            return read_sources([str(each.path) for each in local.instances])

    def annotations(
        self, series: Selection = None, *, author: str | None = None, revisions: bool = False
    ) -> "pd.DataFrame":
        """What was drawn on series, a row a mark: kind, text, author, times, image, and its points in LPS mm.

        `bench.view(series).annotations` has them with what they measure on the values of the array.

        Parameters
        ----------
        series
            Those that are meant; every one where it is left out.
        author
            Marks of one author alone.
        revisions
            Each state a mark had, a row each; of one that was removed the last has no `kind` and no points.

        Raises
        ------
        catalog.errors.NotFoundError
            If a series is not known.
        """
        uids = None
        if series is not None:
            uids = [each.series_instance_uid for each in selected_series(self.catalog, series)]
        found = find_annotations(self.catalog, series=uids, author=author, revisions=revisions)
        gone = deleted_series(self.catalog)
        return frame_of([each for each in found if each.series_instance_uid not in gone])


def _said_of(array: "xr.DataArray") -> "tuple[list[WaveformAnnotation], str]":
    """What the object of a waveform says of it, and what a reader should know of that."""
    from pipelines.objects.waveform_annotations import annotations_of

    if "multiplex_group" not in array.attrs:
        return [], "ingested before annotations were read; bench.ingest(series, anew=True) reads them"
    return annotations_of(array.dicom.attributes, array), ""
