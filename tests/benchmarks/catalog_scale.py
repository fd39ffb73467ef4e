"""How the rate of the index and the time of questions change from 100,000 instances to ten million.

`python tests/benchmarks/catalog_scale.py [catalog.sqlite] [sizes …]` prints both for each size, by default
100,000 and a million; `10000000` takes 10 GB and half an hour. Headers are values, no file is read: what is
measured is what the index does below reading. The last `WINDOW` instances before each size are written by the
index itself; those between are copied from the first ones by SQL, with UIDs of their own, as random as those
of anonymised archives.
"""

import random
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import batched, islice
from pathlib import Path
from time import perf_counter, process_time

import sqlalchemy as sa

from catalog import models
from catalog.database import CACHE_KIB, Catalog
from catalog.doubts import settle as settle_doubts
from catalog.facets import count_facets
from catalog.index import BATCH, settle
from catalog.query import count_series, find_instances, find_series, instances_of
from catalog.records import Content, InstanceHeader, PixelData, Value
from catalog.scan import Found

SIZES = (100_000, 1_000_000)
WINDOW = 50_000
"""Instances whose rate is measured at each size."""
TEMPLATE = 100_000 - WINDOW
"""Those that are copied."""
IN_SERIES, IN_STUDY, IN_PATIENT = 125, 4, 2
GROWING_KIB = 3_000_000
"""Pages in memory while rows are copied: random UIDs go anywhere into an index of a gigabyte."""
REPEATS = 100
SECONDS = 5
"""A question that takes long is asked less often."""
ROOT = "1.3.6.1.4.1.14519.5.2.1"
KINDS = (("CT", "CHEST"), ("CT", "ABDOMEN"), ("MR", "BRAIN"), ("MR", "KNEE"), ("PT", "CHEST"))
FILTERS = ("WEDGE", "BODY FILTER", "FLAT", "NONE")
RARE = 3
"""The one series that is like no other is the third of those that are written before each size."""
FIRST = 10


def _uid(rng: random.Random) -> str:
    return f"{ROOT}.{rng.randrange(10**38, 10**39)}"


def headers(first_series: int) -> Iterator[tuple[Found, InstanceHeader]]:
    """Files and their headers, without end: a series a folder, 45 columns and 40 elements beside them."""
    rng = random.Random(first_series)
    number = first_series
    while True:
        if number % (IN_STUDY * IN_PATIENT) == 0 or number == first_series:
            patient: dict[str, Value] = {
                "patient_id": f"P{number}",
                "patient_name": f"Case^{number}",
                "patient_sex": "F",
                "patient_birth_date": "19600101",
            }
        if number % IN_STUDY == 0 or number == first_series:
            study: dict[str, Value] = {
                "study_instance_uid": _uid(rng),
                "study_date": f"20{number % 25:02}0{number % 9 + 1}11",
                "study_time": "101500",
                "study_description": "routine",
                "accession_number": f"A{number}",
                "study_id": str(number),
            }
        yield from _series(rng, number, patient | study)
        number += 1


def _series(
    rng: random.Random, number: int, above: dict[str, Value]
) -> Iterator[tuple[Found, InstanceHeader]]:
    uid, (modality, body_part) = _uid(rng), KINDS[number % len(KINDS)]
    is_rare = number % 10_000 == RARE
    of_series: dict[str, Value] = above | {
        "series_instance_uid": uid,
        "frame_of_reference_uid": _uid(rng),
        "modality": modality,
        "body_part_examined": body_part,
        "series_number": number % IN_STUDY,
        "series_description": f"{modality} {body_part.lower()} axial",
        "manufacturer": "Maker",
        "manufacturer_model_name": f"Model {number % 7}",
        "software_versions": "1.0",
        "patient_position": "HFS",
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.2",
        "specific_character_set": "ISO_IR 192",
        "image_type": "ORIGINAL\\PRIMARY\\AXIAL",
        "acquisition_date": "20260105",
        "content_date": "20260105",
        "kvp": 77.0 if is_rare else 120.0,
        "image_orientation_patient": "1.0\\0.0\\0.0\\0.0\\1.0\\0.0",
        "pixel_spacing": "0.8\\0.8",
        "slice_thickness": (0.8, 1.5, 2.5, 5.0)[number % 4],
        "rows": 512,
        "columns": 512,
        "samples_per_pixel": 1,
        "photometric_interpretation": "MONOCHROME2",
        "bits_allocated": 16,
        "bits_stored": 12,
        "high_bit": 11,
        "pixel_representation": 0,
        "rescale_slope": 1.0,
        "rescale_intercept": -1024.0,
        "rescale_type": "HU",
    }
    like = {f"0009{element:04X}": (f"private {element}",) for element in range(0x1000, 0x1025)}
    like |= {"00181130": (float(number % 200),), "00181160": ("RARE" if is_rare else FILTERS[number % 4],)}
    for place in range(IN_SERIES):
        found = Found(f"/archive/{uid}", f"{place:05}.dcm", 530_000, 1_700_000_000_000_000_000 + place)
        values = of_series | {
            "sop_instance_uid": _uid(rng),
            "instance_number": place + 1,
            "acquisition_time": f"1015{place % 60:02}",
            "content_time": f"1015{place % 60:02}",
            "image_position_patient": f"-200.0\\-200.0\\{place * 2.5}",
            "slice_location": place * 2.5,
            "x_ray_tube_current": 100 + place,
            "exposure_time": 500,
        }
        differing = {} if place == 0 else {"00181152": (50 + place % 40,), "00201041": (place * 2.5,)}
        yield (
            found,
            InstanceHeader(
                found.path,
                found.size,
                found.mtime_ns,
                f"{rng.getrandbits(256):064x}",
                "1.2.840.10008.1.2.1",
                values,
                PixelData(0x7FE00010, "OW", 6_000, 524_288),
                content=Content(like, differing),
            ),
        )


