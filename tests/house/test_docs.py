"""The page of kinds shows every kind that its script knows, each with a picture that is there."""

import re
from pathlib import Path
from runpy import run_path

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_every_kind_has_its_row_and_its_picture() -> None:
    rows = run_path(str(DOCS / "make_kinds.py"))["ROWS"]
    page = (DOCS / "kinds.md").read_text(encoding="utf-8")
    assert re.findall(r"\]\(kinds/(.+)\.png\)", page) == [row.name for row in rows]
    assert re.findall(r"^\| (.+?) \|", page, re.MULTILINE)[2:] == [row.kind for row in rows]
    pictures = {path.stem: path.read_bytes()[:8] for path in (DOCS / "kinds").iterdir()}
    assert pictures == {row.name: b"\x89PNG\r\n\x1a\n" for row in rows}
