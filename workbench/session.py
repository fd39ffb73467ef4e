"""The composition root: a bench joins the catalog, its folders, a Dask client and the nodes."""

from pathlib import Path
from typing import Any

from catalog.home import default_home
from workbench.bench.browsing import Browsing
from workbench.bench.cohorts import Cohorts
from workbench.bench.corrections import Amendments
from workbench.bench.documents import Reports
from workbench.bench.experiments import Experiments
from workbench.bench.harvests import Harvests
from workbench.bench.priors import Priors
from workbench.bench.routes import Routes
from workbench.bench.runs import Runs
from workbench.settings import Settings


class Bench(Reports, Cohorts, Experiments, Amendments, Runs, Priors, Harvests, Browsing, Routes):
    """One bench, open: the archive it knows, the arrays it keeps, the runs it made, the nodes it sends to."""


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
