"""The texts of the viewer and the browser, in German."""

import json
import re
from importlib.metadata import entry_points
from pathlib import Path

from catalog.records import SeriesRecord
from pipelines.presentation.banner import banner_of
from pipelines.presentation.windows import PRESETS
from workbench.widgets.wire import LAYOUTS, SLABS, TOOLS, VIEWS

_ROOT = Path(__file__).parents[2]
_SOURCES = _ROOT / "extensions" / "src"
_GERMAN = _ROOT / "workbench" / "locale" / "de_DE" / "LC_MESSAGES" / "imaging_workbench.json"
_LITERAL = re.compile(r"trans\.__\(\s*'((?:[^'\\]|\\.)+)'")
_OF_ARRAYS = {"time", "middle plane", "full range of the middle plane"}


def spoken() -> set[str]:
    """Texts that the page asks the translator for."""
    sources = {each.stem: each.read_text() for each in _SOURCES.glob("*.ts")}
    literals = {text for source in sources.values() for text in _LITERAL.findall(source)}
    buttons = {name for each in ("actions", "keys") for name in re.findall(r"name: '([^']+)'", sources[each])}
    caps = set(re.findall(r": '([A-Za-z ]{2,})'", sources["keys"].split("CAPS")[1].split("}")[0]))
    groups = set(re.findall(r"([A-Z][a-z]+(?: [a-z]+)*)'?: \[", sources["toolbar"].split("class")[0]))
    forms = set(re.findall(r"\['\w+', '([^']+)'\]", sources["panel"]))
    measures = set(re.findall(r"\['\w+', '([^']+)', '", sources["measures"]))
    windows = {each.name for presets in PRESETS.values() for each in presets}
    views = {view for views in VIEWS.values() for view in views}
    table = sources["browserWords"].split("WORDS = {")[1].split("} as const")[0]
    browser = {one or other for one, other in re.findall(r""": (?:'([^']+)'|"([^"]+)")""", table)}
    banner = banner_of(
        SeriesRecord(
            "1.2", "1.3", "7", "A", "20000101", "F", "20260101", None, "study", series_description="series"
        )
    )
    return {
        *banner, *browser, *literals, *buttons, *caps, *groups, *forms, *measures, *windows, *views, *TOOLS,
        *LAYOUTS, *SLABS, *_OF_ARRAYS, "Shift", "Home", "End",
    }  # fmt: skip


def test_every_text_of_the_page_is_there_in_german_and_no_other() -> None:
    german = json.loads(_GERMAN.read_text())
    assert german.pop("")["language"] == "de-DE"
    assert set(german) == spoken()


def test_a_translation_keeps_what_is_put_into_the_text() -> None:
    german = json.loads(_GERMAN.read_text())
    for english, translated in german.items():
        if english:
            assert len(translated) == 1
            assert sorted(re.findall(r"%\d", english)) == sorted(re.findall(r"%\d", translated[0]))


def test_jupyterlab_finds_the_texts() -> None:
    from jupyterlab_server.translation_utils import get_language_pack

    assert entry_points(group="jupyterlab.locale", name="imaging_workbench")
    texts, trouble = get_language_pack("de_DE")
    assert trouble == ""
    assert texts["imaging_workbench"]["length"] == ["Länge"]
