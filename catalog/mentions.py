"""What documents say, asked by `where` and by `catalog.documents`: conditions for both databases.

The terms of a text stand in `document_terms`: an FTS5 table of SQLite, a tsvector in PostgreSQL. They are
made by `catalog.words`, so that both databases, and a loop over the texts, give the same answers.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from catalog.models import documents, files, series
from catalog.words import parse, postgresql_match, runs, sqlite_match

type Condition = sa.ColumnElement[bool]

INDEXED = "indexed"
"""`catalog.places.State.INDEXED`, which is not loaded here as it knows files."""


class has_terms(FunctionElement[bool]):
    """Column with the number of a document, terms for FTS5, terms for a tsquery."""

    type = sa.Boolean()
    inherit_cache = True


@compiles(has_terms, "sqlite")
def _has_terms_sqlite(element: has_terms, compiler: SQLCompiler, **kw: Any) -> str:
    column, match, _ = element.clauses
    asked = f"SELECT rowid FROM document_terms WHERE document_terms MATCH {compiler.process(match, **kw)}"
    return f"({compiler.process(column, **kw)} IN ({asked}))"


@compiles(has_terms)
def _has_terms(element: has_terms, compiler: SQLCompiler, **kw: Any) -> str:
    column, _, match = element.clauses
    asked = (
        f"SELECT document FROM document_terms WHERE terms @@ CAST({compiler.process(match, **kw)} AS tsquery)"
    )
    return f"({compiler.process(column, **kw)} IN ({asked}))"


def says(question: str) -> Condition:
    """Whether a document has the words that are asked for, see `catalog.words`.

    Raises
    ------
    QuestionError
        If there is no word in the question, or more than can be asked for.
    """
    asked = parse(question)
    conditions: list[Condition] = [documents.c.folded.contains(run, autoescape=True) for run in runs(asked)]
    if match := sqlite_match(asked):
        indexed = has_terms(documents.c.id, sa.literal(match), sa.literal(postgresql_match(asked)))
        conditions.insert(0, indexed)
    return sa.and_(*conditions)


def is_there(table: sa.FromClause = documents) -> Condition:
    """Whether a document can still be read: it was given as a file, or its instance has a place."""
    has_place = (
        sa.select(sa.literal(1))
        .where(files.c.instance == table.c.instance, files.c.state == INDEXED)
        .correlate(table)
        .exists()
    )
    return sa.or_(table.c.instance.is_(None), has_place)


def is_valid() -> Condition:
    """Whether no later revision of a document is there, see `catalog.revisions`."""
    later = documents.alias("later")
    superseded = (
        sa.select(sa.literal(1))
        .where(later.c.chain == documents.c.chain, later.c.place > documents.c.place, is_there(later))
        .correlate(documents)
        .exists()
    )
    return sa.not_(superseded)


def is_reported(question: str | None) -> Condition:
    """Whether the study of a series has a valid document, one that says something where that is asked."""
    said = [] if question is None else [says(question)]
    of_study = sa.select(documents.c.study).where(*said, is_there(), is_valid())
    return series.c.study.in_(of_study)
