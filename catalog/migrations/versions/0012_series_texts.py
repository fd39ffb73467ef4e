"""The texts of each series in one, with an index of their trigrams, kept by triggers whoever writes."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

TEXTS = {
    "patients": ("patient_id", "patient_name"),
    "studies": ("study_description", "accession_number", "study_date"),
    "series": ("modality", "series_description", "body_part_examined", "protocol_name", "manufacturer"),
}
"""What a plain word is looked for in, by table."""
LINKS = {"patients": (), "studies": ("patient",), "series": ("study",)}
OF = {
    "patients": "studies.patient = NEW.id",
    "studies": "series.study = NEW.id",
    "series": "series.id = NEW.id",
}
"""Whose texts change with a row."""
JOINED = "series JOIN studies ON studies.id = series.study JOIN patients ON patients.id = studies.patient"
HASH_BYTES = 1 << 25
"""What FTS5 gathers in memory before it writes; a million series take a quarter of the time."""


def upgrade() -> None:
    """Create the table, the texts of all series, and what keeps them."""
    if op.get_bind().dialect.name == "sqlite":
        _upgrade_sqlite()
    else:
        _upgrade_postgresql()


def _upgrade_sqlite() -> None:
    columns = [f"coalesce({table}.{name}, '')" for table, names in TEXTS.items() for name in names]
    text = f"casefold({' || char(31) || '.join(columns)})"
    op.execute("DROP TABLE IF EXISTS series_texts")
    op.execute(
        "CREATE VIRTUAL TABLE series_texts USING fts5("
        "text, tokenize = 'trigram case_sensitive 1', detail = 'none', columnsize = 0)"
    )
    op.execute(f"INSERT INTO series_texts(series_texts, rank) VALUES ('hashsize', {HASH_BYTES})")
    every = f"INSERT INTO series_texts(rowid, text) SELECT series.id, {text} FROM {JOINED}"
    op.execute(f"{every} ORDER BY series.id")
    anew = (
        f"UPDATE series_texts SET text = (SELECT {text} FROM {JOINED} WHERE series.id = series_texts.rowid) "
        f"WHERE rowid IN (SELECT series.id FROM series JOIN studies ON studies.id = series.study WHERE "
    )
    actions = {
        ("series", "INSERT"): f"{every} WHERE series.id = NEW.id",
        ("series", "DELETE"): "DELETE FROM series_texts WHERE rowid = OLD.id",
    } | {(table, "UPDATE"): f"{anew}{of})" for table, of in OF.items()}
    for (table, event), action in actions.items():
        name = f"series_texts_{table}_{event.lower()}"
        when = _changed(table, "IS NOT") if event == "UPDATE" else "1 = 1"
        op.execute(f"DROP TRIGGER IF EXISTS {name}")
        op.execute(f"CREATE TRIGGER {name} AFTER {event} ON {table} WHEN {when} BEGIN {action}; END")


def _upgrade_postgresql() -> None:
    """A row that is being written elsewhere is waited for: its text would be the one from before."""
    columns = [f"lower({table}.{name})" for table, names in TEXTS.items() for name in names]
    text = f"concat_ws(chr(31), {', '.join(columns)})"
    op.execute("DROP TABLE IF EXISTS series_texts")
    op.execute(
        "CREATE TABLE series_texts (series bigint PRIMARY KEY REFERENCES series (id) ON DELETE CASCADE, "
        "text text NOT NULL)"
    )
    every = f"INSERT INTO series_texts SELECT series.id, {text} FROM {JOINED}"
    op.execute(every)
    _index_postgresql(op.get_bind())
    for table, of in OF.items():
        above = {
            "patients": "",
            "studies": "PERFORM 1 FROM patients WHERE id = NEW.patient FOR SHARE;",
            "series": "PERFORM 1 FROM studies JOIN patients ON patients.id = studies.patient "
            "WHERE studies.id = NEW.study FOR SHARE;",
        }[table]
        anew = (
            f"UPDATE series_texts SET text = {text} FROM {JOINED} "
            f"WHERE series_texts.series = series.id AND {of}"
        )
        actions = {"UPDATE": anew} | ({"INSERT": f"{every} WHERE {of}"} if table == "series" else {})
        for event, action in actions.items():
            name = f"series_texts_{table}_{event.lower()}"
            when = _changed(table, "IS DISTINCT FROM") if event == "UPDATE" else "true"
            op.execute(
                f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                f"{above} {action}; RETURN NULL; END $$"
            )
            op.execute(
                f"CREATE OR REPLACE TRIGGER {name} AFTER {event} ON {table} "
                f"FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION {name}()"
            )


def _index_postgresql(connection: sa.Connection) -> None:
    """Index the trigrams where the extension is there and may be made; else the texts are read."""
    there = sa.text("SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_trgm'")
    if not connection.scalar(there):
        return
    try:
        with connection.begin_nested():
            connection.execute(sa.text("CREATE EXTENSION IF NOT EXISTS pg_trgm"))
            connection.execute(
                sa.text("CREATE INDEX ix_series_texts_text ON series_texts USING gin (text gin_trgm_ops)")
            )
    except sa.exc.DBAPIError:
        return  # `workbench doctor` says it


def _changed(table: str, differs: str) -> str:
    return " OR ".join(f"OLD.{name} {differs} NEW.{name}" for name in (*LINKS[table], *TEXTS[table]))
