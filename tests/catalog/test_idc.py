"""The index of the IDC: real rows of three hundredths of its patients, counted by others."""

import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalog.database import Catalog
from catalog.errors import NotFoundError
from catalog.idc import idc_index, index_idc
from catalog.query import find_series
from catalog.remotes import remote_of


@pytest.fixture
def part(shared_data: Path, tmp_path: Path) -> Path:
    """A part of the sample that is read in no time, with an address each as in the whole index."""
    whole = pq.read_table(shared_data / "catalog" / "idc_series_sample.parquet")
    table = whole.slice(0, 1_500)
    urls = [f"s3://idc-open-data/{number}/*" for number in range(len(table))]
    path = tmp_path / "part.parquet"
    pq.write_table(table.append_column("series_aws_url", pa.array(urls)), path)
    return path


def test_every_series_is_there_as_the_index_has_it_and_twice_is_once(catalog: Catalog, part: Path) -> None:
    rows = pq.read_table(part).to_pylist()
    steps: list[tuple[int, int | None]] = []
    report = index_idc(catalog, part, progress=lambda *step: steps.append(step))
    assert (report.added, report.rejected, report.withdrawn) == (len(rows), (), 0)
    assert steps[-1] == (len(rows), len(rows))

    found = {each.series_instance_uid: each for each in find_series(catalog)}
    assert len(found) == len(rows)
    for number, row in enumerate(rows):
        each = found[row["SeriesInstanceUID"]]
        assert each.remote == f"s3://idc-open-data/{number}"
        assert each.instances == row["instanceCount"]
        assert each.modality == row["Modality"]
        assert each.patient_id == row["PatientID"]
        assert each.study_date == ((row["StudyDate"] or "").replace("-", "") or None)
        assert each.series_description == ((row["SeriesDescription"] or "").strip() or None)
    collections = Counter(row["collection_id"] for row in rows)
    name, count = collections.most_common(1)[0]
    assert len(find_series(catalog, where=f"collection == '{name}'")) == count
    assert len(find_series(catalog, where=f"collection != '{name}'")) == len(rows) - count
    assert len(find_series(catalog, where="source = 'idc' and license ~ 'cc by' and doi is present")) > 0
    assert find_series(catalog, where="source is empty") == []
    told = remote_of(catalog, rows[0]["SeriesInstanceUID"])
    assert told is not None
    assert told.bytes == round(rows[0]["series_size_MB"] * 1e6)
    assert told.license == rows[0]["license_short_name"]

    again = index_idc(catalog, part)
    assert (again.added, again.updated, again.unchanged) == (0, 0, len(rows))


def test_a_newer_index_updates_adds_and_withdraws(catalog: Catalog, part: Path) -> None:
    whole = pq.read_table(part)
    pq.write_table(whole.slice(0, 100), part)
    index_idc(catalog, part)
    newer = whole.slice(10, 100).to_pandas()
    newer.loc[0, "SeriesDescription"] = "corrected"
    pq.write_table(pa.Table.from_pandas(newer), part)

    report = index_idc(catalog, part, complete=True)

    assert (report.added, report.updated, report.unchanged, report.withdrawn) == (10, 1, 89, 10)
    found = find_series(catalog)
    assert {each.series_instance_uid for each in found} == set(newer["SeriesInstanceUID"])
    assert [each.series_description for each in found].count("corrected") == 1


@pytest.mark.slow
def test_the_sample_has_the_counts_that_others_found(sqlite_catalog: Catalog, shared_data: Path) -> None:
    answers = json.loads((shared_data / "catalog" / "answers.json").read_text())
    report = index_idc(sqlite_catalog, shared_data / "catalog" / "idc_series_sample.parquet")
    found = find_series(sqlite_catalog)
    assert report.added == len(found) == answers["series"]
    assert len({each.study_instance_uid for each in found}) == answers["studies"]
    assert len({each.patient_id for each in found}) == answers["patients"]
    assert sum(each.instances for each in found) == answers["instances"]
    assert Counter(each.modality for each in found) == answers["series_by_modality"]


def test_what_is_no_index_says_so(sqlite_catalog: Catalog, tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    with pytest.raises(NotFoundError, match="no file"):
        index_idc(sqlite_catalog, path)
    path.write_bytes(b"PAR1 but no more")
    with pytest.raises(NotFoundError, match="is no Parquet file"):
        index_idc(sqlite_catalog, path)
    pq.write_table(pa.table({"PatientID": ["1"]}), path)
    with pytest.raises(NotFoundError, match="no column SeriesInstanceUID, StudyInstanceUID"):
        index_idc(sqlite_catalog, path)


def test_the_installed_package_has_an_index() -> None:
    assert pq.ParquetFile(idc_index()).metadata.num_rows > 1_000_000
