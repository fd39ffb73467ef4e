"""Of a bench: functions applied to series."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from catalog.locks import shared
from catalog.query import instances_of
from catalog.records import InstanceRecord
from catalog.runs import find_items, save_run
from workbench.bench.opened import now
from workbench.bench.pixels import Pixels
from workbench.cohorts import approved_series
from workbench.experiments import about
from workbench.progress import bar
from workbench.reports import Run
from workbench.selection import Selection, require_here

if TYPE_CHECKING:
    from distributed import Client


def _paths(instances: Sequence[InstanceRecord]) -> tuple[str, ...]:
    return tuple(each.path for each in instances)


class Runs(Pixels):
    """Applies steps on Dask."""

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

        selected = approved_series(self.catalog, series, now().date())
        if series is None:
            selected = [each for each in selected if not (each.remote or each.ours)]
        require_here(self.catalog, selected)
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
