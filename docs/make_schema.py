"""Writes `catalog/README.md` and `docs/schema.svg`: the tables of the catalog, as they stand in the code.

`python docs/make_schema.py` draws with Graphviz (`apt-get install graphviz`).
"""

import subprocess
from collections.abc import Iterator
from html import escape
from pathlib import Path

import sqlalchemy as sa

from catalog.attributes import BY_COLUMN
from catalog.models import metadata

HERE = Path(__file__).resolve().parent
PICTURE = HERE / "schema.svg"
README = HERE.parent / "catalog" / "README.md"
WITH_ATTRIBUTES = ("patients", "studies", "series", "instances")

GROUPS: dict[str, dict[str, str]] = {
    "what exists": {
        "patients": "a person or an animal, told apart by Patient ID, issuer and name",
        "studies": "one examination",
        "series": "images of one acquisition, or the objects of one device",
        "instances": "one SOP Instance, with the digest of its header and what departs from the standard",
        "documents": "a report of a study: its text, its words, and which revision of it",
    },
    "the whole header": {
        "header_keys": "every element that occurs, with those it is nested in",
        "header_values": "what the first header of a series says, indexed as number and as text",
        "header_varying": "which elements differ within a series",
        "instance_headers": "how the header of an instance differs from the first of its series",
        "series_spans": "between which numbers a column of instances lies in a series, for rare ones",
    },
    "where it lies": {
        "files": "a file, a member of an archive or an object of a bucket, and where its pixel data begin",
        "remotes": "a series that is known from elsewhere, and the address where its pixels lie",
        "doubts": "a series that may have no place any more; so counts need not look at every file",
        "arrays": "one part of a series in Zarr, with the digests of its frames",
        "index_reports": "what each index found",
    },
    "how sound it is": {
        "findings": "what is wrong with a series: deviations, missing slices, a tilted gantry",
        "checks": "when a file or an array was last read again, and whether it was as it should be",
    },
    "what was decided": {
        "cohorts": "a frozen selection: its question, its approval, its digest",
        "annotations": "what somebody drew on a series: one revision of one mark",
        "cohort_items": "one instance of it, with the digests of its header and its file then",
        "corrections": "what somebody changed, why, and what it was before: the log, from which it is undone",
        "study_origins": "under which patient the headers of a study put it, where a correction says another",
        "experiments": "a researcher's table: its name, its columns and what they mean",
        "experiment_rows": "one row of it, as it was written",
    },
    "what was received": {
        "receptions": "an object as it came: who sent it, when, and where it was put",
        "series_events": "a series was stable, and the rule that says so",
        "routings": "what a rule did with one instance for one node",
    },
    "what was computed and sent": {
        "runs": "a step with its code, parameters and environment",
        "run_items": "what became of one array in it",
        "outputs": "a file that it made",
        "deliveries": "one object on its way to one node",
        "stages": "what happened to it, and when",
    },
}
"""Every table in one sentence."""

_COLOURS = ("#dbe9f6", "#e5f2dc", "#fbeed5", "#f6dfe0", "#e6e0f3", "#dff1f1", "#f0ead6", "#e8e8e8")

_PAGE = """# The catalog

What exists, where it is, and what was decided about it: tables in SQLite or PostgreSQL, the same on both.
`models.py` has them, `attributes.py` the columns that the four levels take from the DICOM attributes,
`migrations/` the way from every earlier schema. Picture and table are written by `docs/make_schema.py`.

![Tables of the catalog and how they point to each other](../docs/schema.svg)

An arrow leads from a row to the row it belongs to; **bold** columns together are there once, a dot marks an
index. What has a column is what people filter by; everything else of a header is searched too
(`where="0018,9087 > 800"`), see `content.py`.

| table | one row is |
| --- | --- |
{rows}

Beside them `series_texts` has all that a series and those above it say, folded, one row a series: an index of
trigrams (FTS5, `pg_trgm`) that triggers keep, see `texts.py`.

One row of `series` in words: a series belongs to a study, that to a patient; its instances each have one
place or several in `files`, of which the first that is sound is read. A row is written after the bytes it
speaks of are durable, and one transaction writes all rows of a batch: whoever reads sees none of it or all.
"""


def page() -> str:
    """The README of the catalog."""
    rows = [f"| `{name}` | {words} |" for tables in GROUPS.values() for name, words in tables.items()]
    return _PAGE.format(rows="\n".join(rows))


def dot() -> str:
    """The picture in the language of Graphviz."""
    lines = [
        "digraph catalog {",
        'graph [rankdir=RL, nodesep=0.25, ranksep=0.9, pad=0.3, fontname="Helvetica", bgcolor=white]',
        'node [shape=plain, fontname="Helvetica", fontsize=11]',
        'edge [color="#666666", arrowsize=0.7]',
    ]
    for number, (group, names) in enumerate(GROUPS.items()):
        lines.append(
            f'subgraph cluster_{number} {{ label="{group}"; labeljust=r; fontsize=14; color="#bbbbbb"'
        )
        lines += [f"{name} [label=<{_label(metadata.tables[name], _COLOURS[number])}>]" for name in names]
        lines.append("}")
    lines += [f"{source} -> {target}" for source, target in edges()]
    return "\n".join([*lines, "}"])


def edges() -> list[tuple[str, str]]:
    """Tables and those they point to."""
    found = {
        (name, key.column.table.name)
        for name, table in metadata.tables.items()
        for column in table.columns
        for key in column.foreign_keys
    }
    return sorted(found)


def _label(table: sa.Table, colour: str) -> str:
    head = f'<TR><TD BGCOLOR="{colour}"><B>{table.name}</B></TD></TR>'
    rows = "".join(f'<TR><TD ALIGN="LEFT">{line}</TD></TR>' for line in _columns(table))
    return f'<TABLE BORDER="0" CELLBORDER="1" CELLSPACING="0" CELLPADDING="3">{head}{rows}</TABLE>'


def _columns(table: sa.Table) -> Iterator[str]:
    unique = _unique(table)
    indexed = {index.columns[0].name for index in table.indexes if len(index.columns)}
    attributes = 0
    for column in table.columns:
        if table.name in WITH_ATTRIBUTES and column.name in BY_COLUMN and column.name not in unique:
            attributes += 1
            continue
        name = escape(column.name)
        yield ("<B>" + name + "</B>" if column.name in unique else name) + (
            " &#8226;" if column.name in indexed else ""
        )
    if attributes:
        yield f"<I>{attributes} attributes</I>"


def _unique(table: sa.Table) -> set[str]:
    """What tells a row from others: of the first constraint that does, else of the primary key."""
    found = [each for each in table.constraints if isinstance(each, sa.UniqueConstraint)]
    first = min(found, key=lambda each: (-len(each.columns), str(each.name)), default=table.primary_key)
    return {column.name for column in first.columns}


if __name__ == "__main__":
    README.write_text(page(), encoding="utf-8")
    drawn = subprocess.run(
        ["dot", "-Tsvg"],
        input=dot(),
        capture_output=True,
        text=True,
        check=True,
    )
    PICTURE.write_text(drawn.stdout, encoding="utf-8")
