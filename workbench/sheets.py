"""A researcher's table from where it is: a CSV, Parquet or Excel file, or a DataFrame."""

import math
import struct
import zlib
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile, ZipFile

from catalog.errors import NotFoundError, SheetError, words_of
from catalog.sheet import MOST_BYTES, MOST_ROWS, Cell, Sheet, parse_csv

if TYPE_CHECKING:
    import pandas as pd

_CSV = frozenset({".csv", ".tsv", ".tab", ".txt"})
_EXCEL = frozenset({".xlsx", ".xlsm"})
MOST_INFLATED = 64 << 20
"""Bytes of an Excel file once inflated; what reads it takes many times as much memory."""
_PARQUET = frozenset({".parquet", ".pq"})


def read_sheet(table: "str | Path | pd.DataFrame") -> Sheet:
    """Return a table as it was written.

    Raises
    ------
    NotFoundError
        If there is no such file.
    SheetError
        If it is no table, or its kind cannot be read here.
    """
    if not isinstance(table, str | Path):
        if not hasattr(table, "columns") or not hasattr(table, "itertuples"):
            raise SheetError(f"table is a file or a DataFrame, not {type(table).__name__}")
        return _of_frame(table)
    path = Path(table).expanduser()
    if not path.is_file():
        raise NotFoundError(f"{path} is no file; table is a CSV, Parquet or Excel file, or a DataFrame")
    kind = path.suffix.lower()
    try:
        if path.stat().st_size > MOST_BYTES:
            raise SheetError(
                f"{path} has more than {MOST_BYTES >> 20} MiB, which no table of an experiment has"
            )
        if kind in _PARQUET:
            return _of_frame(_parquet(path))
        if kind in _EXCEL:
            return _of_frame(_excel(path), first=2)
        if kind in _CSV:
            return parse_csv(path.read_bytes())
    except OSError as error:
        raise SheetError(f"{path} cannot be read: {words_of(error)}") from None
    raise SheetError(f"{path.name} is none of .csv, .tsv, .xlsx, .parquet; save the table as one of them")


def _parquet(path: Path) -> "pd.DataFrame":
    try:
        import pyarrow.parquet as pq  # type: ignore[import-untyped]
    except ModuleNotFoundError:
        raise SheetError("Parquet needs pyarrow: pip install 'imaging-workbench[parquet]'") from None
    try:
        file = pq.ParquetFile(path)
        if file.metadata.num_rows > MOST_ROWS:
            raise SheetError(
                f"{path.name} has {file.metadata.num_rows:,} rows, one of an experiment {MOST_ROWS:,} at most"
            )
        frame: pd.DataFrame = file.read().to_pandas()
    except ValueError as error:
        if isinstance(error, SheetError):
            raise
        raise SheetError(f"{path.name} cannot be read as Parquet") from None
    return frame


def _excel(path: Path) -> "pd.DataFrame":
    import pandas as pd

    try:
        with ZipFile(path) as file:
            inflated = sum(each.file_size for each in file.infolist())  # none is read any further
        if inflated > MOST_INFLATED:
            raise SheetError(
                f"{path.name} has more than {MOST_INFLATED >> 20} MiB inflated; save the table as CSV"
            )
        return pd.read_excel(path, engine="openpyxl")
    except ImportError:
        raise SheetError(
            "an Excel file needs openpyxl: pip install openpyxl; or save the table as CSV, semicolons and "
            "decimal commas are understood"
        ) from None
    except _NO_EXCEL as error:
        if isinstance(error, SheetError):
            raise
        raise SheetError(f"{path.name} cannot be read as an Excel file: {type(error).__name__}") from None


_NO_EXCEL = (
    ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError, SyntaxError, EOFError,
    BadZipFile, zlib.error, struct.error,
)  # fmt: skip
"""What openpyxl and the parser of XML below it raise of a damaged file."""


def _of_frame(frame: "pd.DataFrame", first: int = 1) -> Sheet:
    frame = frame.set_axis(_names(frame), axis=1)
    named = [level for level, name in enumerate(frame.index.names) if name is not None]
    if named:
        frame = frame.reset_index(level=named, allow_duplicates=True)
    columns = tuple(str(name).strip() for name in frame.columns)
    rows, numbers = [], []
    if len(frame) > MOST_ROWS:
        raise SheetError(f"the table has {len(frame):,} rows, one of an experiment {MOST_ROWS:,} at most")
    for number, row in enumerate(frame.itertuples(index=False, name=None), start=first):
        cells = tuple(map(_cell, row))
        if any(cell is not None for cell in cells):
            rows.append(cells)
            numbers.append(number)
    return Sheet(columns, tuple(rows), tuple(numbers))


def _names(frame: "pd.DataFrame") -> list[str]:
    """Names of the columns; where they have levels, those that tell columns apart, joined."""
    if frame.columns.nlevels == 1:
        return [str(name).strip() for name in frame.columns]
    apart = [
        level
        for level in range(frame.columns.nlevels)
        if len(frame.columns) < 2 or frame.columns.get_level_values(level).nunique(dropna=False) > 1
    ]
    return [" ".join(str(name[level]) for level in apart).strip() for name in frame.columns]


def _cell(value: Any) -> Cell:
    """A value as JSON has it; `None` for the many kinds of nothing."""
    if hasattr(value, "item"):  # NumPy's
        value = value.item()
    if value is None or value != value or str(value) in ("<NA>", "NaT"):
        return None
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**63 else str(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            return str(value)
        return int(value) if value == int(value) and abs(value) < 2**53 else value  # empty cells make floats
    if isinstance(value, datetime):
        return (
            value.isoformat() if any((value.hour, value.minute, value.second)) else value.date().isoformat()
        )
    return value.isoformat() if isinstance(value, date) else str(value)
