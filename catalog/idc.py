"""The index of the NCI Imaging Data Commons, a Parquet file on this disk, as series known from elsewhere."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from catalog.database import Catalog
from catalog.errors import NotFoundError, SettingsError
from catalog.records import Progress, RemoteReport, Value, no_progress
from catalog.remotes import BATCH, record_columns
from catalog.told import Columns

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

SOURCE = "idc"
SUFFIX = ".parquet"
_MEGABYTE = 1_000_000
_TEXT_LIMIT = 10_000


def idc_index() -> Path:
    """Return the index that the package `idc-index-data` ships.

    Raises
    ------
    SettingsError
        If it is not installed; says how.
    """
    if find_spec("idc_index_data") is None:
        raise SettingsError("the index of the IDC is not installed: pip install 'imaging-workbench[idc]'")
    import idc_index_data

    return Path(str(idc_index_data.IDC_INDEX_PARQUET_FILEPATH))


def index_idc(
    catalog: Catalog, path: Path, *, complete: bool = False, progress: Progress = no_progress
) -> RemoteReport:
    """Record every series of an index of the IDC, or of a part of it.

    Parameters
    ----------
    path
        A Parquet file with the columns of `idc_index.parquet`; those that are missing are left out.
    complete
        Whether these are all: those that it has no longer are then withdrawn.
    progress
        Called with how many series are recorded, and how many there are.

    Raises
    ------
    NotFoundError
        If there is no such file, or it is no index of series.
    SettingsError
        If what reads Parquet is not installed.
    """
    started, file = monotonic(), _opened(path)
    total = file.metadata.num_rows
    report = record_columns(
        catalog, SOURCE, _batches(file), complete=complete, progress=lambda done, _: progress(done, total)
    )
    return replace(report, seconds=monotonic() - started)


def _opened(path: Path) -> "pq.ParquetFile":
    if find_spec("pyarrow") is None:
        raise SettingsError("an index in Parquet needs pyarrow: pip install 'imaging-workbench[idc]'")
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path, pre_buffer=False)
    except FileNotFoundError:
        raise NotFoundError(f"no file {path}") from None
    except pa.ArrowInvalid:
        raise NotFoundError(f"{path} is no Parquet file") from None
    missing = {"SeriesInstanceUID", "StudyInstanceUID", "PatientID"} - set(file.schema_arrow.names)
    if missing:
        raise NotFoundError(f"{path} is no index of series; it has no column {', '.join(sorted(missing))}")
    return file


def _batches(file: "pq.ParquetFile") -> Iterator[Columns]:
    names = [name for name in _COLUMNS if name in file.schema_arrow.names]
    for batch in file.iter_batches(BATCH, columns=names):
        columns = {_COLUMNS[name][0]: _values(batch.column(name), _COLUMNS[name][1]) for name in names}
        nowhere: list[Value] = [None] * batch.num_rows
        addresses = zip(columns.get("address", nowhere), columns["series_instance_uid"], strict=True)
        yield columns | {"address": [address or f"{SOURCE}:{uid or ''}" for address, uid in addresses]}


def _values(column: "pa.Array", convert: Callable[[Any], Value]) -> list[Value]:
    """The values as the catalog has them; each that occurs is converted once."""
    encoded = column.dictionary_encode()
    values = [*map(convert, encoded.dictionary.to_pylist()), None]
    return [values[at] for at in encoded.indices.fill_null(-1).to_pylist()]


def _text(value: Any) -> str | None:
    return str(value).replace("\0", "").strip()[:_TEXT_LIMIT] or None if value is not None else None


def _date(value: Any) -> str | None:
    """A date as DICOM writes it: 1997-09-17 becomes 19970917."""
    digits = str(value).replace("-", "")[:8] if value is not None else ""
    return digits if len(digits) == 8 and digits.isdecimal() else None


def _integer(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _bytes(value: Any) -> int | None:
    return round(value * _MEGABYTE) if isinstance(value, float) and 0 <= value < 1e12 else None


def _bucket(value: Any) -> str | None:
    text = _text(value)
    return text.removesuffix("*").rstrip("/") if text else None


type _Column = tuple[str, Callable[[Any], Value]]
_COLUMNS: dict[str, _Column] = {
    "PatientID": ("patient_id", _text),
    "PatientSex": ("patient_sex", _text),
    "StudyInstanceUID": ("study_instance_uid", _text),
    "StudyDate": ("study_date", _date),
    "StudyDescription": ("study_description", _text),
    "PatientAge": ("patient_age", _text),
    "SeriesInstanceUID": ("series_instance_uid", _text),
    "Modality": ("modality", _text),
    "SeriesNumber": ("series_number", _integer),
    "SeriesDescription": ("series_description", _text),
    "SeriesDate": ("series_date", _date),
    "BodyPartExamined": ("body_part_examined", _text),
    "Manufacturer": ("manufacturer", _text),
    "ManufacturerModelName": ("manufacturer_model_name", _text),
    "series_aws_url": ("address", _bucket),
    "instanceCount": ("instances", _integer),
    "series_size_MB": ("bytes", _bytes),
    "collection_id": ("collection", _text),
    "analysis_result_id": ("analysis_result", _text),
    "license_short_name": ("license", _text),
    "source_DOI": ("doi", _text),
}
"""Columns of the index and of the catalog. Those of instances (SOP class, transfer syntax) are left out: the
index has one value where instances may differ."""
