"""The page of kinds shows every kind that its script knows, each with a picture that is there."""

import io
import re
from pathlib import Path
from runpy import run_path

import numpy as np
import numpy.typing as npt
import PIL.Image
import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_every_kind_has_its_row_and_its_picture() -> None:
    rows = run_path(str(DOCS / "make_kinds.py"))["ROWS"]
    page = (DOCS / "kinds.md").read_text(encoding="utf-8")
    assert re.findall(r"\]\(kinds/(.+)\.png\)", page) == [row.name for row in rows]
    assert re.findall(r"^\| (.+?) \|", page, re.MULTILINE)[2:] == [row.kind for row in rows]
    pictures = {path.stem: path.read_bytes()[:8] for path in (DOCS / "kinds").iterdir()}
    assert pictures == {row.name: b"\x89PNG\r\n\x1a\n" for row in rows}


@pytest.mark.slow
def test_every_row_is_what_its_series_opens_as_today(shared_data: Path) -> None:
    script = run_path(str(DOCS / "make_kinds.py"))
    lines = []
    for row, line, picture in script["made"](shared_data):
        lines.append(line)
        shown, today = pixels((DOCS / "kinds" / f"{row.name}.png").read_bytes()), pixels(picture)
        assert shown.shape == today.shape, row.name
        assert np.abs(shown - today).mean() <= 1, row.name  # lossy decoders may differ by a step
    page = (DOCS / "kinds.md").read_text(encoding="utf-8")
    assert page == script["PAGE"].format(rows="\n".join(lines))


def pixels(png: bytes) -> npt.NDArray[np.int_]:
    return np.asarray(PIL.Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
