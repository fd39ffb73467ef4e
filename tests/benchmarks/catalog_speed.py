"""Questions to a catalog of a million series elsewhere, beside DuckDB on the same Parquet in the same run.

`python tests/benchmarks/catalog_speed.py [catalog.db] [repeats]` builds a catalog from the index of the IDC,
or takes one that is there, and prints 95 of 100 times, warm, in ms.
"""

import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time

import duckdb

from catalog.database import Catalog
from catalog.facets import count_facets
from catalog.idc import idc_index, index_idc
from catalog.query import count_series, find_series
from workbench.question import question

REPEATS = 100
RARE_DAY = "19000919"
"""One study of the index is of it."""
BUILD_LIMIT_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Asked:
    """One question in both languages."""

    what: str
    limit_ms: float
    ours: Callable[[Catalog], object]
    sql: str


def _words(catalog: Catalog, *words: str) -> object:
    where, matching = question(words, None)
    return find_series(catalog, where=where, limit=50, **matching)


def questions(patient_id: str, uid: str) -> list[Asked]:
    """What is asked; a patient and a series of the index are given."""
    page = "ORDER BY PatientID LIMIT 50"
    return [
        Asked(
            "first page, CT of the chest", 20,
            lambda catalog: find_series(catalog, modality="CT", body_part_examined="CHEST", limit=50),
            f"SELECT * FROM idc WHERE Modality = 'CT' AND BodyPartExamined = 'CHEST' {page}",
        ),
        Asked(
            "first page, MR", 20, lambda catalog: find_series(catalog, modality="MR", limit=50),
            f"SELECT * FROM idc WHERE Modality = 'MR' {page}",
        ),
        Asked(
            "first page, of everything", 20, lambda catalog: find_series(catalog, limit=50),
            f"SELECT * FROM idc {page}",
        ),
        Asked(
            "one patient", 5, lambda catalog: find_series(catalog, patient_id=patient_id),
            f"SELECT * FROM idc WHERE PatientID = '{patient_id}'",
        ),
        Asked(
            "one series", 5, lambda catalog: find_series(catalog, series_instance_uid=uid),
            f"SELECT * FROM idc WHERE SeriesInstanceUID = '{uid}'",
        ),
        Asked(
            "one day that is rare", 20, lambda catalog: find_series(catalog, study_date=RARE_DAY, limit=50),
            f"SELECT * FROM idc WHERE StudyDate = '{RARE_DAY}' LIMIT 50",
        ),
        Asked(
            "a year of CT", 20,
            lambda catalog: find_series(catalog, study_date="20100101-20101231", modality="CT", limit=50),
            f"SELECT * FROM idc WHERE StudyDate BETWEEN '20100101' AND '20101231' AND Modality = 'CT' {page}",
        ),
        Asked(
            "a name that nobody has", 5,
            lambda catalog: find_series(catalog, patient_name="Nobody^*", limit=50),
            "SELECT * FROM idc WHERE PatientID ILIKE 'Nobody^%' LIMIT 50",
        ),
        Asked(
            "free text, two letters", 50, lambda catalog: _words(catalog, "zq"),
            "SELECT * FROM idc WHERE SeriesDescription ILIKE '%zq%' OR StudyDescription ILIKE '%zq%' "
            "OR BodyPartExamined ILIKE '%zq%' LIMIT 50",
        ),
        Asked(
            "free text, liver", 50, lambda catalog: _words(catalog, "liver"),
            "SELECT * FROM idc WHERE SeriesDescription ILIKE '%liver%' OR StudyDescription ILIKE '%liver%' "
            "OR BodyPartExamined ILIKE '%liver%' LIMIT 50",
        ),
        Asked(
            "facets, modality", 60, lambda catalog: count_facets(catalog, "modality"),
            "SELECT Modality, count(*) FROM idc GROUP BY 1",
        ),
        Asked(
            "count of CT", 60, lambda catalog: count_series(catalog, modality="CT"),
            "SELECT count(*) FROM idc WHERE Modality = 'CT'",
        ),
    ]  # fmt: skip


def p95(run: Callable[[], object], repeats: int) -> float:
    """95 of 100 runs take no longer, ms; few of those that take long."""
    taken: list[float] = []
    run()
    until = perf_counter() + 10
    while len(taken) < repeats and (len(taken) < 5 or perf_counter() < until):
        started = perf_counter()
        run()
        taken.append(1e3 * (perf_counter() - started))
    return statistics.quantiles(taken, n=20, method="inclusive")[-1]


def main(path: str | None = None, repeats: int = REPEATS) -> None:
    """Print the table."""
    index = idc_index()
    with tempfile.TemporaryDirectory() as folder:
        catalog = Catalog(path or Path(folder) / "catalog.db")
        if not count_series(catalog):
            clock, core = perf_counter(), process_time()
            report = index_idc(catalog, index)
            clock, core = perf_counter() - clock, process_time() - core
            sys.stdout.write(
                f"catalog of {report.added:,} series: built in {clock:.0f} s, {core:.0f} s of a core, "
                f"wanted {BUILD_LIMIT_SECONDS} s\n"
            )
        (one,) = find_series(catalog, limit=1, page=500_000)
        peer = duckdb.connect()
        peer.execute(f"CREATE VIEW idc AS SELECT * FROM '{index}'")
        sys.stdout.write(f"  {'p95, ms':<30}{'ours':>9}{'DuckDB':>9}{'wanted':>9}\n")
        for each in questions(one.patient_id, one.series_instance_uid):
            ours = p95(lambda ask=each.ours: ask(catalog), repeats)  # type: ignore[misc]
            theirs = p95(lambda sql=each.sql: peer.execute(sql).fetchall(), repeats)  # type: ignore[misc]
            sys.stdout.write(f"  {each.what:<30}{ours:>9.1f}{theirs:>9.1f}{each.limit_ms:>9.0f}\n")
            sys.stdout.flush()
        catalog.close()


if __name__ == "__main__":
    main(*sys.argv[1:2], *map(int, sys.argv[2:3]))
