"""Where a bench lives when nobody says where."""

import os
from pathlib import Path

HOME_VARIABLE = "WORKBENCH_HOME"


def default_home() -> Path:
    """Return the folder of `WORKBENCH_HOME`, or `imaging-workbench` in the user's home folder."""
    return Path(os.environ.get(HOME_VARIABLE) or Path.home() / "imaging-workbench").expanduser()
