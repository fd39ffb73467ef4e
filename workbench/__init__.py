"""Shows and sends: the notebook's way in, the command line, and the PACS.

import workbench
bench = workbench.open()
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.session import Bench, open

__all__ = ["Bench", "open"]


def __getattr__(name: str) -> Any:  # the session is loaded when it is first wanted: importing stays quick
    if name in __all__:
        return getattr(import_module("workbench.session"), name)
    raise AttributeError(f"module 'workbench' has no attribute {name!r}")