def write(catalog: Catalog, first_series: int, count: int) -> tuple[float, float]:
    """Write so many instances as the index does; return seconds of the clock and of a core."""
    clock = core = 0.0
    for batch in batched(islice(headers(first_series), count), BATCH):
        found, read = [each for each, _ in batch], [header for _, header in batch]
        started, spent = perf_counter(), process_time()
        settle(catalog, found, read, {})
        clock, core = clock + perf_counter() - started, core + process_time() - spent
    settle_doubts(catalog)
    return clock, core


_RANDOM = f"'{ROOT}.' || abs(random()) || abs(random())"
_OTHERWISE = {
    "sop_instance_uid": _RANDOM,
    "series_instance_uid": _RANDOM,
    "study_instance_uid": _RANDOM,
    "frame_of_reference_uid": _RANDOM,
    "header_digest": "lower(hex(randomblob(32)))",
    "identity": "identity || '-' || :copy",
    "patient_id": "patient_id || '-' || :copy",
    "folder": "'/archive/' || (:copy * 7919 % 10007) || folder",
}
_COPIED = (
    models.patients, models.studies, models.series, models.instances, models.header_values,
    models.header_varying, models.instance_headers, models.series_spans, models.files,
)  # fmt: skip


def grow(catalog: Catalog, rows: int) -> None:
    """Copy the first instances, again and again, until there are about so many."""
    limits = _limits(catalog)
    while (there := _largest(catalog, models.instances)) + TEMPLATE <= rows:
        values: dict[str, int] = {"copy": there}
        for table in _COPIED:
            if "id" in table.c:
                values[f"of_{table.name}"] = _largest(catalog, table)
        with catalog.transaction() as connection:
            connection.exec_driver_sql(f"PRAGMA cache_size = -{GROWING_KIB}")
            for table in _COPIED:
                connection.execute(sa.text(_copying(table, limits)), values)
            connection.exec_driver_sql(f"PRAGMA cache_size = -{CACHE_KIB}")  # as it is for whoever asks
        settle_doubts(catalog)


def _limits(catalog: Catalog) -> dict[str, int]:
    with catalog.reading() as connection:
        of_instance = {"instances": TEMPLATE}
        for table, column, below in (
            (models.series, models.instances.c.series, models.instances),
            (models.studies, models.series.c.study, models.series),
            (models.patients, models.studies.c.patient, models.studies),
        ):
            limit = sa.select(sa.func.max(column)).where(below.c.id <= of_instance[below.name])
            of_instance[table.name] = connection.scalar(limit) or 0
    return of_instance


def _largest(catalog: Catalog, table: sa.Table) -> int:
    with catalog.reading() as connection:
        return connection.scalar(sa.select(sa.func.max(table.c.id))) or 0


def _copying(table: sa.Table, limits: dict[str, int]) -> str:
    """`INSERT … SELECT` of the template's rows, numbers of rows shifted."""
    terms, leading = [], ""
    for column in table.c:
        target = next((key.column.table.name for key in column.foreign_keys), "")
        if column.name == "id":
            terms.append(f"id + :of_{table.name}")
        elif target in limits:
            terms.append(f"{column.name} + :of_{target}")
            leading = leading or f"{column.name} <= {limits[target]}"
        else:
            terms.append(_OTHERWISE.get(column.name, f'"{column.name}"'))
    if table.name in limits:
        leading = f"id <= {limits[table.name]}"
    names = ", ".join(f'"{column.name}"' for column in table.c)
    return f"INSERT INTO {table.name} ({names}) SELECT {', '.join(terms)} FROM {table.name} WHERE {leading}"


