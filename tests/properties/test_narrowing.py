"""A question that an index narrows down to few series has the answers of one that every instance is asked.

Twice denied in parentheses an expression is the same, and nothing narrows it down.
"""

from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.database import Catalog
from catalog.index import settle
from catalog.models import (
    files,
    header_keys,
    header_values,
    header_varying,
    instance_headers,
    instances,
    patients,
    remotes,
    series,
    studies,
)
from catalog.query import count_series, find_series
from catalog.records import Content, InstanceHeader, RemoteSeries, Value, Values, difference
from catalog.remotes import record_remotes
from catalog.scan import Found

FILTER, KVP, HEIGHT = "00181160", "00180060", "00181130"
OF_A_FRAME = f"52009229.00189325.{KVP}"
SPACING, RESCALE_TYPE = "52009229.00289110.00280030", "52009229.00289145.00281054"
TEXTS = st.sampled_from(["RARE", "WEDGE", "wedge"])
NUMBERS = st.sampled_from([-1.0, 0.5, 77.0, 120.0])
DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        FILTER: st.tuples(TEXTS),
        HEIGHT: st.lists(NUMBERS, min_size=1, max_size=2, unique=True).map(tuple),
        OF_A_FRAME: st.tuples(NUMBERS),
        SPACING: st.tuples(NUMBERS),
        RESCALE_TYPE: st.tuples(TEXTS),
        "00201041.00181160": st.tuples(TEXTS | NUMBERS),
    },
)
MODALITIES = st.sampled_from(["CT", "PT", None])
SERIES = st.tuples(
    MODALITIES,
    st.lists(
        st.tuples(
            st.none() | NUMBERS, st.none() | DOCUMENTS, st.none() | st.sampled_from(["CT", "PT", "DOC"])
        ),
        min_size=1,
        max_size=3,
    ),
)

OF_NUMBERS = st.sampled_from(["TableHeight", "KVP"])
ORDERS = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])
ATOMS = st.one_of(
    st.builds(
        "{} {} {}".format,
        st.sampled_from(["FilterType", "0018,1160", "RescaleType"]),
        st.sampled_from(["=", "!=", "<", ">=", "~", "!~"]),
        st.sampled_from(["'RARE'", "'WEDGE'", "'ed'"]),
    ),
    st.builds(
        "{} {} {}".format,
        OF_NUMBERS | st.just("PixelSpacing"),
        ORDERS,
        st.sampled_from(["-1", "0.5", "77", "100"]),
    ),
    st.builds(
        "{} is {}".format,
        OF_NUMBERS | st.sampled_from(["FilterType", "Modality", "PixelSpacing", "RescaleType", "PatientID"]),
        st.sampled_from(["empty", "present"]),
    ),
    st.builds("{} {} (77, 120)".format, OF_NUMBERS, st.sampled_from(["in", "not in"])),
    st.sampled_from(
        [
            "Modality = 'CT'",
            "Modality != 'PT'",
            "Modality not in ('CT', 'DOC')",
            "Modality ~ 'o'",
            "SeriesDescription ~ 'doc'",
            "PatientID ~ '1'",
            "ImageType = 'X'",
            "TransferSyntaxUID = '1.2'",
        ]
    ),
    st.sampled_from(
        [
            "collection is present",
            "finding is empty",
            "finding != 'deviation'",
            "finding = 'unchecked'",
            "report is empty",
        ]
    ),
)
EXPRESSIONS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from(["and", "or"]), inner),
        inner.map("not {}".format),
        inner.map("not not {}".format),
    ),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def catalog(shared_catalog: Catalog) -> Catalog:
    return shared_catalog


def fill(catalog: Catalog, made: list[Any], elsewhere: list[str | None]) -> None:
    """Series with the columns and documents of their instances, and series that are known from elsewhere."""
    with catalog.transaction() as connection:
        for table in (
            remotes, files, instance_headers, header_varying, header_values, header_keys,
            instances, series, studies, patients,
        ):  # fmt: skip
            connection.execute(sa.delete(table))
    headers = []
    for number, (modality, of_instances) in enumerate(made):
        first: dict[str, Values] = next(
            (document for _, document, _ in of_instances if document is not None), {}
        )
        headers += [
            header(number, own or modality, place, kvp, first, document)
            for place, (kvp, document, own) in enumerate(of_instances)
        ]
    settle(catalog, [Found("/a", str(at), 1, 1) for at in range(len(headers))], headers, {})
    told = [
        RemoteSeries(above(f"far{number}", modality), "pacs://FAR", "pacs://FAR", collection="c")
        for number, modality in enumerate(elsewhere)
    ]
    record_remotes(catalog, "pacs://FAR", told)


def above(name: object, modality: str | None) -> dict[str, Value]:
    number = int.from_bytes(str(name).encode())
    values: dict[str, Value] = {
        "patient_id": f"P{name}",
        "study_instance_uid": f"1.3.{number}",
        "series_instance_uid": f"1.2.{number}",
    }
    return values if modality is None else values | {"modality": modality, "series_description": modality}


def header(
    number: int,
    modality: str | None,
    place: int,
    kvp: float | None,
    first: dict[str, Values],
    document: dict[str, Values] | None,
) -> InstanceHeader:
    values = above(number, modality) | {"sop_instance_uid": f"1.4.{number}.{place}"}
    return InstanceHeader(
        f"/a/{number}-{place}",
        1,
        1,
        f"{number}-{place}",
        "1.2",
        values if kvp is None else values | {"kvp": kvp},
        None,
        content=None if document is None else Content(first, difference(document, first)),
    )


@settings(max_examples=60, deadline=None)
@given(
    made=st.lists(SERIES, max_size=4),
    elsewhere=st.lists(MODALITIES, max_size=2),
    asked=st.lists(EXPRESSIONS, min_size=1, max_size=4),
)
def test_narrowed_and_not_narrowed_the_answers_are_the_same(
    catalog: Catalog, made: list[Any], elsewhere: list[str | None], asked: list[str]
) -> None:
    fill(catalog, made, elsewhere)
    for each in asked:
        found = find_series(catalog, where=each)

        assert found == find_series(catalog, where=f"not (not ({each}))")
        assert count_series(catalog, where=each) == len(found)
        assert {one.series_instance_uid for one in find_series(catalog, where=each, limit=9)} == {
            one.series_instance_uid for one in found
        }
