"""Where a bench lives when nobody says where, and where its catalog is."""

import os
import tomllib
from pathlib import Path

from catalog.errors import SettingsError

HOME_VARIABLE, CATALOG_VARIABLE = "WORKBENCH_HOME", "WORKBENCH_CATALOG"
SETTINGS_FILE = "workbench.toml"


def default_home() -> Path:
    """Return the folder of `WORKBENCH_HOME`, or `imaging-workbench` in the user's home folder."""
    return Path(os.environ.get(HOME_VARIABLE) or Path.home() / "imaging-workbench").expanduser()


def catalog_address(home: Path) -> str:
    """Return the address of a bench's catalog, as its settings have it, without reading all of them.

    Raises
    ------
    SettingsError
        If its file cannot be read.
    """
    said = os.environ.get(CATALOG_VARIABLE)
    if said is None and (home / SETTINGS_FILE).is_file():
        try:
            said = tomllib.loads((home / SETTINGS_FILE).read_text(encoding="utf-8")).get("catalog")
        except (OSError, ValueError) as error:
            raise SettingsError(f"{home / SETTINGS_FILE} is no TOML: {error}") from None
    return str(said) if said else str(home / "catalog.sqlite")