def questions(catalog: Catalog) -> dict[str, Callable[[], object]]:
    """What is asked, of another series each time where one is asked for."""
    rng = random.Random(1)
    with catalog.reading() as connection:
        most = connection.scalar(sa.select(sa.func.max(models.instances.c.id))) or 0
        one = (
            sa.select(
                models.instances.c.sop_instance_uid,
                models.series.c.series_instance_uid,
                models.studies.c.study_instance_uid,
                models.patients.c.patient_id,
            )
            .join_from(models.instances, models.series)
            .join(models.studies, models.studies.c.id == models.series.c.study)
            .join(models.patients, models.patients.c.id == models.studies.c.patient)
        )
        rows = [
            connection.execute(one.where(models.instances.c.id == rng.randrange(1, most))).one()
            for _ in range(2 * REPEATS)
        ]

    def any_row() -> sa.Row[tuple[str, str, str, str]]:
        return rng.choice(rows)

    return {
        "one instance": lambda: find_instances(catalog, sop_instance_uid=any_row()[0]),
        "one series": lambda: find_series(catalog, series_instance_uid=any_row()[1]),
        "instances of a series": lambda: instances_of(catalog, any_row()[1]),
        "one study": lambda: find_series(catalog, study_instance_uid=any_row()[2]),
        "one patient": lambda: find_series(catalog, patient_id=any_row()[3]),
        "first page, CT of the chest": lambda: find_series(
            catalog, modality="CT", body_part_examined="CHEST", limit=50
        ),
        "first page, slices below 1 mm": lambda: find_series(catalog, where="SliceThickness < 1", limit=50),
        "first page, a table height": lambda: find_series(catalog, where="TableHeight > 100", limit=50),
        "first page, CT, Exposure varies": lambda: find_series(
            catalog, modality="CT", where="Exposure > 80", limit=50
        ),
        "rare text without a column": lambda: find_series(catalog, where="FilterType = 'RARE'", limit=50),
        "rare number with a column": lambda: find_series(catalog, where="KVP = 77", limit=50),
        "count of CT": lambda: count_series(catalog, modality="CT"),
        "facets, modality": lambda: count_facets(catalog, "modality"),
    }


def times(ask: Callable[[], object]) -> tuple[float, float, float]:
    """Milliseconds that 50 and 95 of 100 take at most, warm, and that 50 take of a core."""
    clock: list[float] = []
    core: list[float] = []
    ask()
    until = perf_counter() + SECONDS
    while len(clock) < REPEATS and (len(clock) < 2 or perf_counter() < until):
        started, spent = perf_counter(), process_time()
        ask()
        clock.append(1e3 * (perf_counter() - started))
        core.append(1e3 * (process_time() - spent))
    most = statistics.quantiles(clock, n=20, method="inclusive")[-1]
    return statistics.median(clock), most, statistics.median(core)


def bytes_on_disk(path: Path) -> int:
    """Of the database and its log."""
    return sum(each.stat().st_size for each in path.parent.glob(f"{path.name}*"))


def main(path: Path, sizes: tuple[int, ...]) -> None:
    """Print the tables."""
    catalog = Catalog(path)
    if not _largest(catalog, models.instances):
        write(catalog, FIRST, TEMPLATE)
    for size in sizes:
        grow(catalog, size - WINDOW)
        there, number = _largest(catalog, models.instances), _largest(catalog, models.series)
        clock, core = write(catalog, number * 10_000, WINDOW)
        total = there + WINDOW
        sys.stdout.write(
            f"{total:>12,} instances: {WINDOW / clock:,.0f} a second, {WINDOW / core:,.0f} a second of a "
            f"core, {bytes_on_disk(path) / total:,.0f} bytes an instance\n"
            f"  {'ms':<34}{'p50':>9}{'p95':>9}{'p50, core':>11}\n"
        )
        for what, ask in questions(catalog).items():
            half, most, core = times(ask)
            sys.stdout.write(f"  {what:<34}{half:>9.1f}{most:>9.1f}{core:>11.1f}\n")
            sys.stdout.flush()
    catalog.close()


if __name__ == "__main__":
    given = sys.argv[1:]
    wanted = tuple(int(each) for each in given if each.isdigit()) or SIZES
    with tempfile.TemporaryDirectory() as folder:
        main(
            next((Path(each) for each in given if not each.isdigit()), Path(folder) / "catalog.sqlite"),
            wanted,
        )
