"""Annotations of many series as one table to compute with."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from catalog.annotations import Annotation

if TYPE_CHECKING:
    import pandas as pd

_DRAWN = ("kind", "text", "index", "points", "outline", "is_closed")
"""Of the mark itself, as the viewer has it."""


def frame_of(annotations: Sequence[Annotation]) -> "pd.DataFrame":
    """One row an annotation: who, when, where, and what is drawn; points in LPS mm."""
    import pandas as pd

    recorded = [name for name in Annotation.__dataclass_fields__ if name != "drawn"]
    rows = [
        {name: getattr(each, name) for name in recorded}
        | {name: (each.drawn or {}).get(name) for name in _DRAWN}
        for each in annotations
    ]
    return pd.DataFrame(rows, columns=[*recorded, *_DRAWN])
