"""The page and the picture of the schema show every table, column and arrow of the code."""

import html
import re
from pathlib import Path
from runpy import run_path

from catalog.attributes import BY_COLUMN
from catalog.models import metadata

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = run_path(str(ROOT / "docs" / "make_schema.py"))


def test_every_table_has_its_sentence() -> None:
    told = [name for tables in SCRIPT["GROUPS"].values() for name in tables]
    assert sorted(told) == sorted(metadata.tables)


def test_the_page_is_what_the_script_writes_today() -> None:
    assert (ROOT / "catalog" / "README.md").read_text(encoding="utf-8") == SCRIPT["page"]()


def test_the_picture_has_every_table_column_and_arrow() -> None:
    picture = html.unescape((ROOT / "docs" / "schema.svg").read_text(encoding="utf-8"))
    titles = set(re.findall(r"<title>(.+?)</title>", picture))
    assert titles >= set(metadata.tables)
    arrows = {title for title in titles if "->" in title}
    assert arrows == {f"{source}->{target}" for source, target in SCRIPT["edges"]()}
    for name, table in metadata.tables.items():
        drawn = picture.split(f"<title>{name}</title>")[1].split("</g>")[0]
        words = set(re.findall(r">([a-z_]+)", drawn))
        own = {
            column.name
            for column in table.columns
            if name not in SCRIPT["WITH_ATTRIBUTES"] or column.name not in BY_COLUMN
        }
        assert own <= words, name
