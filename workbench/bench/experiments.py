"""Of a bench: researchers' tables joined to series."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catalog.arrays import arrays_of
from catalog.errors import NotFoundError
from catalog.records import SeriesRecord
from workbench.bench.opened import now
from workbench.bench.pixels import Pixels
from workbench.contact_sheet import draw_sheet
from workbench.experiments import Experiment
from workbench.tables import Table

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr


class Experiments(Pixels):
    """Opens experiments."""

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
                record = experiments.record_experiment(self.catalog, name, record.sheet, meaning, now=now())
        else:
            written = read_sheet(table)
            meaning = sheet.meanings(written.columns, match)
            record = experiments.record_experiment(self.catalog, name, written, meaning, now=now())
        draw = partial(draw_sheet, self.catalog, self.settings)
        return opened(self.catalog, record, open_part=self.volume, open_parts=self._parts, draw=draw)

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
